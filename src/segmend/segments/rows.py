"""Rows of an array that was cut out of a larger one, as kernels want them: contiguous."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray


class Rows(NamedTuple):
    """An array ``(z, y, x)`` without a copy.

    A kernel that is given a cut-out cannot know that its rows are contiguous, and makes no SIMD of
    the loops over them. A slice of ``flat`` it knows to be.

    Attributes:
        flat: The memory from the first to the last voxel.
        layer: Elements from one layer (z) to the next.
        row: Elements from one row (y) to the next.
        shape: Voxels ``(z, y, x)``.
    """

    flat: NDArray[Any]
    layer: int
    row: int
    shape: tuple[int, int, int]


def rows_of(array: NDArray[Any]) -> Rows:
    """The rows of an array ``(z, y, x)``; it is copied only where its rows are not contiguous."""
    if array.strides[2] != array.itemsize or min(array.strides) < 0:
        array = np.ascontiguousarray(array)
    nz, ny, nx = array.shape
    layer, row = (step // array.itemsize for step in array.strides[:2])
    length = (nz - 1) * layer + (ny - 1) * row + nx if array.size else 0
    return Rows(as_strided(array, (length,), (array.itemsize,)), layer, row, (nz, ny, nx))
