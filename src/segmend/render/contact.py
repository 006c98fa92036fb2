"""Where a slice should pass: between two segments, or inside one."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.box import Box, Point, VoxelBox
from segmend.core.errors import GridMismatchError, RenderError
from segmend.core.grid import VoxelGrid
from segmend.render.distance import distances
from segmend.render.labels import SIDE_A, SIDE_B
from segmend.segments.rows import rows_of

CENTRAL = 0.3
"""Share of the cube's width in which the contact point is looked for (reference 1.8)."""

ANY = 0
"""Asks for voxels of any segment."""

Codes = NDArray[np.uint8]


def contact_point(
    codes: Codes, grid: VoxelGrid, center_nm: Point, *, cube_nm: float | None = None
) -> Point:
    """The voxel centre with the smallest sum of distances to A and B.

    Distances are Euclidean in nm between voxel centres, whatever the voxels' shape. Only voxels
    whose centre lies in the central 30 % of the cube are candidates; of equal ones the nearest to
    ``center_nm`` wins, then the first in ``(z, y, x)`` order.

    Args:
        codes: uint8 ``(z, y, x)``: which voxels are A and which B, see `SideBlock`.
        grid: Where they lie.
        center_nm: Centre of the cube, ``(z, y, x)`` nm.
        cube_nm: Width of the cube; by default the width of the array on each axis.

    Returns:
        ``(z, y, x)`` nm.

    Raises:
        GridMismatchError: if the codes do not fit the grid.
        RenderError: ``segment_not_in_view`` if there is no A or no B, ``center_outside_volume`` if
            no voxel lies in the central part.
    """
    _check_shape(codes, grid)
    widths = grid.box.size if cube_nm is None else (cube_nm,) * 3
    central = _central(grid, center_nm, widths)
    center = grid.continuous(np.array(center_nm)) - 0.5
    size = np.array(grid.voxel_size)
    found = _touching(rows_of(codes), (central.start, central.stop), center, size)
    if found[0] < 0:
        found = _nearest_to_both(codes, central, center, size)
    z, y, x = grid.centers(np.array(found))
    return (float(z), float(y), float(x))


def inner_point(codes: Codes, grid: VoxelGrid, center_nm: Point) -> Point:
    """A point moved into a segment: itself if its voxel is coded, else the nearest voxel centre.

    Args:
        codes: uint8 ``(z, y, x)``, not 0 inside the segment.
        grid: Where they lie.
        center_nm: The point, ``(z, y, x)`` nm.

    Raises:
        GridMismatchError: if the codes do not fit the grid.
        RenderError: ``segment_not_in_view`` if no voxel is coded.
    """
    _check_shape(codes, grid)
    voxel = grid.voxel_at(center_nm)
    inside = all(0 <= v < n for v, n in zip(voxel, grid.shape, strict=True))
    if inside and codes[voxel]:
        return center_nm
    center = grid.continuous(np.array(center_nm)) - 0.5
    _, *nearest = _nearest(rows_of(codes), ANY, center, np.array(grid.voxel_size))
    if nearest[0] < 0:
        raise _empty("the segment")
    z, y, x = grid.centers(np.array(nearest))
    return (float(z), float(y), float(x))


def _check_shape(codes: Codes, grid: VoxelGrid) -> None:
    if codes.shape != grid.shape:
        raise GridMismatchError(
            "codes must have the shape of their grid", found=f"{codes.shape}, {grid.shape}"
        )


def _central(grid: VoxelGrid, center_nm: Point, widths: Point) -> VoxelBox:
    """Voxels whose centres lie in the central part of a cube."""
    half_voxel = tuple(s / 2 for s in grid.voxel_size)
    part = Box.around(center_nm, [CENTRAL * w for w in widths])
    # Centres inside a box are corners inside the box moved by half a voxel.
    start = np.ceil(np.array(grid.continuous(np.array(part.start) - half_voxel))).astype(int)
    stop = np.ceil(np.array(grid.continuous(np.array(part.stop) - half_voxel))).astype(int)
    start, stop = start.clip(0, grid.shape), stop.clip(0, grid.shape)
    if (start >= stop).any():
        raise RenderError(
            "center_outside_volume",
            f"no voxel lies near the centre of the view {center_nm} nm",
            found=f"the volume's part of the view covers {grid.box}",
        )
    return VoxelBox(tuple(start), tuple(stop))


