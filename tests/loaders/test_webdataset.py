"""The webdataset library reads what is exported, and finds no more than a task shows."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tarfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset

from segmend.core.errors import BadInputError, NoSamplesError, OutputError
from segmend.loaders.examples import Reading, examples
from segmend.loaders.order import epoch_order
from segmend.loaders.webdataset import MANIFEST, ExportSettings, TarRecord, export_webdataset
from segmend.shards.reader import Benchmark
from segmend.store.atomic import sha256_file
from segmend.tasks.registry import TASKS

DUAL, MASKS = "false_split_correction", "split_mask_generation"
FEW = ExportSettings(splits=("train",), rows=4, answers=True)


def read(folder: Path, tars: tuple[TarRecord, ...]) -> list[dict]:
    """Every sample as the library decodes it."""
    urls = [str(folder / one.path) for one in tars]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ResourceWarning
        )  # the library leaves files to the collector
        data = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)
        samples = list(data.decode("rgb8"))
        del data
        gc.collect()
    return samples


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory) -> tuple[Path, tuple[TarRecord, ...]]:
    """`folder` with answers, four rows per tar. Read-only."""
    out = tmp_path_factory.mktemp("tars") / "all"
    return out, export_webdataset(Benchmark.open(folder), out, FEW).tars


@pytest.mark.parametrize("name", list(TASKS))
def test_the_library_reads_what_a_task_shows(benchmark, exported, name: str) -> None:
    out, tars = exported
    task = TASKS[name]
    samples = read(out, tuple(one for one in tars if one.task == name))
    expected = examples(benchmark, task, "train")
    assert len(samples) == len(expected) == sum(one.rows for one in tars if one.task == name)
    for sample, example in zip(samples, expected, strict=True):
        shown = example.inputs
        assert sample["__key__"] == example.sample_hash
        np.testing.assert_array_equal(sample["geometry.npz"]["arr_0"], shown.geometry)
        for plane, image in zip(shown.planes, shown.em, strict=True):
            np.testing.assert_array_equal(sample[f"em_{plane}.png"], image)
        if task.target_kind == "binary":
            assert sample["label.cls"] == example.target
        else:
            for view, mask in zip(shown.views, example.target, strict=True):
                np.testing.assert_array_equal(sample[f"split_mask_{view}.png"][..., 0], mask)


def names_of(out: Path, tars: tuple[TarRecord, ...]) -> set[str]:
    """Names of files without their keys."""
    found = set()
    for one in tars:
        with tarfile.open(out / one.path) as tar:
            found |= {name.partition(".")[2] for name in tar.getnames()}
    return found


def test_nothing_is_there_that_a_task_may_not_see(benchmark: Benchmark, tmp_path: Path) -> None:
    tars = export_webdataset(benchmark, tmp_path / "out", ExportSettings(splits=("train",))).tars
    planes = {f"em_{plane}.png" for plane in ("xy", "xz", "yz")}
    for name in TASKS:
        of_task = tuple(one for one in tars if one.task == name)
        best = {"em_best.png"} if name == DUAL else set()
        assert names_of(tmp_path / "out", of_task) == {"geometry.npz"} | planes | best
        if name == DUAL:
            continue
        for sample in read(tmp_path / "out", of_task):  # masks are united before they are written
            assert not sample["geometry.npz"]["arr_0"][:, 6].any()
            assert not any(sample[plane][..., 2].any() for plane in planes)


def test_the_manifest_lists_every_tar_with_its_digest(benchmark, exported) -> None:
    out, tars = exported
    facts = json.loads((out / MANIFEST).read_text())
    assert facts["complete"]
    assert facts["benchmark_sha256"] == benchmark.sha256
    assert facts["tasks"] == {name: TASKS[name].version for name in TASKS}
    listed = {one["path"]: one["sha256"] for one in facts["tars"]}
    assert listed == {one.path: one.sha256 for one in tars}
    files = {p for p in out.rglob("*") if p.is_file()}
    assert files == {out / MANIFEST, *(out / path for path in listed)}
    assert all(sha256_file(out / path) == digest for path, digest in listed.items())


def test_headers_tell_nothing(exported) -> None:
    out, tars = exported
    for one in tars:
        with tarfile.open(out / one.path) as tar:
            members = tar.getmembers()
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
        rows = [m.name.partition(".") for m in members]
        for key in {key for key, *_ in rows}:
            of_row = [name for own, _, name in rows if own == key]
            assert of_row == sorted(of_row)


def test_published_rows_are_corrected_or_not(published, tmp_path: Path) -> None:
    benchmark = Benchmark.open(published["v1"])
    for repaired in (True, False):
        out, asked = tmp_path / str(repaired), ExportSettings((DUAL, MASKS), repaired=repaired)
        samples = read(out, export_webdataset(benchmark, out, asked).tars)
        expected = [
            example
            for name in (DUAL, MASKS)
            for example in examples(benchmark, TASKS[name], "train", Reading(repaired=repaired))
        ]
        for sample, example in zip(samples, expected, strict=True):
            np.testing.assert_array_equal(sample["geometry.npz"]["arr_0"], example.inputs.geometry)


@pytest.mark.slow
def test_processes_write_the_same_bytes(benchmark, exported, tmp_path: Path) -> None:
    _, tars = exported
    asked = replace(FEW, tasks=(DUAL,))
    expected = tuple(one for one in tars if one.task == DUAL)
    assert export_webdataset(benchmark, tmp_path / "two", asked, workers=2).tars == expected


def test_a_seed_shuffles(benchmark: Benchmark, tmp_path: Path) -> None:
    asked = ExportSettings((MASKS,), ("train",), rows=2, seed=5)
    found = [export_webdataset(benchmark, tmp_path / name, asked).tars for name in "ab"]
    assert found[0] == found[1]
    order = [sample["__key__"] for sample in read(tmp_path / "a", found[0])]
    plain = list(examples(benchmark, TASKS[MASKS], "train").hashes)
    assert sorted(order) == sorted(plain)
    assert order == [plain[i] for i in epoch_order(len(plain), 5, 0)]


EXPORT = """
import sys
from segmend.loaders.order import epoch_order
from segmend.loaders.webdataset import ExportSettings, export_webdataset
from segmend.shards.reader import Benchmark
asked = ExportSettings(splits=("train",), rows=4, answers=True)
def report(done, of):
    print(done, flush=True)
    sys.stdin.readline()
