"""Models that read a packed cache learn and say what they would from the shards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from segmend.apps.cli.main import segmend
from segmend.core.errors import BadInputError, ReadFailedError
from segmend.loaders.packed.beside import Cache, cache_of, place_beside
from segmend.loaders.packed.build import pack
from segmend.loaders.packed.files import MANIFEST
from segmend.models.model import TrainSettings
from segmend.models.run import Beginning, train_run
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS
from segmend.testing.capsules import capsule_benchmark

QUICK = TrainSettings(epochs=2, epoch_rows=1, batch_size=5)
KINDS = ("merge_edit", "adjacent_control", "split_edit", "junction_control")
TASK = TASKS["false_split_correction"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Path:
    """A benchmark that can be learnt, and a packed cache beside it. Read-only."""
    folder = tmp_path_factory.mktemp("packed") / "bench"
    counts = {
        split: dict.fromkeys(KINDS, n)
        for split, n in (("train", 4), ("validation", 1), ("test", 1))
    }
    capsule_benchmark(folder, counts)
    pack(Benchmark.open(folder), place_beside(folder))
    return folder


@pytest.fixture
def copied(bench: Path, tmp_path: Path) -> Path:
    """Both, to be damaged."""
    shutil.copytree(place_beside(bench), place_beside(tmp_path / "bench"))
    return Path(shutil.copytree(bench, tmp_path / "bench"))


def damage(folder: Path) -> None:
    """Put zeros into the pictures of every shard; sizes and footers stay."""
    for shard in folder.glob("*/*-*.parquet"):
        content = bytearray(shard.read_bytes())
        content[1000 : len(content) // 2] = bytes(len(content) // 2 - 1000)
        shard.write_bytes(content)


@pytest.mark.parametrize(
    ("model", "task"),
    [
        ("cnn", "false_split_correction"),
        ("cnn", "split_mask_generation"),
        ("geometry", "false_merge_identification"),
    ],
)
def test_what_is_learnt_and_said_is_the_same(bench, copied, tmp_path, model, task) -> None:
    """The cache beside the benchmark is read, and it alone: its shards are damaged."""
    damage(copied)
    alone = Benchmark.open(shutil.copytree(bench, tmp_path / "alone"))
    benchmark = Benchmark.open(copied)
    fast = train_run(benchmark, (TASKS[task],), model, tmp_path / "fast", settings=QUICK)
    plain = train_run(alone, (TASKS[task],), model, tmp_path / "plain", settings=QUICK)
    said, expected = fast.predict(benchmark, "test"), plain.predict(alone, "test")
    logs = [(tmp_path / name / "log.json").read_text() for name in ("fast", "plain")]
    assert logs[0] == logs[1]
    for name, value in plain.model.arrays().items():
        np.testing.assert_array_equal(fast.model.arrays()[name], value)
    assert said.hashes == expected.hashes
    np.testing.assert_array_equal(said.scores, expected.scores)
    np.testing.assert_array_equal(said.packed_masks, expected.packed_masks)
    assert fast.config["packed"] == str(place_beside(copied))
    assert plain.config["packed"] is None


def test_a_cache_lies_elsewhere_if_said(copied: Path, tmp_path: Path) -> None:
    damage(copied)
    elsewhere = place_beside(copied).rename(tmp_path / "elsewhere")
    benchmark = Benchmark.open(copied)
    with pytest.raises(ReadFailedError, match="row group 0"):
        train_run(benchmark, (TASK,), "geometry", tmp_path / "run")
    run = train_run(
        benchmark, (TASK,), "geometry", tmp_path / "run", beginning=Beginning(packed=elsewhere)
    )
    assert run.config["packed"] == str(elsewhere)
    with pytest.raises(BadInputError, match="no finished packed cache"):
        train_run(
            benchmark,
            (TASK,),
            "geometry",
            tmp_path / "b",
            beginning=Beginning(packed=tmp_path / "c"),
        )


def test_a_cache_that_cannot_be_used_is_named_and_left(copied: Path) -> None:
    benchmark, manifest = Benchmark.open(copied), place_beside(copied) / MANIFEST
    assert cache_of(benchmark) == Cache(place_beside(copied))
    facts = json.loads(manifest.read_text())
    for change, why in (
        ({"benchmark_sha256": "0" * 64}, "from another benchmark"),
        ({"format": 1}, "by another segmend"),
        ({"repaired": False}, "as they are stored"),
    ):
        manifest.write_text(json.dumps(facts | change))
        found = cache_of(benchmark)
        assert found.path is None
        assert why in found.why_not
        with pytest.raises(BadInputError, match=why):
            cache_of(benchmark, place_beside(copied))
    manifest.unlink()  # it is being packed
    assert cache_of(benchmark) == Cache(None)


def test_the_command_says_where_rows_come_from(copied: Path, tmp_path: Path) -> None:
    told = ["train", "false_split_correction", str(copied), "--model", "geometry", "--out"]
    done = CliRunner().invoke(segmend, [*told, str(tmp_path / "a")], catch_exceptions=False)
    assert f"rows are read from {place_beside(copied)}" in done.stderr
    manifest = place_beside(copied) / MANIFEST
    manifest.write_text(manifest.read_text().replace('"repaired": true', '"repaired": false'))
    done = CliRunner().invoke(segmend, [*told, str(tmp_path / "b")], catch_exceptions=False)
    assert "rows are read from the shards: " in done.stderr
    logs = [(tmp_path / name / "log.json").read_text() for name in "ab"]
    assert logs[0] == logs[1]


def predicted(folder: Path, bench: Path, out: Path, *more: str) -> Result:
    """What `segmend predict` does with a run."""
    asked = ["predict", str(folder / "run"), str(bench), "--out", str(out), *more]
    return CliRunner().invoke(segmend, asked)


@pytest.fixture(scope="module")
def runs(bench: Path, tmp_path_factory) -> Path:
    """A run, and the predictions that it makes from the shards alone. Read-only."""
    folder = tmp_path_factory.mktemp("runs")
    train_run(Benchmark.open(bench), (TASK,), "geometry", folder / "run", settings=QUICK)
    alone = shutil.copytree(bench, folder / "alone")
    assert predicted(folder, alone, folder / "plain.parquet").exit_code == 0
    return folder


def test_predict_reads_the_cache_that_is_named(runs: Path, copied: Path, tmp_path: Path) -> None:
    """It and no shard, which is damaged; with the same answers to the byte."""
    damage(copied)
    elsewhere = place_beside(copied).rename(tmp_path / "elsewhere")
    out = tmp_path / "answers.parquet"
    assert predicted(runs, copied, out).exit_code != 0
    assert not out.exists()
    done = predicted(runs, copied, out, "--packed", str(elsewhere))
    assert done.exit_code == 0, done.output
    assert f"rows are read from {elsewhere}" in done.stderr
    assert out.read_bytes() == (runs / "plain.parquet").read_bytes()


def test_predict_refuses_a_cache_of_another_benchmark(runs, bench, tmp_path: Path) -> None:
    other = tmp_path / "other"
    capsule_benchmark(other, {"test": dict.fromkeys(KINDS, 1)})
    pack(Benchmark.open(other), place_beside(other))
    out = tmp_path / "answers.parquet"
    for place, why in (
        (place_beside(other), "was packed from another benchmark"),
        (tmp_path, "is no finished packed cache"),
    ):
        done = predicted(runs, bench, out, "--packed", str(place))
        assert done.exit_code != 0
        assert f"{place} {why}" in " ".join(str(done.exception or done.stderr).split())
        assert not out.exists()


@pytest.mark.parametrize("suffix", [".pack", ".index", ".json"])
def test_predict_names_what_is_damaged_in_a_cache(runs, copied, tmp_path, suffix: str) -> None:
    """The command reports it; nothing is read from the shards instead."""
    place = place_beside(copied)
    found = next(p for p in sorted(place.rglob(f"*{suffix}")) if "train" not in p.name)
    found.write_bytes(found.read_bytes()[:-9])
    out = tmp_path / "answers.parquet"
    done = predicted(runs, copied, out, "--packed", str(place))
    assert done.exit_code != 0
    assert str(found) in str(done.exception or done.stderr)
    assert not out.exists()


@pytest.mark.parametrize(
    ("model", "task"),
    [
        ("chance", "split_mask_generation"),
        ("neck", "split_mask_generation"),
        ("artefact", "false_split_correction"),
        ("content", "false_merge_identification"),
    ],
)
def test_models_that_learn_little_read_the_cache_too(bench, copied, tmp_path, model, task) -> None:
    """They answer as from the shards, and cannot once the pictures of the cache are damaged."""
    run = train_run(Benchmark.open(bench), (TASKS[task],), model, tmp_path / "run", settings=QUICK)
    alone = Benchmark.open(shutil.copytree(bench, tmp_path / "alone"))
    said, expected = run.predict(Benchmark.open(copied), "test"), run.predict(alone, "test")
    np.testing.assert_array_equal(said.scores, expected.scores)
    np.testing.assert_array_equal(said.packed_masks, expected.packed_masks)
    for blocks in place_beside(copied).rglob("*.pack"):
        blocks.write_bytes(bytes(blocks.stat().st_size))
    with pytest.raises(ReadFailedError, match="CRC-32"):
        run.predict(Benchmark.open(copied), "test")
