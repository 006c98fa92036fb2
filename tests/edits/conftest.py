"""One small piece of tissue with a known history, for every test of edit sources."""

from __future__ import annotations

import pytest

import segmend as sg
from segmend.catalog.dataset import Dataset
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
