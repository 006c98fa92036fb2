"""Columns of tables: lists of ids, categories, places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Lists of different lengths, one after the other in one array.

    Attributes:
        values: Items of all lists.
        starts: int64 ``(n + 1,)``: list ``i`` is ``values[starts[i] : starts[i + 1]]``.
    """

    values: NDArray[Any]
    starts: NDArray[np.int64]

    @classmethod
    def of_sizes(cls, values: NDArray[Any], sizes: Sequence[int] | NDArray[np.int64]) -> Lists:
        """Lists of these lengths."""
        starts = np.zeros(len(sizes) + 1, np.int64)
        np.cumsum(np.asarray(sizes, np.int64), out=starts[1:])
        if starts[-1] != len(values):
            raise BadInputError(f"lists of {starts[-1]} items in all cannot share {len(values)}")
        return cls(values, starts)

    @classmethod
    def of_arrays(cls, arrays: Sequence[NDArray[Any]], dtype: Any = np.uint64) -> Lists:
        """Lists that hold these arrays."""
        values = np.concatenate([np.empty(0, dtype), *(np.asarray(a, dtype) for a in arrays)])
        return cls.of_sizes(values, [len(a) for a in arrays])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Length of each list."""
        return np.diff(self.starts)

    @property
    def owners(self) -> NDArray[np.int64]:
        """For each item the number of its list, from 0."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> NDArray[Any]:
        if not 0 <= number < len(self):
            raise IndexError(f"list {number} of {len(self)}")
        return self.values[self.starts[number] : self.starts[number + 1]]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[number] for number in range(len(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Categories:
    """A column of categories.

    Attributes:
        codes: uint8 ``(n,)``.
        names: Name of every code, those that do not occur included.
    """

    codes: NDArray[np.uint8]
    names: dict[int, str]

    def name(self, row: int) -> str:
        """Name of one row's category."""
        return self.names[int(self.codes[row])]

    def is_named(self, name: str) -> NDArray[np.bool_]:
        """Which rows have a category.

        Raises:
            BadInputError: if there is no category of that name.
        """
        for code, known in self.names.items():
            if known == name:
                return self.codes == code
        raise BadInputError(
            f"there is no category '{name}'", fix=f"Known: {', '.join(self.names.values())}"
        )

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """A column of voxels.

    Attributes:
        voxels: int64 ``(n, 3)``, ``(z, y, x)``, counted from zero; -1 where there is none.
        known: bool ``(n,)``: False where the table names no voxel.
    """

    voxels: NDArray[np.int64]
    known: NDArray[np.bool_]

    def nm(self, grid: VoxelGrid) -> NDArray[np.float64]:
        """Centres of the voxels.

        Args:
            grid: The grid that they count on.

        Returns:
            float64 ``(n, 3)`` nm, ``(z, y, x)``; NaN where there is none.
        """
        centers = grid.centers(self.voxels)
        centers[~self.known] = np.nan
        return centers

    def __len__(self) -> int:
        return len(self.voxels)
