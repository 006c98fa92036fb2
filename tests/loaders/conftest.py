from __future__ import annotations

from pathlib import Path

import pytest

from segmend.core.sample import SAMPLE_TYPES
from segmend.shards.reader import Benchmark
from segmend.testing.rows import random_benchmark


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """15 training rows of all types, two test rows that serve one task only."""
    return random_benchmark(
        tmp_path_factory.mktemp("bench"),
        {"train": dict.fromkeys(SAMPLE_TYPES, 3), "test": {"merge_edit": 2}},
        shard=8,
    )


@pytest.fixture
def benchmark(folder: Path) -> Benchmark:
    return Benchmark.open(folder)
