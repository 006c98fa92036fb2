"""What the machine decides, from the environment; everything else is a plan or an argument."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from segmend.core.errors import BadInputError


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of this process.

    Attributes:
        cache_dir: Where derived volumes are kept between runs (``SEGMEND_CACHE``).
        workers: Processes a build may use (``SEGMEND_WORKERS``; default: the usable cores).
    """

    cache_dir: Path
    workers: int


def settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        BadInputError: if ``SEGMEND_WORKERS`` is not a positive number.
    """
    cache = os.environ.get("SEGMEND_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    workers = os.environ.get("SEGMEND_WORKERS") or str(len(os.sched_getaffinity(0)))
    if not workers.isdigit() or int(workers) < 1:
        raise BadInputError(f"SEGMEND_WORKERS must be a positive whole number, got '{workers}'")
    return Settings(cache_dir=Path(cache) if cache else base / "segmend", workers=int(workers))
