"""Which segments touch, over how many voxel faces, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit, types
from numba.typed import Dict
from numpy.typing import NDArray

from segmend.core.box import Point
from segmend.core.errors import BadInputError, GridMismatchError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids

_PAIR = types.UniTuple(types.uint64, 2)  # type: ignore[no-untyped-call]
_SUMS = types.UniTuple(types.int64, 4)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Contact:
    """Two segments that touch.

    Attributes:
        a: Smaller id.
        b: Larger id.
        faces: Number of voxel faces they share.
        point_nm: Centre of one of these faces, ``(z, y, x)`` nm: the one nearest to their mean.
    """

    a: int
    b: int
    faces: int
    point_nm: Point

    def other(self, segment: int) -> int:
        """The partner of one of the two."""
        return self.b if segment == self.a else self.a


@dataclass(frozen=True, slots=True, eq=False)
class Contacts:
    """All pairs of touching segments, sorted by ``(a, b)``.

    Attributes:
        a: uint64 ``(n,)``, smaller id of each pair.
        b: uint64 ``(n,)``, larger id of each pair.
        faces: int64 ``(n,)``, voxel faces the pair shares.
        point_nm: float64 ``(n, 3)``, ``(z, y, x)`` nm, the shared face nearest to the mean of all.
    """

    a: Ids
    b: Ids
    faces: NDArray[np.int64]
    point_nm: NDArray[np.float64]
    _order_b: NDArray[np.intp] = field(init=False, repr=False)
    _sorted_b: Ids = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_order_b", np.argsort(self.b, kind="stable"))
        object.__setattr__(self, "_sorted_b", self.b[self._order_b])

    def __len__(self) -> int:
        return len(self.a)

    def __iter__(self) -> Iterator[Contact]:
        return (self._row(i) for i in range(len(self)))

    def of(self, segment: int) -> tuple[Contact, ...]:
        """The contacts of one segment, sorted by partner; empty if it touches nothing."""
        key = np.uint64(segment)
        start, stop = _span(self._sorted_b, key)
        # Partners below the segment come first, so the whole stays sorted by partner.
        rows = [*self._order_b[start:stop].tolist(), *range(*_span(self.a, key))]
        return tuple(self._row(i) for i in rows)

    def pair(self, a: int, b: int) -> Contact | None:
        """The contact of two segments in either order, or None if they do not touch."""
        small, large = np.uint64(min(a, b)), np.uint64(max(a, b))
        start, stop = _span(self.a, small)
        row = start + int(np.searchsorted(self.b[start:stop], large))
        return self._row(row) if row < stop and self.b[row] == large else None

    def _row(self, i: int) -> Contact:
        z, y, x = self.point_nm[i].tolist()
        return Contact(int(self.a[i]), int(self.b[i]), int(self.faces[i]), (z, y, x))


def find_contacts(labels: Ids, grid: VoxelGrid) -> Contacts:
    """Find all pairs of segments that share a voxel face.

    Args:
        labels: uint64 ``(z, y, x)``; 0 is never a partner.
        grid: Where the voxels lie.

    Returns:
        Contacts of the 6-connected face adjacency. The point of a pair is the centre of the shared
        face nearest (in nm) to the mean of all its faces, so that it lies on the contact even where
        that is curved; among equals the first in scan order.

    Raises:
        BadInputError: if the labels are not a 3-D uint64 array.
        GridMismatchError: if they do not fit the grid.
    """
    check_labels(labels, grid, name="labels")
    pairs, sums = _sum_faces(labels)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    pairs, sums = pairs[order], sums[order]
    faces = sums[:, 0]
    mean = sums[:, 1:] / faces[:, None]
    nearest = _nearest_faces(labels, pairs, mean, np.array(grid.voxel_size))
    # A face lies midway between the centres of its two voxels.
    point = (grid.centers((nearest - 1) // 2) + grid.centers(nearest // 2)) / 2
    return Contacts(pairs[:, 0], pairs[:, 1], faces, point)


def check_labels(labels: NDArray[Any], grid: VoxelGrid, *, name: str) -> None:
    """Check that a label array is 3-D, uint64 and fits its grid.

    Raises:
        BadInputError: for another dtype or number of axes.
        GridMismatchError: for another shape.
    """
    if labels.ndim != 3 or labels.dtype != np.uint64:
        raise BadInputError(
            f"'{name}' must be a uint64 array (z, y, x)",
            found=f"shape {labels.shape}, dtype {labels.dtype}",
            fix="Convert with segmend.core.ids.as_ids",
        )
    if labels.shape != grid.shape:
        raise GridMismatchError(
            f"'{name}' does not fit its grid", found=f"array {labels.shape}, grid {grid.shape}"
        )


def _span(sorted_ids: Ids, key: np.uint64) -> tuple[int, int]:
    start, stop = (int(np.searchsorted(sorted_ids, key, side)) for side in ("left", "right"))
    return start, stop


@njit(cache=True, nogil=True)
def _sum_faces(labels):  # type: ignore[no-untyped-def]
    """Pairs ``(n, 2)``; faces and sums of doubled z, y, x of the face centres ``(n, 4)``, exact."""
    depth, height, width = labels.shape
    sums = Dict.empty(_PAIR, _SUMS)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                here = labels[z, y, x]
                if here == 0:
                    continue
                if z + 1 < depth and labels[z + 1, y, x] != here:
                    _add_face(sums, here, labels[z + 1, y, x], (2 * z + 2, 2 * y + 1, 2 * x + 1))
                if y + 1 < height and labels[z, y + 1, x] != here:
                    _add_face(sums, here, labels[z, y + 1, x], (2 * z + 1, 2 * y + 2, 2 * x + 1))
                if x + 1 < width and labels[z, y, x + 1] != here:
                    _add_face(sums, here, labels[z, y, x + 1], (2 * z + 1, 2 * y + 1, 2 * x + 2))
    pairs = np.empty((len(sums), 2), np.uint64)
    values = np.empty((len(sums), 4), np.int64)
    for i, (pair, value) in enumerate(sums.items()):
        pairs[i, 0], pairs[i, 1] = pair
        values[i, 0], values[i, 1], values[i, 2], values[i, 3] = value
    return pairs, values


@njit(cache=True, nogil=True)
def _add_face(sums, here, there, at):  # type: ignore[no-untyped-def]
    if there == 0:
        return
    pair = (min(here, there), max(here, there))
    n, z, y, x = sums.get(pair, (0, 0, 0, 0))
    sums[pair] = (n + 1, z + at[0], y + at[1], x + at[2])


@njit(cache=True, nogil=True)
def _nearest_faces(labels, pairs, mean, voxel_size):  # type: ignore[no-untyped-def]
    """Doubled coordinates of the face of each pair nearest to ``mean`` (doubled coordinates)."""
    depth, height, width = labels.shape
    rows = Dict.empty(_PAIR, types.int64)
    for i in range(len(pairs)):
        rows[(pairs[i, 0], pairs[i, 1])] = i
    nearest = np.zeros((len(pairs), 3), np.int64)
    best = np.full(len(pairs), np.inf)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                here = labels[z, y, x]
                if here == 0:
                    continue
                for axis in range(3):
                    dz, dy, dx = axis == 0, axis == 1, axis == 2
                    if z + dz >= depth or y + dy >= height or x + dx >= width:
                        continue
                    there = labels[z + dz, y + dy, x + dx]
                    if there == 0 or there == here:
                        continue
                    row = rows[(min(here, there), max(here, there))]
                    at = (2 * z + 1 + dz, 2 * y + 1 + dy, 2 * x + 1 + dx)
                    distance = 0.0
                    for k in range(3):
                        distance += ((at[k] - mean[row, k]) * voxel_size[k]) ** 2
                    if distance < best[row]:
                        best[row] = distance
                        nearest[row, 0], nearest[row, 1], nearest[row, 2] = at
    return nearest