def _nearest_to_both(
    codes: Codes, central: VoxelBox, center: NDArray[np.float64], size: NDArray[np.float64]
) -> tuple[int, int, int]:
    """The same by distance transforms, for segments that do not touch in the central part.

    The sum at any one voxel bounds the smallest sum, and voxels of A and B beyond that bound cannot
    matter: only the central part and a margin of the bound's width are transformed.
    """
    middle = np.array([(a + b) // 2 for a, b in zip(central.start, central.stop, strict=True)])
    bound = 0.0
    for name, side in (("A", SIDE_A), ("B", SIDE_B)):
        squared, z, _, _ = _nearest(rows_of(codes), side, middle.astype(np.float64), size)
        if z < 0:
            raise _empty(name)
        bound += squared**0.5
    margin = np.ceil(bound / size).astype(int) + 1
    start = np.maximum(np.array(central.start) - margin, 0)
    stop = np.minimum(np.array(central.stop) + margin, codes.shape)
    near = codes[VoxelBox(tuple(start), tuple(stop)).slices]
    inner = central.shift(tuple(-start))
    total = sum(distances(near == side, inner.start, inner.stop, size) for side in (SIDE_A, SIDE_B))
    return _first_best(np.asarray(total), central, center, size)


def _first_best(
    total: NDArray[np.float64],
    central: VoxelBox,
    center: NDArray[np.float64],
    size: NDArray[np.float64],
) -> tuple[int, int, int]:
    # Equal sums of square roots may differ in their last bits.
    best = np.argwhere(total <= total.min() + 1e-6) + np.array(central.start)
    distance = (((best - center) * size) ** 2).sum(axis=1)
    z, y, x = best[int((distance <= distance.min() + 1e-6).argmax())]
    return int(z), int(y), int(x)


def _empty(name: str) -> RenderError:
    return RenderError("segment_not_in_view", f"{name} has no voxel in the view")


@njit(cache=True, nogil=True)
def _touching(rows, bounds, center, size):  # type: ignore[no-untyped-def]
    """The best voxel if A and B touch across a shortest voxel edge, else -1.

    No sum can be smaller than the shortest edge, and only voxels of A beside B, or of B beside A,
    along such an edge reach it.

    Args:
        rows: `Rows` of codes.
        bounds: First voxel of the central part, and one past its last.
        center: float64 ``(3,)``, voxel indices.
        size: float64 ``(3,)``, nm per voxel.
    """
    start, stop = bounds
    best, nearest = (-1, -1, -1), np.inf
    beside = np.empty(stop[2] - start[2], np.bool_)
    for z in range(start[0], stop[0]):
        for y in range(start[1], stop[1]):
            if not _mark_beside(rows, (z, y), (start[2], stop[2]), size, beside):
                continue
            for x in range(start[2], stop[2]):
                if not beside[x - start[2]]:
                    continue
                dz, dy, dx = z - center[0], y - center[1], x - center[2]
                far = (dz * size[0]) ** 2 + (dy * size[1]) ** 2 + (dx * size[2]) ** 2
                if far < nearest - 1e-6:
                    nearest, best = far, (z, y, x)
    return best


@njit(cache=True, nogil=True)
def _mark_beside(rows, at, columns, size, beside):  # type: ignore[no-untyped-def]
    """Mark the voxels of a row with the other segment across a shortest edge; whether any has."""
    z, y = at
    nz, ny, nx = rows.shape
    shortest = size.min()
    place = z * rows.layer + y * rows.row
    low, high = place + columns[0], place + columns[1]
    beside[:] = False
    found = False
    if size[0] == shortest and z > 0:
        found |= _mark(rows.flat, (low, high), -rows.layer, beside)
    if size[0] == shortest and z + 1 < nz:
        found |= _mark(rows.flat, (low, high), rows.layer, beside)
    if size[1] == shortest and y > 0:
        found |= _mark(rows.flat, (low, high), -rows.row, beside)
    if size[1] == shortest and y + 1 < ny:
        found |= _mark(rows.flat, (low, high), rows.row, beside)
    if size[2] == shortest:
        # The first and the last voxel of the array have one neighbour less.
        skip, end = int(columns[0] == 0), int(columns[1] == nx)
        found |= _mark(rows.flat, (low + skip, high), -1, beside[skip:])
        found |= _mark(rows.flat, (low, high - end), 1, beside)
    return found


@njit(cache=True, nogil=True)
def _mark(flat, span, step, beside):  # type: ignore[no-untyped-def]
    low, high = span
    here, there = flat[low:high], flat[low + step : high + step]
    found = False
    for x in range(here.shape[0]):
        # Of the codes only 1 and 2 have the product 2.
        touches = here[x] * there[x] == SIDE_A * SIDE_B
        beside[x] |= touches
        found |= touches
    return found


@njit(cache=True, nogil=True)
def _nearest(rows, code, center, size):  # type: ignore[no-untyped-def]
    """Squared distance (nm) and indices of the voxel of a code (or `ANY`) nearest to a point.

    Indices are -1 if there is none.
    """
    best, nearest = (-1, -1, -1), np.inf
    for z in range(rows.shape[0]):
        far_z = ((z - center[0]) * size[0]) ** 2
        for y in range(rows.shape[1]):
            far_y = far_z + ((y - center[1]) * size[1]) ** 2
            if far_y > nearest:
                continue
            start = z * rows.layer + y * rows.row
            row = rows.flat[start : start + rows.shape[2]]
            for x in range(row.shape[0]):
                if row[x] == code if code != ANY else row[x] != 0:
                    far = far_y + ((x - center[2]) * size[2]) ** 2
                    if far < nearest - 1e-6:
                        nearest, best = far, (z, y, x)
    return nearest, best[0], best[1], best[2]
