"""A benchmark of stand-in rows and predictions on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segmend.core.random import keyed_unit
from segmend.models.model import Predictions, pack_masks
from segmend.models.run import benchmark_sha256
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS
from segmend.testing.rows import random_benchmark

COUNTS = {"merge_edit": 4, "adjacent_control": 5, "split_edit": 3, "junction_control": 2}


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    folder = tmp_path_factory.mktemp("evaluate") / "bench"
    return Benchmark.open(
        random_benchmark(folder, {"test": COUNTS, "validation": {"split_edit": 2}})
    )


def predictions_for(benchmark: Benchmark, task: str, **changes: object) -> Predictions:
    """Random predictions for a split, in another order than the benchmark's."""
    split = str(changes.get("split", "test"))
    sidecar = benchmark.sidecar(split)
    positions = set(TASKS[task].rows(sidecar).tolist())
    keys = zip(
        sidecar["position"].to_pylist(), sidecar["combined_sample_hash"].to_pylist(), strict=True
    )
    hashes = tuple(sorted(str(key) for position, key in keys if position in positions))
    facts = {
        "task": task,
        "task_version": TASKS[task].version,
        "model": "made up",
        "run": "a run",
        "benchmark": benchmark_sha256(benchmark),
        "split": split,
        "hashes": hashes,
    }
    if task == "split_mask_generation":
        generator = np.random.default_rng(0)
        masks = [generator.random((3, 224, 224)) < 0.5 for _ in hashes]
        facts["packed_masks"] = pack_masks(masks)
    else:
        facts["scores"] = np.array([keyed_unit("score", key) for key in hashes])
    return Predictions(**(facts | changes))  # type: ignore[arg-type]


@pytest.fixture
def predict() -> Callable[..., Predictions]:
    """Makes random predictions for (benchmark, task)."""
    return predictions_for


@pytest.fixture(scope="session")
def both_splits(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Benchmark, Callable[..., Predictions]]:
    """A benchmark whose validation and test splits hold both classes, and `predict`."""
    folder = tmp_path_factory.mktemp("evaluate") / "both"
    rows = {"merge_edit": 6, "adjacent_control": 6}
    bench = Benchmark.open(random_benchmark(folder, {"validation": rows, "test": rows}))
    return bench, predictions_for


@pytest.fixture
def labelled(benchmark: Benchmark) -> Predictions:
    """Predictions for a binary task."""
    return predictions_for(benchmark, "false_split_correction")


@pytest.fixture
def masked(benchmark: Benchmark) -> Predictions:
    """Predictions for the mask task."""
    return predictions_for(benchmark, "split_mask_generation")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "predictions.parquet"
