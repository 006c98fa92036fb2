"""Which segments touch, over how many voxel faces, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit, types
from numba.typed import Dict
from numpy.typing import NDArray

from segmend.core.box import Point, Triple
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
    faces = FaceSums()
    pairs = faces.add(labels, labels.shape, (0, 0, 0))
    nearest = NearestFaces(faces, grid.voxel_size)
    nearest.add(labels, labels.shape, (0, 0, 0), pairs)
    return nearest.contacts(grid)


class FaceSums:
    """Shared faces of every pair of labels, counted block by block; exact in any order.

    Attributes:
        pairs: uint64 ``(n, 2)``, smaller and larger id, ascending.
        sums: int64 ``(n, 4)``: faces, and the sums of their doubled coordinates ``z, y, x``.
    """

    def __init__(self) -> None:
        self.pairs: Ids = np.empty((0, 2), np.uint64)
        self.sums: NDArray[np.int64] = np.empty((0, 4), np.int64)
        self._waiting: list[tuple[Ids, NDArray[np.int64]]] = []

    def add(self, labels: Ids, core: Triple, start: Triple) -> Ids:
        """Count the faces of a block.

        Args:
            labels: uint64 ``(z, y, x)``: the block, and beyond it on the high sides one more voxel
                where the volume goes on.
            core: Voxels of the block alone: faces between two voxels beyond are left out.
            start: Voxel of the volume that the block begins with.

        Returns:
            Pairs of the block, ascending.
        """
        pairs, sums = _sum_faces(labels, core, start)
        pairs, sums = added(pairs, sums)
        self._waiting.append((pairs, sums))
        if sum(len(one) for one, _ in self._waiting) > max(1_000_000, len(self.pairs)):
            self.settle()
        return pairs

    def settle(self) -> None:
        """Make `pairs` and `sums` hold all blocks so far."""
        parts = [(self.pairs, self.sums), *self._waiting]
        self.pairs, self.sums = added(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        self._waiting.clear()

    def only(self, keep: NDArray[np.bool_]) -> FaceSums:
        """Some of the pairs."""
        kept = FaceSums()
        kept.pairs, kept.sums = self.pairs[keep], self.sums[keep]
        return kept


class NearestFaces:
    """The face of each pair nearest to the mean of all its faces, found block by block.

    Args:
        faces: All faces of the pairs that are asked about; it is settled.
        voxel_size: nm, ``(z, y, x)``.
    """

    def __init__(self, faces: FaceSums, voxel_size: Point) -> None:
        faces.settle()
        self._faces, self._size = faces, np.array(voxel_size)
        self._mean = faces.sums[:, 1:] / faces.sums[:, :1]
        self._best = np.full(len(faces.pairs), np.inf)
        self._nearest = np.zeros((len(faces.pairs), 3), np.int64)

    def add(self, labels: Ids, core: Triple, start: Triple, pairs: Ids | None = None) -> None:
        """Look through a block; arguments as for `FaceSums.add`.

        Args:
            labels: The block and one voxel beyond.
            core: Voxels of the block alone.
            start: Where it begins.
            pairs: Its pairs, if they are known.
        """
        if pairs is None:
            pairs = _sum_faces(labels, core, start)[0]
        rows, known = found_rows(self._faces.pairs, pairs)
        rows, pairs = rows[known], pairs[known]
        if not len(rows):
            return
        nearest, best = _nearest_faces(labels, core, start, pairs, self._mean[rows], self._size)
        better = best < self._best[rows]
        # Of equally near faces the first in scan order of the whole volume, whatever the blocks.
        tied = np.flatnonzero(best == self._best[rows])
        for i in tied.tolist():
            better[i] = _scan_order(nearest[i]) < _scan_order(self._nearest[rows[i]])
        self._best[rows[better]] = best[better]
        self._nearest[rows[better]] = nearest[better]

    def contacts(self, grid: VoxelGrid) -> Contacts:
        """The contacts, once all blocks were looked through."""
        # A face lies midway between the centres of its two voxels.
        low, high = self.voxels()
        point = (grid.centers(low) + grid.centers(high)) / 2
        pairs = self._faces.pairs
        return Contacts(pairs[:, 0], pairs[:, 1], self._faces.sums[:, 0], point)

    def voxels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The two voxels of the face of each pair, int64 ``(n, 3)``; not in the pair's order."""
        return (self._nearest - 1) // 2, self._nearest // 2


