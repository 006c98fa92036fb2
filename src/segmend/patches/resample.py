"""One patch at another voxel size: images linearly, labels by the nearest voxel, never floats.

New voxels are of exactly the size that is asked for: voxel ``i`` of an axis has its centre at
``(i + 0.5) * scale`` stored voxels, ``scale`` the length of a new voxel in stored ones. Where that
is no whole number, the last stored voxel is used in part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Point, Triple

_ROUNDING = 1e-9  # 3 * (1.1 / 1.1) stays 3


def scale_of(wanted: Sequence[float], stored: Sequence[float]) -> Point:
    """Length of a new voxel in stored ones, by axis."""
    z, y, x = (w / s for w, s in zip(wanted, stored, strict=True))
    return z, y, x


def stored_size(size: Triple, scale: Point) -> Triple:
    """Stored voxels that a patch of ``size`` new ones touches."""
    z, y, x = (max(1, math.ceil(n * s - _ROUNDING)) for n, s in zip(size, scale, strict=True))
    return z, y, x


def stored_step(size: Triple, scale: Point) -> Triple:
    """Stored voxels that a patch of ``size`` new ones fills: the next one starts no later."""
    z, y, x = (max(1, math.floor(n * s + _ROUNDING)) for n, s in zip(size, scale, strict=True))
    return z, y, x


def nearest(values: NDArray[Any], size: Triple, scale: Point) -> NDArray[Any]:
    """The stored voxel in which each new voxel's centre lies."""
    axes = [
        np.minimum(((np.arange(n) + 0.5) * s).astype(np.intp), m - 1)
        for n, s, m in zip(size, scale, values.shape, strict=True)
    ]
    return np.ascontiguousarray(values[np.ix_(*axes)])


def linear(image: NDArray[np.uint8], size: Triple, scale: Point) -> NDArray[np.uint8]:
    """Trilinear between voxel centres; the first and last voxel reach to the faces."""
    values = image.astype(np.float32)
    for axis, (n, s, m) in enumerate(zip(size, scale, image.shape, strict=True)):
        at = np.clip((np.arange(n) + 0.5) * s - 0.5, 0, m - 1)
        low = np.minimum(at.astype(np.intp), max(m - 2, 0))
        part = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        high = np.minimum(low + 1, m - 1)
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return np.rint(values).astype(np.uint8)
