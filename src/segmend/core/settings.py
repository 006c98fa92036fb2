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
        cache_dir: Where derived volumes and remote objects are kept between runs
            (``SEGMEND_CACHE``).
        cache_bytes: Room for remote objects (``SEGMEND_CACHE_BYTES``; 0: keep none). None: at most
            20 GB and at most a quarter of the free disk, see `segmend.store.cache_room`.
        data_dir: Where published files are fetched to and looked for (``SEGMEND_DATA``; default:
            ``data`` in the working folder).
        workers: Processes a build may use (``SEGMEND_WORKERS``; default: the usable cores).
    """

    cache_dir: Path
    cache_bytes: int | None
    data_dir: Path
    workers: int


def settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        BadInputError: if ``SEGMEND_WORKERS`` is not a positive number, or ``SEGMEND_CACHE_BYTES``
            is not a number of bytes.
    """
    cache = os.environ.get("SEGMEND_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    workers = os.environ.get("SEGMEND_WORKERS") or str(len(os.sched_getaffinity(0)))
    if not workers.isdigit() or int(workers) < 1:
        raise BadInputError(f"SEGMEND_WORKERS must be a positive whole number, got '{workers}'")
    room = os.environ.get("SEGMEND_CACHE_BYTES")
    if room and not (room.isascii() and room.isdigit()):
        raise BadInputError(
            f"SEGMEND_CACHE_BYTES must be a whole number of bytes, got '{room}'",
            fix="For example 20000000000 for 20 GB, or 0 to keep nothing",
        )
    return Settings(
        cache_dir=Path(cache) if cache else base / "segmend",
        cache_bytes=int(room) if room else None,
        data_dir=Path(os.environ.get("SEGMEND_DATA") or "data").absolute(),
        workers=int(workers),
    )
