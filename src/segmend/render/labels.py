"""Which voxels around a site belong to A and which to B: the only reading of label volumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.box import VoxelBox
from segmend.core.errors import GridMismatchError, SegmentNotFoundError
from segmend.core.grid import VoxelGrid
from segmend.edits.operation import SideIds
from segmend.segments.rows import rows_of
from segmend.volumes.volume import Volume

SIDE_A, SIDE_B, NO_SIDE = 1, 2, 3
"""Codes of a voxel of A, of B, and of a voxel of the segment on neither side of a split."""

PLANES_PER_READ = 32
"""Sections read at once: the ids of a whole view cube never lie in memory together."""


@dataclass(frozen=True, slots=True)
class SideBlock:
    """A cut-out of label volumes, reduced to the two sides of one candidate.

    Attributes:
        codes: uint8 ``(z, y, x)``: 0 elsewhere, 1 A, 2 B, 3 the segment but neither side.
        voxels: Where the cut-out lies in the volumes' grid.
        grid: The cut-out's own grid.
    """

    codes: NDArray[np.uint8]
    voxels: VoxelBox
    grid: VoxelGrid

    def crop(self, voxels: VoxelBox) -> SideBlock:
        """The part inside a box of the volumes' voxels."""
        local = voxels.shift(tuple(-v for v in self.voxels.start))
        return SideBlock(self.codes[local.slices], voxels, self.grid.crop(local))

    def larger_side(self) -> int:
        """The side with more voxels here; of equal ones that with the first voxel.

        Whichever of them is called A, the same voxels are meant.
        """
        in_a, in_b, first = _side_sizes(rows_of(self.codes))
        if in_a == in_b:
            return int(first)
        return SIDE_A if in_a > in_b else SIDE_B

    def with_rest(self, side: int) -> SideBlock:
        """The same block with the voxels of the segment on neither side given to ``side``."""
        codes = np.where(self.codes == NO_SIDE, np.uint8(side), self.codes)
        return SideBlock(codes, self.voxels, self.grid)

    def held(self) -> dict[int, VoxelBox]:
        """The smallest box around each side, by its code; a side that does not occur has none."""
        ends = _extents(rows_of(self.codes))
        found = {side: ends[side - SIDE_A] for side in (SIDE_A, SIDE_B)}
        return {
            side: VoxelBox((e[0], e[2], e[4]), (e[1], e[3], e[5])).shift(self.voxels.start)
            for side, e in found.items()
            if e[1]
        }

    def around(self, *boxes: VoxelBox) -> SideBlock:
        """The part that holds some boxes, with one voxel around where the block goes on."""
        if not boxes:
            return self.crop(VoxelBox(self.voxels.start, self.voxels.start))
        start = tuple(min(at) for at in zip(*(b.start for b in boxes), strict=True))
        stop = tuple(max(at) for at in zip(*(b.stop for b in boxes), strict=True))
        near = VoxelBox((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])).grow(1)
        return self.crop(near.intersect(self.voxels) or self.voxels)


def read_pair(labels: Volume, ids: tuple[int, ...], voxels: VoxelBox) -> SideBlock:
    """Read where one or two segments lie.

    Args:
        labels: The segmentation.
        ids: ``(A,)`` or ``(A, B)``.
        voxels: What to read, inside the volume.

    Raises:
        ReadFailedError: if voxels cannot be read.
    """
    first, second = _as_stored(labels, ids[0]), _as_stored(labels, ids[-1])
    codes = np.empty(voxels.shape, np.uint8)
    for part, out in _parts(voxels, codes):
        # A missing B is coded like A first and so never written.
        _code_pair(labels.read_voxels(part).data, first, second, out)
    return SideBlock(codes, voxels, labels.grid.crop(voxels))


def read_sides(
    labels: Volume, segment: int, layer: Volume, sides: SideIds, voxels: VoxelBox
) -> SideBlock:
    """Read where the two sides of one segment lie: its voxels inside some ids of another layer.

    The layer is read only where the segment lies.

    Args:
        labels: The segmentation with the segment.
        segment: Its id.
        layer: The labels that tell the sides apart, on the same grid: neurons, the segmentation
            after the split, or supervoxels.
        sides: Ids of that layer, for A and for B; disjoint.
        voxels: What to read, inside the volume.

    Raises:
        GridMismatchError: if the volumes lie on different grids.
        SegmentNotFoundError: for an id that a volume's dtype cannot hold.
        ReadFailedError: if voxels cannot be read.
    """
    if labels.grid != layer.grid:
        raise GridMismatchError(
            f"{labels.source} and {layer.source} must lie on one grid",
            found=f"{labels.grid} and {layer.grid}",
        )
    ids, codes = _sorted_sides(layer, sides)
    block = read_pair(labels, (segment,), voxels)
    held = block.held().get(SIDE_A)
    if held is not None:
        for part, out in _parts(held, block.crop(held).codes):
            _code_sides(layer.read_voxels(part).data, ids, codes, rows_of(out))
    return block


