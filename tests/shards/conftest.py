from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from segmend.core.sample import SAMPLE_TYPES, Split
from segmend.shards.rows import Row
from segmend.testing.published import as_published, as_v1, published_benchmark
from segmend.testing.rows import random_benchmark, random_row


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished benchmark of 14 stand-in rows in four shards. Read-only: mutate `damaged`."""
    few = {"merge_edit": 1, "split_edit": 1}
    return random_benchmark(
        tmp_path_factory.mktemp("bench"),
        {"train": dict.fromkeys(SAMPLE_TYPES, 2), "validation": few, "test": few},
        shard=9,
    )


@pytest.fixture
def damaged(bench: Path, tmp_path: Path) -> Path:
    """A copy of `bench` to damage."""
    return Path(shutil.copytree(bench, tmp_path / "damaged"))


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows in the published layout of v2, in three shards. Read-only."""
    rows = [as_published(random_row(kind, seed)) for seed in range(2) for kind in SAMPLE_TYPES]
    test = [as_published(random_row(k, 9, split="test")) for k in ("merge_edit", "split_edit")]
    folder = tmp_path_factory.mktemp("published")
    return published_benchmark(folder, {"train": rows, "test": test}, shard=6)


@pytest.fixture(scope="session")
def published_v1(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows in the layout of v1. Read-only."""
    rows: dict[Split, list[Row]] = {}
    for split, name in (("train", "train"), ("test", "test")):
        tables = [pq.read_table(path) for path in sorted((published / name).glob("*.parquet"))]
        rows[split] = [as_v1(row) for table in tables for row in table.to_pylist()]
    folder = tmp_path_factory.mktemp("published-v1")
    return published_benchmark(folder, rows, shard=6, version="v1")
