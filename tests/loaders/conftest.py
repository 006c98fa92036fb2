from __future__ import annotations

from pathlib import Path

import pytest

from segmend.core.sample import SAMPLE_TYPES
from segmend.loaders.packed.build import pack
from segmend.shards.reader import Benchmark
from segmend.testing.published import as_published, as_v1, published_benchmark
from segmend.testing.rows import random_benchmark, random_row


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


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Five training rows in the published layout, with its faults, of v1 and v2."""
    rows = [as_published(random_row(kind, 3)) for kind in SAMPLE_TYPES]
    folder = tmp_path_factory.mktemp("published")
    return {
        "v1": published_benchmark(
            folder / "v1", {"train": [as_v1(row) for row in rows]}, shard=3, version="v1"
        ),
        "v2": published_benchmark(folder / "v2", {"train": rows}, shard=3),
    }


@pytest.fixture(scope="session")
def packed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`folder`, packed. Read-only."""
    place = tmp_path_factory.mktemp("packed") / "cache"
    pack(Benchmark.open(folder), place)
    return place
