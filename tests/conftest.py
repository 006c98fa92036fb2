"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real EM volumes; see its README."""
    named = os.environ.get("SEGMEND_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real EM volumes are neither at {folder} nor at $SEGMEND_TEST_DATA")
    return folder
