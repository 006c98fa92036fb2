from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from segmend.core.sample import SAMPLE_TYPES
from segmend.testing.rows import random_benchmark


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