def _scan_order(face: NDArray[np.int64]) -> tuple[int, ...]:
    """Voxel ``(z, y, x)`` and axis of a face in doubled coordinates: one of them is even."""
    z, y, x = ((face - 1) // 2).tolist()
    return (z, y, x, int((face % 2 == 0).argmax()))


def added(keys: Ids, values: NDArray[np.int64]) -> tuple[Ids, NDArray[np.int64]]:
    """Add up the rows of equal keys.

    Args:
        keys: uint64 ``(n, 2)``.
        values: int64 ``(n, k)``.

    Returns:
        Keys that differ, ascending, and the sums of their values.
    """
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    keys, values = keys[order], values[order]
    first = np.ones(len(keys), bool)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    starts = np.flatnonzero(first)
    return keys[starts], np.add.reduceat(values, starts) if len(starts) else values


def found_rows(table: Ids, keys: Ids) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where pairs stand in an ascending table of pairs, and whether they do."""
    joined = np.concatenate([table, keys])
    order = np.lexsort((joined[:, 1], joined[:, 0]))
    joined = joined[order]
    first = np.ones(len(joined), bool)
    first[1:] = (joined[1:] != joined[:-1]).any(axis=1)
    group = np.empty(len(joined), np.intp)
    group[order] = np.cumsum(first) - 1
    row = np.full(len(joined), -1, np.intp)
    row[group[: len(table)]] = np.arange(len(table))
    rows = row[group[len(table) :]]
    return rows, rows >= 0


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
def _sum_faces(labels, core, start):  # type: ignore[no-untyped-def]
    """Pairs ``(n, 2)``; faces and sums of doubled z, y, x of the face centres ``(n, 4)``, exact."""
    depth, height, width = labels.shape
    sums = Dict.empty(_PAIR, _SUMS)
    for z in range(core[0]):
        for y in range(core[1]):
            for x in range(core[2]):
                here = labels[z, y, x]
                if here == 0:
                    continue
                at = (2 * (z + start[0]) + 1, 2 * (y + start[1]) + 1, 2 * (x + start[2]) + 1)
                if z + 1 < depth and labels[z + 1, y, x] != here:
                    _add_face(sums, here, labels[z + 1, y, x], (at[0] + 1, at[1], at[2]))
                if y + 1 < height and labels[z, y + 1, x] != here:
                    _add_face(sums, here, labels[z, y + 1, x], (at[0], at[1] + 1, at[2]))
                if x + 1 < width and labels[z, y, x + 1] != here:
                    _add_face(sums, here, labels[z, y, x + 1], (at[0], at[1], at[2] + 1))
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
def _nearest_faces(labels, core, start, pairs, mean, voxel_size):  # type: ignore[no-untyped-def]
    """Doubled coordinates of the face of each pair nearest to ``mean``, and the squared nm."""
    depth, height, width = labels.shape
    rows = Dict.empty(_PAIR, types.int64)
    for i in range(len(pairs)):
        rows[(pairs[i, 0], pairs[i, 1])] = i
    nearest = np.zeros((len(pairs), 3), np.int64)
    best = np.full(len(pairs), np.inf)
    for z in range(core[0]):
        for y in range(core[1]):
            for x in range(core[2]):
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
                    pair = (min(here, there), max(here, there))
                    if pair not in rows:
                        continue
                    row = rows[pair]
                    at = (
                        2 * (z + start[0]) + 1 + dz,
                        2 * (y + start[1]) + 1 + dy,
                        2 * (x + start[2]) + 1 + dx,
                    )
                    distance = 0.0
                    for k in range(3):
                        distance += ((at[k] - mean[row, k]) * voxel_size[k]) ** 2
                    if distance < best[row]:
                        best[row] = distance
                        nearest[row, 0], nearest[row, 1], nearest[row, 2] = at
    return nearest, best