def _sorted_sides(layer: Volume, sides: SideIds) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Ids in the layer's dtype, ascending, and the code of each."""
    ids = [_as_stored(layer, value) for side in sides for value in side]
    codes = [code for code, side in zip((SIDE_A, SIDE_B), sides, strict=True) for _ in side]
    stored = np.array(ids, layer.dtype)
    order = np.argsort(stored)
    return stored[order], np.array(codes, np.uint8)[order]


def _parts(
    voxels: VoxelBox, codes: NDArray[np.uint8]
) -> Iterator[tuple[VoxelBox, NDArray[np.uint8]]]:
    """Cut a box at multiples of `PLANES_PER_READ`, so that stored chunks are not read twice."""
    (z, y, x), (stop_z, stop_y, stop_x) = voxels.start, voxels.stop
    while z < stop_z:
        end = min((z // PLANES_PER_READ + 1) * PLANES_PER_READ, stop_z)
        part = VoxelBox((z, y, x), (end, stop_y, stop_x))
        yield part, codes[z - voxels.start[0] : end - voxels.start[0]]
        z = end


def _as_stored(volume: Volume, value: int) -> np.integer:
    """An id in the volume's dtype; ids that the dtype cannot hold occur nowhere."""
    limits = np.iinfo(volume.dtype)
    if not limits.min <= value <= limits.max:
        raise SegmentNotFoundError(
            f"segment {value} cannot occur in {volume.source}",
            found=f"its voxels are {volume.dtype}",
        )
    return volume.dtype.type(value)


@njit(cache=True, nogil=True)
def _code_pair(labels, first, second, out):  # type: ignore[no-untyped-def]
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            row, target = labels[z, y], out[z, y]
            for x in range(labels.shape[2]):
                in_a = np.uint8(row[x] == first)
                in_b = np.uint8(row[x] == second) & ~in_a
                target[x] = in_a | in_b << np.uint8(1)


@njit(cache=True, nogil=True)
def _code_sides(layer, ids, codes, out):  # type: ignore[no-untyped-def]
    """Code the voxels of a segment by side.

    Args:
        layer: Labels that tell the sides apart, ``(z, y, x)``.
        ids: Ids of both sides in the same dtype, ascending.
        codes: uint8, the side of each.
        out: `Rows` of uint8, not 0 inside the segment; overwritten there.
    """
    for z in range(layer.shape[0]):
        for y in range(layer.shape[1]):
            start = z * out.layer + y * out.row
            source, target = layer[z, y], out.flat[start : start + layer.shape[2]]
            last, code = source[0], _side_of(ids, codes, source[0])
            for x in range(layer.shape[2]):
                if target[x]:
                    # Neighbours mostly agree: look the sides up once per run.
                    if source[x] != last:
                        last, code = source[x], _side_of(ids, codes, source[x])
                    target[x] = code


@njit(cache=True, nogil=True)
def _side_of(ids, codes, value):  # type: ignore[no-untyped-def]
    at = np.searchsorted(ids, value)
    return codes[at] if at < ids.shape[0] and ids[at] == value else np.uint8(NO_SIDE)


@njit(cache=True, nogil=True)
def _side_sizes(rows):  # type: ignore[no-untyped-def]
    """Voxels of A and of B, and which of them comes first (A where there is neither)."""
    in_a, in_b, first = 0, 0, 0
    for z in range(rows.shape[0]):
        for y in range(rows.shape[1]):
            start = z * rows.layer + y * rows.row
            row = rows.flat[start : start + rows.shape[2]]
            for x in range(row.shape[0]):
                in_a += row[x] == SIDE_A
                in_b += row[x] == SIDE_B
            if first == 0 and in_a + in_b > 0:
                for x in range(row.shape[0] - 1, -1, -1):
                    first = row[x] if row[x] in (SIDE_A, SIDE_B) else first
    return in_a, in_b, first if first else SIDE_A


@njit(cache=True, nogil=True)
def _extents(rows):  # type: ignore[no-untyped-def]
    """For A and for B: start and stop on each axis, z first; all 0 if it does not occur."""
    nz, ny, nx = rows.shape
    in_z, in_y = np.zeros((2, nz), np.bool_), np.zeros((2, ny), np.bool_)
    columns_a, columns_b = np.zeros(nx, np.bool_), np.zeros(nx, np.bool_)
    for z in range(nz):
        for y in range(ny):
            start = z * rows.layer + y * rows.row
            row = rows.flat[start : start + nx]
            held_a, held_b = False, False
            for x in range(nx):
                in_a, in_b = row[x] == SIDE_A, row[x] == SIDE_B
                columns_a[x] |= in_a
                columns_b[x] |= in_b
                held_a |= in_a
                held_b |= in_b
            in_z[0, z] |= held_a
            in_z[1, z] |= held_b
            in_y[0, y] |= held_a
            in_y[1, y] |= held_b
    return (
        _ends(in_z[0]) + _ends(in_y[0]) + _ends(columns_a),
        _ends(in_z[1]) + _ends(in_y[1]) + _ends(columns_b),
    )


@njit(cache=True, nogil=True)
def _ends(flags):  # type: ignore[no-untyped-def]
    """First true and one past the last; 0 and 0 if there is none."""
    found = np.flatnonzero(flags)
    if found.size == 0:
        return 0, 0
    return found[0], found[-1] + 1
