"""Where rows lie: from a position in the benchmark to shard, row group and row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, SegmendError
from segmend.shards.layout import ShardRecord
from segmend.shards.shard_files import ShardFiles


@dataclass(frozen=True, slots=True, eq=False)
class GroupRows:
    """Rows that lie in one row group.

    Attributes:
        shard: Number of the shard.
        group: Number of the row group in it.
        positions: Positions of the rows in the benchmark, ascending, int64.
        rows: Their numbers in the row group, int64.
    """

    shard: int
    group: int
    positions: NDArray[np.int64]
    rows: NDArray[np.int64]


class Places:
    """Places of the rows of a benchmark.

    Args:
        shards: Its shards, in order.
        files: Reads their footers, when they are asked about.
    """

    def __init__(self, shards: Sequence[ShardRecord], files: ShardFiles) -> None:
        self._shards, self._files = shards, files
        counts = [shard.n_samples for shard in shards]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def first_of(self, shard: int) -> int:
        """Position of the first row of a shard."""
        return int(self._starts[shard])

    def groups(self, positions: NDArray[np.int64]) -> list[GroupRows]:
        """Positions, ascending, by row group.

        Raises:
            BadInputError: if one is outside the benchmark.
        """
        if positions.size and (positions[0] < 0 or positions[-1] >= len(self)):
            raise BadInputError(
                "a row position lies outside the benchmark",
                found=f"positions {positions[0]} to {positions[-1]}, {len(self)} rows",
            )
        found = []
        shards = np.searchsorted(self._starts, positions, side="right") - 1
        for shard in np.unique(shards).tolist():
            inside = positions[shards == shard]
            starts = self._files.group_starts(shard)
            rows = inside - self._starts[shard]
            groups = np.searchsorted(starts, rows, side="right") - 1
            for group in np.unique(groups).tolist():
                here = groups == group
                found.append(GroupRows(shard, group, inside[here], rows[here] - starts[group]))
        return found

    def named(self, position: int) -> str:
        """Shard, row group and row of a position, for people."""
        (here,) = self.groups(np.array([position], np.int64))
        return f"{self._shards[here.shard].path} row group {here.group} row {here.rows[0]}"


class Naming:
    """Puts the place of a row in front of what an error says; built only when there is one."""

    def __init__(self, places: Places, position: int) -> None:
        self._places, self._position = places, position

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, SegmendError):
            error.asked = f"{self._places.named(self._position)}: {error.asked}"
