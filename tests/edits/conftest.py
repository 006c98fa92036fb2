"""One small piece of tissue with a known history, for every test of edit sources."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import segmend as sg
from segmend.catalog.dataset import Dataset
from segmend.testing.fake_cave import write_token
from segmend.testing.fake_cave_history import History, record_history


@pytest.fixture(scope="session")
def tissue(segmend_cache: object) -> Dataset:
    return sg.open("synthetic", seed=1, shape=[48, 128, 128], false_merges=4)


@pytest.fixture(scope="session")
def history(tissue: Dataset) -> History:
    """Twelve true edits; two of the merges are undone and done again."""
    return record_history(
        tissue.segments("automatic"),
        tissue.segments("neurons"),
        tissue.labels["neurons"].grid,
        tissue.edits,
        redone=2,
        synapses=tissue.synapses,
    )


@pytest.fixture(scope="session")
def until(history: History) -> datetime:
    """An hour after the last edit."""
    last = max(operation.time_ms for operation in history.operations.values())
    return datetime.fromtimestamp(last // 1000, UTC) + timedelta(hours=1)


@pytest.fixture
def token_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the fake's token where caveclient looks for it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    write_token(home)
    return home
