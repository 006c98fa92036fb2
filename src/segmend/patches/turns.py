"""Patches that flips left as views, brought into C order by rows: NumPy turns voxel by voxel."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray


def unturned(values: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, ...]]:
    """A patch as it lay before it was mirrored, C order, and the axes to mirror it on again.

    Args:
        values: Any dtype, ``(z, y, x)``, any strides. It is not copied where mirrors are all that
            was done to it.
    """
    axes = tuple(axis for axis, step in enumerate(values.strides) if step < 0)
    return np.ascontiguousarray(np.flip(values, axes)), axes


def in_order(values: NDArray[Any], dtype: Any = None) -> NDArray[Any]:
    """The same values in C order; as they are where they lie so already.

    Args:
        values: ``(z, y, x)``, any strides.
        dtype: Of the answer, one that holds them; by default their own.
    """
    before, axes = unturned(values)
    if not axes and before.dtype == (dtype or before.dtype):
        return before
    out = np.empty(values.shape, dtype or values.dtype)
    _turn(before, 0 in axes, 1 in axes, 2 in axes, out)
    return out


@numba.njit(cache=True, nogil=True)
def _turn(values, z_back, y_back, x_back, out):  # type: ignore[no-untyped-def]
    depth, height, width = values.shape
    # Unsigned: an index that might be negative, as Python's, would keep the loop from being SIMD.
    count, last = np.uint64(width), np.uint64(width - 1)
    for z in range(depth):
        for y in range(height):
            row = values[depth - 1 - z if z_back else z, height - 1 - y if y_back else y]
            to = out[z, y]
            if x_back:
                for x in range(count):
                    to[x] = row[last - x]
            else:
                for x in range(count):
                    to[x] = row[x]
