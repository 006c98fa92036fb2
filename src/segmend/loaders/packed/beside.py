"""Which packed cache a benchmark is read from, where nobody says."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from segmend.core.errors import BadInputError, ReadFailedError, require
from segmend.loaders.packed.files import MANIFEST, read_manifest
from segmend.shards.reader import Benchmark


@dataclass(frozen=True, slots=True)
class Cache:
    """Where rows are read from.

    Attributes:
        path: A packed cache of corrected rows; None for the shards.
        why_not: Why the cache that lies beside the benchmark cannot be used; empty if there is none
            or it is used.
    """

    path: Path | None
    why_not: str = ""

    @property
    def told(self) -> str:
        """Where rows are read from, in words; empty where there is no choice."""
        if self.path is not None:
            return f"rows are read from {self.path}"
        return self.why_not and f"rows are read from the shards: {self.why_not}"


def place_beside(folder: Path) -> Path:
    """Where the packed cache of a benchmark lies unless it is put elsewhere."""
    return folder.with_name(f"{folder.name}.packed")


def cache_of(benchmark: Benchmark, asked: str | Path | None = None) -> Cache:
    """The packed cache to read a benchmark from.

    Args:
        benchmark: What is read.
        asked: A cache that must be used; None takes the one beside the benchmark if there is a
            finished one, made from this very benchmark and corrected: it gives the same bits.

    Raises:
        BadInputError: if the one that was asked for is none of this benchmark as corrected.
        ReadFailedError: if its list is damaged.
        MissingDependencyError: if it was asked for and numba is not installed.
    """
    if asked is not None:
        require("numba", extra="packed")
        _check(Path(asked), benchmark)
        return Cache(Path(asked))
    folder = benchmark.source.folder
    if folder is None or not (place_beside(folder) / MANIFEST).is_file():
        return Cache(None)
    if find_spec("numba") is None:
        return Cache(None, f"{place_beside(folder)} needs: pip install 'segmend[packed]'")
    try:
        _check(place_beside(folder), benchmark)
    except (BadInputError, ReadFailedError) as error:  # it is optional: the shards say the same
        return Cache(None, str(error))
    return Cache(place_beside(folder))


def _check(place: Path, benchmark: Benchmark) -> None:
    if not read_manifest(place, benchmark).repaired:
        raise BadInputError(
            f"{place} holds rows as they are stored",
            found="models learn from corrected rows",
            fix=f"Pack them again without --as-stored: segmend pack {benchmark.source.url}",
        )
