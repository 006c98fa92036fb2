"""One patch at another voxel size: images linearly, labels by the nearest voxel, never floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple


def stored_size(size: Triple, wanted: Sequence[float], stored: Sequence[float]) -> Triple:
    """Stored voxels that a patch of ``size`` voxels of ``wanted`` nm spans, at least 1 an axis."""
    z, y, x = (max(1, round(n * w / s)) for n, w, s in zip(size, wanted, stored, strict=True))
    return z, y, x


def nearest(values: NDArray[Any], size: Triple) -> NDArray[Any]:
    """The stored voxel in which each new voxel's centre lies."""
    axes = [((np.arange(n) + 0.5) * m / n).astype(np.intp) for n, m in _pairs(size, values)]
    return np.ascontiguousarray(values[np.ix_(*axes)])


def linear(image: NDArray[np.uint8], size: Triple) -> NDArray[np.uint8]:
    """Trilinear between voxel centres; the first and last voxel reach to the faces."""
    values = image.astype(np.float32)
    for axis, (n, m) in enumerate(_pairs(size, image)):
        at = np.clip((np.arange(n) + 0.5) * m / n - 0.5, 0, m - 1)
        low = np.minimum(at.astype(np.intp), max(m - 2, 0))
        part = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        high = np.minimum(low + 1, m - 1)
        values = values.take(low, axis) * (1 - part) + values.take(high, axis) * part
    return np.rint(values).astype(np.uint8)


def _pairs(size: Triple, values: NDArray[Any]) -> list[tuple[int, int]]:
    return list(zip(size, values.shape, strict=True))
