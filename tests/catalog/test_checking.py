"""Asking sources whether they are as recorded, over real HTTP."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from segmend.catalog.checking import check_records
from segmend.catalog.record import load_record
from segmend.core.box import VoxelBox
from segmend.core.random import keyed_generator
from segmend.testing.servers import range_server
from segmend.volumes.drivers.memory import from_array
from segmend.volumes.export.export import export_box

RECORD = """
name = "own"
title = "A volume of one's own"
species = "fly"
version = "2"
citation = "None."
grid_origin_nm = [0, 0, 0]
licence = { state = "unstated" }
[files.main]
path = "main.bin"
urls = ["URL/main.bin"]
size_bytes = SIZE
sha256 = "SHA256"
[layers.image]
doc = "EM"
urls = ["URL/em", "URL/mirror/em"]
driver = "precomputed"
dtype = "uint8"
shape = [8, 16, 16]
voxel_size_nm = [40, 4, 4]
offset_nm = [400, 8, 12]
metadata_sha256 = "INFO"
[versions.1.layers.image]
doc = "EM as first published"
urls = ["URL/em"]
driver = "precomputed"
"""
CONTENT = b"published" * 1000


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    em = keyed_generator(1, "em").integers(0, 256, (8, 16, 16)).astype("uint8")
    source = from_array(em, (40, 4, 4), offset=(400, 8, 12))
    for place in ("em", "mirror/em"):
        (folder / place).parent.mkdir(exist_ok=True)
        export_box(source, VoxelBox((0, 0, 0), em.shape), folder / place)
    (folder / "main.bin").write_bytes(CONTENT)
    return folder


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    monkeypatch.setenv("SEGMEND_CACHE_BYTES", "0")


def record_of(published, folder, url, **changes):
    """A record of what is published, with some values replaced."""
    values = {
        "URL": url,
        "SIZE": str(len(CONTENT)),
        "SHA256": hashlib.sha256(CONTENT).hexdigest(),
        "INFO": hashlib.sha256((published / "em" / "info").read_bytes()).hexdigest(),
    }
    text = RECORD
    for name, value in (values | changes).items():
        text = text.replace(name, value)
    (folder / "own.toml").write_text(text)
    return load_record(str(folder / "own.toml"))


def states(checks):
    return [(c.what, c.state) for c in checks]


def test_what_is_as_recorded_is_alive(published, tmp_path):
    (tmp_path / "main.bin").write_bytes(CONTENT)
    told = []
    with range_server(published) as server:
        record = record_of(published, tmp_path, server.url)
        checks = check_records([record], lambda done, total: told.append((done, total)))
    assert states(checks) == [
        ("file main", "alive"),
        ("file main", "alive"),  # the copy
        ("layer image", "alive"),
        ("layer image", "alive"),  # the mirror
        ("layer image of 1", "alive"),
    ]
    assert checks[1].place == str(tmp_path / "main.bin")
    assert "sha256 as recorded" in checks[1].why
    assert "size as recorded" in checks[0].why
    assert "sha256 of info as recorded" in checks[2].why
    assert "not recorded" in checks[4].why
    assert told[-1] == (5, 5)
    assert all(not asked.path.endswith("/0-16_0-16_0-8") for asked in server.log), (
        "no voxel is read"
    )


@pytest.mark.parametrize(
    ("changes", "what", "why"),
    [
        ({"SIZE": "17"}, "file main", "size is 9000: the record says 17"),
        ({"[8, 16, 16]": "[8, 16, 15]"}, "layer image", "shape"),
        ({'dtype = "uint8"': 'dtype = "uint16"'}, "layer image", "dtype"),
        ({"[400, 8, 12]": "[400, 8, 8]"}, "layer image", "offset"),
        ({"nm = [40, 4, 4]": "nm = [40, 8, 8]"}, "layer image", "no scale"),
        ({"INFO": "0" * 64}, "layer image", "sha256 of info"),
    ],
)
def test_what_is_otherwise_is_changed(published, tmp_path, changes, what, why):
    with range_server(published) as server:
        checks = check_records([record_of(published, tmp_path, server.url, **changes)])
    changed = [c for c in checks if c.state == "changed"]
    assert {c.what for c in changed} == {what}
    assert all(why in c.why for c in changed)
    assert {c.state for c in checks} == {"alive", "changed"}


def test_a_copy_with_one_bit_flipped_is_changed_and_its_source_is_not(published, tmp_path):
    (tmp_path / "main.bin").write_bytes(b"P" + CONTENT[1:])
    with range_server(published) as server:
        checks = check_records([record_of(published, tmp_path, server.url)])
    assert [c.state for c in checks[:2]] == ["alive", "changed"]
    assert "sha256" in checks[1].why


def test_what_is_gone_is_unreachable_and_its_mirror_is_alive(published, tmp_path):
    with range_server(published) as server:
        record, folder = record_of(published, tmp_path, server.url)
        layer = record.layers["image"]
        urls = (f"{server.url}/gone", layer.urls[1], "http://127.0.0.1:9/em")
        moved = msgspec.structs.replace(layer, urls=urls)
        record = msgspec.structs.replace(record, layers={"image": moved}, versions={})
        checks = check_records([(record, folder)])
    assert [c.state for c in checks] == ["alive", "unreachable", "alive", "unreachable"]
    assert "no file 'info'" in checks[1].why
    assert checks[1].place == urls[0]


def test_a_kept_object_does_not_make_a_lost_source_alive(published, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGMEND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SEGMEND_CACHE_BYTES", "10000000")
    with range_server(published) as server:
        record = record_of(published, tmp_path, server.url)
        assert {c.state for c in check_records([record])} == {"alive"}
    assert {c.state for c in check_records([record])} == {"unreachable"}


def test_where_there_is_nothing_to_ask_it_is_unknown(tmp_path):
    (tmp_path / "own.toml").write_text(
        RECORD.partition("[files.main]")[0]
        + 'files.main.path = "em.h5"\n[layers.image]\nkey = "em"\ndoc = "EM"'
    )
    synthetic, _ = load_record("synthetic")
    checks = check_records([(synthetic, tmp_path), load_record(str(tmp_path / "own.toml"))])
    assert states(checks) == [("all layers", "unknown"), ("file main", "unknown")]


def test_the_cube_in_the_middle_stands_for_a_folder_of_cubes(tmp_path):
    record, _ = load_record("l4dense2019")
    layer = record.layers["image"]
    z, y, x = (count // 2 for count in layer.options["grid_shape"])
    place = tmp_path / "em"
    place.mkdir()
    (place / f"x{x}y{y}z{z}.hdf5").write_bytes(b"cube")
    with range_server(tmp_path) as server:
        file = msgspec.structs.replace(record.files[layer.file], urls=(f"{server.url}/em",))
        record = msgspec.structs.replace(record, files={layer.file: file})
        checks = check_records([(record, tmp_path)])
    assert states(checks) == [(f"file {layer.file}", "alive")]
