"""``segmend datasets`` as a person uses it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from importlib import resources

import pytest

from segmend.catalog.record import record_names
from segmend.testing.servers import range_server

OWN = """
name = "own"
title = "A volume of one's own"
species = "fly"
version = "1"
citation = "None."
grid_origin_nm = [0, 0, 0]
defects = ["One section is missing."]
licence = {{ state = "custom", name = "Own-1.0", forbids = ["redistribution"] }}
[files.main]
path = "em.h5"
urls = ["{url}/em.h5"]
size_bytes = {size}
md5 = "{md5}"
[layers.image]
key = "em"
doc = "EM"
voxel_size_nm = [40, 4, 4]
[[overlaps]]
dataset = "flywire"
why = "It was cut from there."
[[uncertain]]
what = "species"
why = "Nobody asked the animal."
"""
CONTENT = b"not really HDF5"  # 15 bytes


def own(folder, url, size=15):
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    (folder / "own.toml").write_text(OWN.format(url=url, size=size, md5=md5))
    return folder / "own.toml"


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "em.h5").write_bytes(CONTENT)
    with range_server(folder) as server:
        yield server.url


def test_the_list_holds_every_data_set_and_is_narrowed_by_options(segmend):
    said = json.loads(segmend("datasets", "list", "--json").stdout)["datasets"]
    assert [one["name"] for one in said] == list(record_names())
    narrowed = segmend("datasets", "list", "--species", "fly", "--labels", "cleft").stdout
    lines = narrowed.splitlines()
    assert lines[0].split() == ["name", "species", "modality", "labels", "licence", "title"]
    assert [line.split()[0] for line in lines[1:]] == ["cremi-a", "cremi-b", "cremi-c"]
    wrong = segmend("datasets", "list", "--modality", "FIBSEM", status=2).stderr
    assert "Did you mean 'FIB-SEM'" in wrong


def test_all_that_a_record_says_is_shown(segmend, tmp_path):
    file = own(tmp_path, "https://example.org")
    text = segmend("datasets", "show", file).stdout
    for fact in (
        "A volume of one's own", "Own-1.0 (custom), forbids redistribution", "40 x 4 x 4 nm",
        "https://example.org/em.h5", "in the file main: em", "One section is missing.",
        "flywire: It was cut from there.", "species: Nobody asked the animal.",
        f"{len(CONTENT)} bytes", "md5",
    ):  # fmt: skip
        assert fact in text
    told = json.loads(segmend("datasets", "show", file, "--json").stdout)
    assert told["uncertain"] == [{"what": "species", "why": "Nobody asked the animal."}]
    assert "Did you mean 'microns'" in segmend("datasets", "show", "micron", status=2).stderr


@pytest.mark.parametrize("name", ["cremi-a", "microns", "mitoem2-jurkat", "l4dense2019"])
def test_no_text_of_a_shipped_record_is_left_out(segmend, name):
    shown = " ".join(segmend("datasets", "show", name).stdout.split())
    text = (resources.files("segmend.catalog") / "records" / f"{name}.toml").read_text()
    for sentence in _sentences(tomllib.loads(text)):
        assert " ".join(sentence.split()) in shown


def _sentences(value):
    """Every text of a record that is a sentence or an address, however deep."""
    if isinstance(value, str):
        return [value] if " " in value or "://" in value else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _sentences(one)]


def test_a_source_as_recorded_is_alive(segmend, tmp_path, served):
    said = segmend("datasets", "check", own(tmp_path, served)).stdout
    assert said.splitlines()[-1] == "1 alive / 1"


def test_a_source_that_changed_exits_with_6(segmend, tmp_path, served):
    done = segmend("datasets", "check", own(tmp_path, served, size=3), "--json", status=6)
    told = json.loads(done.stdout)
    assert (told["alive"], told["sources"]) == (0, 1)
    (check,) = told["checks"]
    assert check["state"] == "changed"
    assert "the record says 3" in check["why"]
    assert "file main of own" in done.stderr


def test_a_source_that_is_gone_exits_with_4(segmend, tmp_path, served):
    done = segmend("datasets", "check", own(tmp_path, f"{served}/elsewhere"), status=4)
    assert "0 alive / 1, 1 unreachable" in done.stdout
    assert "status 404" in done.stdout


def test_what_cannot_be_asked_is_no_failure(segmend):
    assert "0 alive / 1, 1 unknown" in segmend("datasets", "check", "synthetic").stdout
