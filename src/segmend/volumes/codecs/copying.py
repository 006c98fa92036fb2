"""Copying decoded voxels into place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


def copy_voxels(source: NDArray[Any], out: NDArray[Any]) -> None:
    """``out[...] = source`` for three axes of one shape and dtype.

    NumPy calls a function for each row, which for the short rows of 8-bit chunks costs more than
    the bytes: the kernel takes a third of the time for 64^3 voxels. Wider voxels NumPy copies best.
    """
    if source.dtype == np.uint8 and out.dtype == np.uint8 and source.shape == out.shape:
        _copy_bytes(source, out)
    else:
        out[...] = source


@njit(cache=True, nogil=True)
def _copy_bytes(source, out):  # type: ignore[no-untyped-def]
    depth, height, width = out.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                out[z, y, x] = source[z, y, x]
