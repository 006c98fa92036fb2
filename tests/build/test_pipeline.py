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
from segmend.build.engines.processes import Processes
from segmend.build.frozen import PLAN_FILE, ROWS_FILE
from segmend.build.ledger import LEDGER_FILE, ledger_problems, read_ledger
from segmend.build.pipeline import build
from segmend.build.plan import make_plan
from segmend.build.resume import resume, status
from segmend.build.settings import load_settings
from segmend.core.errors import (
    BadInputError,
    NoSamplesError,
    OutputError,
    ReadFailedError,
    RenderError,
)
from segmend.core.sample import SAMPLE_TYPES
from segmend.shards.migrate import migrate
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


def test_a_plan_of_schema_v1_gives_what_migrating_its_v2_gives(plan_file, tmp_path):
    kinds = ", ".join(f"{kind} = 3" for kind in SAMPLE_TYPES)
    both = {}
    for version in ("v1", "v2"):
        settings = load_settings(
            plan_file, [f"shards.schema={version}", f"samples.max_rows={{ {kinds} }}"]
        )
        made = build(make_plan(settings, plan_file.parent), tmp_path / version)
        assert verify(made.folder).problems == ()
        both[version] = Benchmark.open(made.folder)
    assert both["v1"].version == "v1"
    assert "seam" in (tmp_path / "v1" / "README.md").read_text()
    migrate(both["v2"], tmp_path / "migrated", "v1")
    migrated = Benchmark.open(tmp_path / "migrated")
    assert rows_of(both["v1"]) == rows_of(migrated)
    for name in ("LICENSES.md", "CITATION.cff"):  # terms of the sources are never lost on the way
        ours, theirs = ((tmp_path / f / name).read_text() for f in ("v1", "migrated"))
        assert ours.splitlines()[4:] == theirs.splitlines()[4:]
    assert len(both["v1"]) == len(both["v2"]) > 10


def rows_of(benchmark):
    tables = benchmark.read_groups(np.arange(len(benchmark)), benchmark.schema.names)
    return [row for _, table in tables for row in table.to_pylist()]


def test_the_same_plan_gives_the_same_bytes_with_two_workers(built, plan_file, tmp_path):
    again = make_plan(load_settings(plan_file), plan_file.parent, engine=Processes(2))
    (tmp_path / "again").mkdir()  # an empty folder may be there already
    rebuilt = build(again, tmp_path / "again", engine=Processes(2))
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


def test_a_split_whose_rows_all_fail_is_an_error_and_no_benchmark(plan, tmp_path, monkeypatch):
    draw = units.render_candidate

    def never_v5(candidate, layers, style):
        if candidate.volume == "v5":
            raise RenderError("segment_not_in_view", "it moved")
        return draw(candidate, layers, style)

    monkeypatch.setattr(units, "render_candidate", never_v5)
    with pytest.raises(NoSamplesError, match="'test' failed"):
        build(plan, tmp_path / "bench")
    with pytest.raises(BadInputError, match="unfinished build"):
        Benchmark.open(tmp_path / "bench")


@pytest.mark.parametrize("error", [ReadFailedError("cannot read"), KeyboardInterrupt()])
def test_after_an_error_the_build_goes_on_where_it_was(
    built, plan, plan_file, tmp_path, monkeypatch, error
):
    draw = units.render_candidate
    lost = plan.units[2].candidates[1]

    def fail(candidate, layers, style):
        if candidate == lost:
            raise error
        return draw(candidate, layers, style)

    monkeypatch.setattr(units, "render_candidate", fail)
    with pytest.raises(type(error)):
        build(plan, tmp_path / "bench")
    assert not list((tmp_path / "bench").rglob("*.tmp"))
    found = status(tmp_path / "bench")
    assert (found.done, found.being_made, found.finished) == (2, 0, False)
    monkeypatch.undo()
    with pytest.raises(OutputError, match=r"unfinished build.*--resume"):
        build(plan, tmp_path / "bench")
    drawn = []
    monkeypatch.setattr(units, "render_candidate", lambda c, *a: drawn.append(c) or draw(c, *a))
    resume(load_settings(plan_file), plan_file.parent, tmp_path / "bench")
    assert len(drawn) == plan.n_rows - sum(len(unit.candidates) for unit in plan.units[:2])
    assert files(tmp_path / "bench") == files(built.folder)
    assert status(tmp_path / "bench").finished


def test_an_error_in_a_worker_process_arrives_whole(plan, tmp_path):
    volumes = {
        name: replace(layers, image=gone(layers.image, tmp_path / "image.npy"))
        for name, layers in plan.units[0].layers.items()
    }
    broken = replace(plan, units=tuple(replace(unit, layers=volumes) for unit in plan.units))
    with pytest.raises(ReadFailedError, match=r"image\.npy") as caught:
        build(broken, tmp_path / "bench", engine=Processes(2))
    assert caught.value.reason == "missing"


def flip(path):
    """Turn one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


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
        (Path("/proc/bench"), "cannot write /proc/bench"),
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
    header, *lines = (copy / LEDGER_FILE).read_text().splitlines()
    torn = json.loads(lines[0])
    torn["failures"].append(
        {"combined_hash": "f" * 32, "kind": "merge_edit", "reason": "r", "message": "m"}
    )
    (copy / LEDGER_FILE).write_text("\n".join([header, json.dumps(torn), *lines[1:]]))
    assert ledger_problems(copy) == [f"1 rows were never planned, for example {'f' * 32}"]
    other = json.dumps(json.loads(header) | {"plan_hash": "0" * 64})
    (copy / LEDGER_FILE).write_text("\n".join([other, *lines]))
    assert ledger_problems(copy) == ["the ledger belongs to another plan"]
    (copy / LEDGER_FILE).write_text("torn {")
    assert "cannot be read" in ledger_problems(copy)[0]
    (copy / LEDGER_FILE).unlink()
    (copy / PLAN_FILE).unlink()
    assert ledger_problems(copy) == []  # a folder that was not built here claims nothing


def test_a_plan_edited_after_the_build_is_found(copy):
    plan = json.loads((copy / PLAN_FILE).read_text())
    plan["settings"]["seed"] += 1
    (copy / PLAN_FILE).write_text(json.dumps(plan))
    assert "not the one that was frozen" in ledger_problems(copy)[0]
    flip(copy / ROWS_FILE)
    assert "cannot read the plan" in ledger_problems(copy)[0]
