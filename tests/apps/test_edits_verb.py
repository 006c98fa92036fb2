"""``segmend edits`` as a person uses it, against a fake CAVE."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from segmend.core.grid import VoxelGrid
from segmend.edits.edit_files import write_edits
from segmend.edits.frozen import open_frozen
from segmend.edits.operation import EditOp
from segmend.synthetic.history import TrueEdit
from segmend.testing.fake_cave import TOKEN, fake_cave, write_token
from segmend.testing.fake_cave_defects import Defects
from segmend.testing.fake_cave_history import record_history
from segmend.testing.plans import write_plan


@pytest.fixture(scope="module")
def history():
    """Two segments of one neuron, merged; a third with two neurons, split."""
    automatic, neurons = np.zeros((2, 4, 16, 32), np.uint64)
    automatic[:, :8, :16], automatic[:, :8, 16:], automatic[:, 8:] = 11, 12, 13
    neurons[:, :8], neurons[:, 8:, :16], neurons[:, 8:, 16:] = 21, 22, 23
    edits = [
        TrueEdit(
            "split", (13,), (13,), (31, 32), (22, 23), (20, 120, 160), 1_600_000_000, "thin neck"
        ),
        TrueEdit(
            "merge", (11, 12), (11, 12), (33,), (21,), (20, 40, 160), 1_600_009_000, "thin neck"
        ),
    ]
    grid = VoxelGrid((10, 10, 10), (0, 0, 0), automatic.shape)
    return record_history(automatic, neurons, grid, edits, chunk=(8, 8, 8))


@pytest.fixture
def segmend(tmp_path):
    home = tmp_path / "home"
    write_token(home)

    def run(*arguments, status=0):
        done = subprocess.run(
            [sys.executable, "-m", "segmend.apps.cli.main", "edits", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"HOME": str(home)},
            cwd=tmp_path,
        )
        assert done.returncode == status, done.stderr
        assert TOKEN not in done.stdout + done.stderr
        return done

    return run


def record_in(folder: Path, cave) -> Path:
    file = folder / "mine.toml"
    file.write_text(cave.record())
    return file


def test_from_a_server_to_a_frozen_history(history, segmend, tmp_path):
    with fake_cave(history) as cave:
        record = record_in(tmp_path, cave)
        until = ("--until", "2020-09-13T16:00:00")
        said = segmend("harvest", record, "--to", "h", *until).stdout
        assert "operations  ok            2" in said
    report = segmend("report", "h").stdout
    assert "L2 chunks of a root" in report
    frozen = segmend("freeze", "h", "--out", "f").stdout
    assert "2 operations known = 2 kept" in frozen
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == [
        "edits.jsonl",
        "edits.parquet",
        "manifest.json",
        "outcomes.parquet",
        "roots.parquet",
    ]
    assert "exists" in segmend("freeze", "h", "--out", "f", status=5).stderr


def test_what_is_missing_is_said_and_asked_for_again(history, segmend, tmp_path):
    with fake_cave(history, defects=Defects(lost_details=1)) as cave:
        record = record_in(tmp_path, cave)
        done = segmend("harvest", record, "--to", "h", "--json", status=9)
        assert "2 operations: no details" in done.stderr
        assert json.loads(done.stdout)["operations"] == {"no details": 2}
    with fake_cave(history) as cave:
        said = segmend("retry", "h", "--server", cave.url, "--json").stdout
        assert json.loads(said)["operations"] == {"ok": 2}
    assert json.loads(segmend("status", "h", "--json").stdout)["finished"] is True


def test_edits_go_to_a_file_and_come_back(segmend, tmp_path):
    write_edits(
        tmp_path / "a.jsonl", [EditOp("1", "merge", (7, 2**63), (7,), (1, 2, 3), 7, *"dvas")]
    )
    said = segmend("import", "a.jsonl", "--out", "x", "--licence", "CC0-1.0").stdout
    assert "1 operations known = 1 kept" in said
    assert "wrote 1 edits" in segmend("export", "x", "--to", "b.parquet").stdout
    again = segmend("import", "b.parquet", "--out", "y", "--licence", "CC0-1.0", "--json").stdout
    assert json.loads(again)["kept"] == 1
    assert (tmp_path / "x/edits.jsonl").read_bytes() == (tmp_path / "y/edits.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["harvest", "micron", "--to", "h"], 2, "Did you mean 'microns'"),
        (["harvest", "none.toml", "--to", "h"], 2, "cannot read the record"),
        (["status", "none"], 2, "segmend edits harvest makes one"),
        (["freeze", "none", "--out", "f"], 2, "is not a harvest"),
        (["import", "no.jsonl", "--out", "f", "--licence", "x"], 2, "cannot read no.jsonl"),
        (["export", "none", "--to", "f.jsonl"], 2, "is not a frozen edit history"),
    ],
)
def test_mistakes_are_one_sentence(segmend, tmp_path, arguments, status, message):
    done = segmend(*arguments, status=status)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "h").exists()


def test_overlap_by_blocks_is_frozen(segmend, tmp_path):
    automatic, neurons = np.zeros((2, 8, 16, 32), np.uint64)
    automatic[:, :8, :16], automatic[:, :8, 16:], automatic[:, 8:] = 11, 12, 13
    neurons[:, :8], neurons[:, 8:, :16], neurons[:, 8:, 16:] = 21, 22, 23
    with h5py.File(tmp_path / "own.h5", "w") as file:
        em = np.zeros(automatic.shape, np.uint8)
        for key, array in (("image", em), ("automatic", automatic), ("neurons", neurons)):
            file[key] = array
            file[key].attrs["resolution"] = (10, 10, 10)
    (tmp_path / "own.toml").write_text(RECORD)
    said = segmend("overlap", "own.toml", "--out", "x", "--block", 3, 9, 20).stdout
    assert "4 operations known = 2 kept" in said
    assert "2 merge: segment below 80% pure" in said
    frozen = open_frozen(tmp_path / "x")
    assert {op.kind for op in frozen.edits()} == {"merge", "split"}
    assert all(op.source_points_nm and op.sink_points_nm for op in frozen.edits())
    assert frozen.manifest["licence"] == "unstated"
    wrong = segmend("overlap", "own.toml", "--out", "y", "--neurons", "truth", status=2)
    assert "named 'truth'" in wrong.stderr


RECORD = """
name = "own"
title = "Own"
species = "fly"
version = "1"
files.main.path = "own.h5"
citation = "None."
grid_origin_nm = [0, 0, 0]
licence = { state = "unstated" }
layers.image = { key = "image", doc = "EM" }
layers.automatic = { key = "automatic", doc = "Segmentation", labels = { kind = "instance" } }
layers.neurons = { key = "neurons", doc = "Truth", labels = { kind = "instance" } }
"""


def test_two_plans_compare(segmend, tmp_path):
    for source in ("synthetic-log", "injected"):
        write_plan(tmp_path / f"{source}.toml", edits=f'source = "{source}"')
    table = segmend("compare", "synthetic-log.toml", "injected.toml").stdout
    assert "AUROC" in table
    found = json.loads(segmend("compare", "injected.toml", "injected.toml", "--json").stdout)
    # Splits of the synthetic log know no contact: there is nothing to compare.
    assert {one["auroc"] for one in found["differences"]} - {None} == {0.5}
