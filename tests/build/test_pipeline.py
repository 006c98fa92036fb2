"""A build is reproducible, accounts for every row, and leaves nothing half-made."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segmend.build import units
from segmend.build.ledger import LEDGER_FILE, PLAN_FILE, ledger_problems, read_ledger
from segmend.build.pipeline import build
from segmend.build.plan import make_plan
from segmend.build.settings import load_settings
from segmend.core.errors import NoSamplesError, OutputError, ReadFailedError, RenderError
from segmend.core.sample import SAMPLE_TYPES
from segmend.shards.reader import Benchmark
from segmend.shards.verify import verify
from segmend.volumes.open import open_volume

# Two builds, in other processes, of real pictures.
pytestmark = pytest.mark.slow


def files(folder):
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.rglob("*"))
        if f.is_file()
    }


def test_the_benchmark_is_intact_and_holds_what_was_planned(built, plan):
    found = verify(built.folder)
    assert found.problems == ()
    assert found.counts == plan.counts()
    assert ledger_problems(built.folder) == []
    assert built.closure.unexplained == 0
    assert built.closure.committed == plan.n_rows
    assert {kind for kind, _ in plan.counts()} == set(SAMPLE_TYPES)


def test_the_same_plan_gives_the_same_bytes_with_two_workers(built, plan_file, tmp_path):
    again = make_plan(load_settings(plan_file), plan_file.parent, workers=2)
    (tmp_path / "again").mkdir()  # an empty folder may be there already
    rebuilt = build(again, tmp_path / "again", workers=2)
    assert files(rebuilt.folder) == files(built.folder)


def test_each_row_says_where_it_comes_from(built, plan):
    benchmark = Benchmark.open(built.folder)
    rows = benchmark.read_rows(range(len(benchmark)), ["sample_type", "metadata"]).to_pylist()
    for row in rows:
        facts = json.loads(row["metadata"])
        assert facts["dataset"] == "synthetic"
        assert facts["volume"] in {"v1", "v2", "v4", "v5"}
        assert 400 <= facts["view_extent_nm"] <= 500
        assert facts["em_pixel_size_nm"] == 6
        assert facts["schema_version"] == "v2"
        assert int(facts["cluster_id"]) > 2**53
        assert all(isinstance(i, str) for i in facts["root_ids"])
    assert len(rows) == plan.n_rows


def test_no_neuron_occurs_in_two_splits(built):
    sidecar = Benchmark.open(built.folder).sidecar()
    splits: dict[object, set[str]] = {}
    for neuron, split in zip(
        sidecar["cluster_id"].to_pylist(), sidecar["split"].to_pylist(), strict=True
    ):
        splits.setdefault(neuron, set()).add(split)
    assert all(len(found) == 1 for found in splits.values())


def test_a_row_that_cannot_be_drawn_is_in_the_ledger_with_its_reason(plan, tmp_path, monkeypatch):
    draw = units.render_candidate
    lost = plan.units[0].candidates[1]

    def sometimes(candidate, layers, style):
        if candidate == lost:
            raise RenderError("segment_not_in_view", "it moved")
        return draw(candidate, layers, style)

    monkeypatch.setattr(units, "render_candidate", sometimes)
    built = build(plan, tmp_path / "bench")
    assert built.closure.failed == {"segment_not_in_view": 1}
    assert built.closure.committed == plan.n_rows - 1
    assert ledger_problems(built.folder) == []
    assert verify(built.folder).problems == ()
    _, outcomes = read_ledger(built.folder)
    (failure,) = [f for o in outcomes for f in o.failures]
    assert failure.combined_hash == lost.combined_hash
    assert failure.kind == lost.kind
    assert "segment_not_in_view" in (built.folder / "README.md").read_text()


def test_a_split_whose_rows_all_fail_is_an_error_and_leaves_nothing(plan, tmp_path, monkeypatch):
    draw = units.render_candidate

    def never_v5(candidate, layers, style):
        if candidate.volume == "v5":
            raise RenderError("segment_not_in_view", "it moved")
        return draw(candidate, layers, style)

    monkeypatch.setattr(units, "render_candidate", never_v5)
    with pytest.raises(NoSamplesError, match="'test' failed"):
        build(plan, tmp_path / "bench")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ReadFailedError("cannot read"), KeyboardInterrupt()])
def test_an_error_on_the_way_leaves_nothing(plan, tmp_path, monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(units, "render_candidate", fail)
    with pytest.raises(type(error)):
        build(plan, tmp_path / "bench")
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_a_worker_process_arrives_whole_and_leaves_nothing(plan, tmp_path):
    volumes = {
        name: replace(layers, image=gone(layers.image, tmp_path / "image.npy"))
        for name, layers in plan.units[0].layers.items()
    }
    broken = replace(plan, units=tuple(replace(unit, layers=volumes) for unit in plan.units))
    with pytest.raises(ReadFailedError, match=r"image\.npy") as caught:
        build(broken, tmp_path / "bench", workers=2)
    assert caught.value.reason == "missing"
    assert list(tmp_path.iterdir()) == []


def gone(volume, file):
    """The same volume from a file that goes away after it was opened."""
    np.save(file, volume.read(volume.box).data)
    opened = open_volume(file, voxel_size=volume.grid.voxel_size, offset=volume.grid.offset)
    file.unlink()
    return opened


def test_the_output_must_be_new_and_its_parent_writable(plan, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    for out, message in (
        (Path("/proc/bench"), "cannot create a folder"),
        (tmp_path / "used", "exists already"),
        (tmp_path / "used" / "file", "exists already"),
        (tmp_path / "none" / "bench", "does not exist"),
    ):
        with pytest.raises(OutputError, match=message):
            build(plan, out)
    assert [f.name for f in tmp_path.rglob("*")] == ["used", "file"]


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built.folder, tmp_path / "copy")


def test_a_ledger_that_does_not_close_is_found(copy):
    plan = json.loads((copy / PLAN_FILE).read_text())
    row = plan["shards"][0]["rows"].pop()
    (copy / PLAN_FILE).write_text(json.dumps(plan))
    assert ledger_problems(copy) == [f"1 rows were never planned, for example {row}"]
    plan["shards"][0]["rows"] += [row, "f" * 32]
    plan["content_hash"] = "0" * 64
    (copy / PLAN_FILE).write_text(json.dumps(plan))
    assert ledger_problems(copy) == [
        "the ledger belongs to another plan",
        f"1 planned rows are neither committed nor failed, for example {'f' * 32}",
    ]
    (copy / LEDGER_FILE).write_text("torn {")
    assert "cannot be read" in ledger_problems(copy)[0]
    (copy / LEDGER_FILE).unlink()
    (copy / PLAN_FILE).unlink()
    assert ledger_problems(copy) == []  # a folder that was not built here claims nothing
