"""Which voxels around a site belong to A and which to B: the only reading of label volumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.box import VoxelBox
from segmend.core.errors import GridMismatchError, SegmentNotFoundError
from segmend.core.grid import VoxelGrid
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
        """The side with more voxels here; A where they are even."""
        in_a, in_b = _side_sizes(self.codes)
        return SIDE_A if in_a >= in_b else SIDE_B

    def with_rest(self, side: int) -> SideBlock:
        """The same block with the voxels of the segment on neither side given to ``side``."""
        codes = np.where(self.codes == NO_SIDE, np.uint8(side), self.codes)
        return SideBlock(codes, self.voxels, self.grid)

    def around(self, *sides: int) -> SideBlock:
        """The part that holds one or two sides, with one voxel around where the block goes on."""
        found = _extent(self.codes, np.uint8(sides[0]), np.uint8(sides[-1]))
        if found[1] == 0:
            return self.crop(VoxelBox(self.voxels.start, self.voxels.start))
        held = VoxelBox((found[0], found[2], found[4]), (found[1], found[3], found[5]))
        near = held.grow(1).shift(self.voxels.start).intersect(self.voxels)
        return self.crop(near or self.voxels)


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
    labels: Volume, segment: int, neurons: Volume, sides: tuple[int, int], voxels: VoxelBox
) -> SideBlock:
    """Read where the two sides of one segment lie: its voxels inside two neurons.

    Args:
        labels: The segmentation with the segment.
        segment: Its id.
        neurons: The segmentation with the neurons, on the same grid.
        sides: Ids of the neurons, A then B.
        voxels: What to read, inside the volume.

    Raises:
        GridMismatchError: if the volumes lie on different grids.
        ReadFailedError: if voxels cannot be read.
    """
    if labels.grid != neurons.grid:
        raise GridMismatchError(
            f"{labels.source} and {neurons.source} must lie on one grid",
            found=f"{labels.grid} and {neurons.grid}",
        )
    whole = _as_stored(labels, segment)
    first, second = _as_stored(neurons, sides[0]), _as_stored(neurons, sides[1])
    codes = np.empty(voxels.shape, np.uint8)
    for part, out in _parts(voxels, codes):
        inside = labels.read_voxels(part).data == whole
        _code_sides(inside, neurons.read_voxels(part).data, first, second, out)
    return SideBlock(codes, voxels, labels.grid.crop(voxels))


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
def _code_sides(inside, neurons, first, second, out):  # type: ignore[no-untyped-def]
    for z in range(inside.shape[0]):
        for y in range(inside.shape[1]):
            row, held, target = neurons[z, y], inside[z, y], out[z, y]
            for x in range(inside.shape[2]):
                code = SIDE_A if row[x] == first else SIDE_B if row[x] == second else NO_SIDE
                target[x] = code if held[x] else 0


@njit(cache=True, nogil=True)
def _side_sizes(codes):  # type: ignore[no-untyped-def]
    """Voxels of A and of B."""
    in_a, in_b = 0, 0
    for z in range(codes.shape[0]):
        for y in range(codes.shape[1]):
            row = codes[z, y]
            for x in range(row.shape[0]):
                in_a += row[x] == SIDE_A
                in_b += row[x] == SIDE_B
    return in_a, in_b


@njit(cache=True, nogil=True)
def _extent(codes, first, second):  # type: ignore[no-untyped-def]
    """Start and stop of two codes on each axis; all 0 if neither occurs."""
    nz, ny, nx = codes.shape
    in_z, in_y = np.zeros(nz, np.bool_), np.zeros(ny, np.bool_)
    columns = np.zeros(nx, np.bool_)
    for z in range(nz):
        for y in range(ny):
            row = codes[z, y]
            held = False
            for x in range(nx):
                hit = (row[x] == first) | (row[x] == second)
                columns[x] |= hit
                held |= hit
            in_z[z] |= held
            in_y[y] |= held
    return _ends(in_z) + _ends(in_y) + _ends(columns)


@njit(cache=True, nogil=True)
def _ends(flags):  # type: ignore[no-untyped-def]
    """First true and one past the last; 0 and 0 if there is none."""
    found = np.flatnonzero(flags)
    if found.size == 0:
        return 0, 0
    return found[0], found[-1] + 1