export_webdataset(Benchmark.open(sys.argv[1]), sys.argv[2], asked, report=report)
"""


def test_a_killed_export_goes_on(folder: Path, benchmark, exported, tmp_path: Path) -> None:
    out, (_, tars) = tmp_path / "out", exported
    command = [sys.executable, "-c", EXPORT, str(folder), str(out)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        while process.stdout.readline() != "2\n":
            process.stdin.write("\n")
            process.stdin.flush()
        os.kill(process.pid, signal.SIGKILL)
    assert not json.loads((out / MANIFEST).read_text())["complete"]
    (out / DUAL / ".train-000002.tar.1-a.tmp").write_bytes(b"left by the kill")
    done = export_webdataset(benchmark, out, FEW)
    assert (done.tars, done.reused) == (tars, 2)
    assert not list(out.rglob("*.tmp"))
    assert json.loads((out / MANIFEST).read_text())["complete"]


def test_a_damaged_tar_is_written_again(benchmark, exported, tmp_path: Path) -> None:
    out, (_, tars) = tmp_path / "out", exported
    export_webdataset(benchmark, out, FEW)
    flipped = bytearray((out / tars[1].path).read_bytes())
    flipped[5000] ^= 1
    (out / tars[1].path).write_bytes(flipped)
    (out / tars[2].path).unlink()
    done = export_webdataset(benchmark, out, FEW)
    assert (done.tars, done.reused) == (tars, len(tars) - 2)
    assert all(sha256_file(out / one.path) == one.sha256 for one in tars)


def test_other_things_are_left_alone(benchmark, exported, tmp_path: Path) -> None:
    out, _ = exported
    with pytest.raises(OutputError, match=r"another export.*its settings"):
        export_webdataset(benchmark, out, ExportSettings(splits=("train",), rows=5))
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match=r"other things and no manifest\.json"):
        export_webdataset(benchmark, tmp_path, FEW)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(BadInputError, match="at least one process"):
        export_webdataset(benchmark, tmp_path / "new", FEW, workers=0)
    with pytest.raises(BadInputError, match="at least one row"):
        ExportSettings(rows=0)
    with pytest.raises(NoSamplesError, match=f"no rows for task '{MASKS}'"):
        export_webdataset(benchmark, tmp_path / "new", ExportSettings((MASKS,), ("test",)))
    with pytest.raises(NoSamplesError, match="no rows in validation"):
        export_webdataset(benchmark, tmp_path / "new", ExportSettings(splits=("validation",)))
    assert not (tmp_path / "new").exists()
