"""Running the command as a person does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def segmend() -> Command:
    """Run ``segmend`` with arguments; a status other than 0 fails unless it is expected."""

    def run(
        *arguments: object, status: int = 0, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "segmend.apps.cli.main", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
        )
        assert done.returncode == status, done.stderr
        return done

    return run
