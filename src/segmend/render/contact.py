"""Where a slice should pass: between two segments, or inside one."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.box import Box, Point, VoxelBox
from segmend.core.errors import GridMismatchError, RenderError
from segmend.core.grid import VoxelGrid
from segmend.render.distance import distances

CENTRAL = 0.3
"""Share of the cube's width in which the contact point is looked for (reference 1.8)."""

Mask = NDArray[np.bool_]


def contact_point(
    mask_a: Mask, mask_b: Mask, grid: VoxelGrid, center_nm: Point, *, cube_nm: float | None = None
) -> Point:
    """The voxel centre with the smallest sum of distances to A and B.

    Distances are Euclidean in nm between voxel centres, whatever the voxels' shape. Only voxels
    whose centre lies in the central 30 % of the cube are candidates; of equal ones the nearest to
    ``center_nm`` wins, then the first in ``(z, y, x)`` order.

    Args:
        mask_a: bool ``(z, y, x)``, disjoint from ``mask_b``.
        mask_b: bool ``(z, y, x)``.
        grid: Where the masks lie.
        center_nm: Centre of the cube, ``(z, y, x)`` nm.
        cube_nm: Width of the cube; by default the width of the masks on each axis.

    Returns:
        ``(z, y, x)`` nm.

    Raises:
        GridMismatchError: if the masks do not fit the grid.
        RenderError: ``segment_not_in_view`` if a mask is empty, ``center_outside_volume`` if no
            voxel lies in the central part.
    """
    if mask_a.shape != grid.shape or mask_b.shape != grid.shape:
        raise GridMismatchError(
            "both masks must have the shape of their grid",
            found=f"{mask_a.shape}, {mask_b.shape}, {grid.shape}",
        )
    widths = grid.box.size if cube_nm is None else (cube_nm,) * 3
    central = _central(grid, center_nm, widths)
    center = grid.continuous(np.array(center_nm)) - 0.5
    size = np.array(grid.voxel_size)
    found = _touching(mask_a, mask_b, (central.start, central.stop), center, size)
    if found[0] < 0:
        found = _nearest_to_both(mask_a, mask_b, central, center, size)
    z, y, x = grid.centers(np.array(found))
    return (float(z), float(y), float(x))


def inner_point(mask: Mask, grid: VoxelGrid, center_nm: Point) -> Point:
    """A point moved into a mask: itself if its voxel belongs to it, else the nearest voxel centre.

    Raises:
        RenderError: ``segment_not_in_view`` if the mask is empty.
    """
    voxel = grid.voxel_at(center_nm)
    inside = all(0 <= v < n for v, n in zip(voxel, grid.shape, strict=True))
    if inside and mask[voxel]:
        return center_nm
    center = grid.continuous(np.array(center_nm)) - 0.5
    _, *nearest = _nearest(mask, center, np.array(grid.voxel_size))
    if nearest[0] < 0:
        raise _empty("the segment")
    z, y, x = grid.centers(np.array(nearest))
    return (float(z), float(y), float(x))


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
    mask_a: Mask,
    mask_b: Mask,
    central: VoxelBox,
    center: NDArray[np.float64],
    size: NDArray[np.float64],
) -> tuple[int, int, int]:
    """The same by distance transforms, for masks that do not touch in the central part.

    The sum at any one voxel bounds the smallest sum, and voxels of A and B beyond that bound cannot
    matter: only the central part and a margin of the bound's width are transformed.
    """
    middle = np.array([(a + b) // 2 for a, b in zip(central.start, central.stop, strict=True)])
    bound = 0.0
    for name, mask in (("A", mask_a), ("B", mask_b)):
        squared, z, _, _ = _nearest(mask, middle.astype(np.float64), size)
        if z < 0:
            raise _empty(name)
        bound += squared**0.5
    margin = np.ceil(bound / size).astype(int) + 1
    start = np.maximum(np.array(central.start) - margin, 0)
    stop = np.minimum(np.array(central.stop) + margin, mask_a.shape)
    near = VoxelBox(tuple(start), tuple(stop))
    inner = central.shift(tuple(-start))
    total = sum(
        distances(mask[near.slices], inner.start, inner.stop, size) for mask in (mask_a, mask_b)
    )
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
def _touching(mask_a, mask_b, bounds, center, size):  # type: ignore[no-untyped-def]
    """The best voxel if A and B touch across a shortest voxel edge, else -1.

    No sum can be smaller than the shortest edge, and only voxels of A beside B, or of B beside A,
    along such an edge reach it.
    """
    start, stop = bounds
    shortest = size.min()
    best, nearest = (-1, -1, -1), np.inf
    for z in range(start[0], stop[0]):
        for y in range(start[1], stop[1]):
            for x in range(start[2], stop[2]):
                if mask_a[z, y, x]:
                    other = mask_b
                elif mask_b[z, y, x]:
                    other = mask_a
                else:
                    continue
                if not _beside(other, z, y, x, size, shortest):
                    continue
                dz, dy, dx = z - center[0], y - center[1], x - center[2]
                far = (dz * size[0]) ** 2 + (dy * size[1]) ** 2 + (dx * size[2]) ** 2
                if far < nearest - 1e-6:
                    nearest, best = far, (z, y, x)
    return best


@njit(cache=True, nogil=True, inline="always")
def _beside(mask, z, y, x, size, shortest):  # type: ignore[no-untyped-def]
    """Whether a neighbour across one of the shortest voxel edges belongs to a mask."""
    nz, ny, nx = mask.shape
    if size[0] == shortest and (
        (z > 0 and mask[z - 1, y, x]) or (z + 1 < nz and mask[z + 1, y, x])
    ):
        return True
    if size[1] == shortest and (
        (y > 0 and mask[z, y - 1, x]) or (y + 1 < ny and mask[z, y + 1, x])
    ):
        return True
    return size[2] == shortest and (
        (x > 0 and mask[z, y, x - 1]) or (x + 1 < nx and mask[z, y, x + 1])
    )


@njit(cache=True, nogil=True)
def _nearest(mask, center, size):  # type: ignore[no-untyped-def]
    """Squared distance (nm) and indices of the mask's voxel nearest to a point; -1 if empty."""
    best, nearest = (-1, -1, -1), np.inf
    for z in range(mask.shape[0]):
        far_z = ((z - center[0]) * size[0]) ** 2
        for y in range(mask.shape[1]):
            far_y = far_z + ((y - center[1]) * size[1]) ** 2
            if far_y > nearest:
                continue
            row = mask[z, y]
            for x in range(mask.shape[2]):
                if row[x]:
                    far = far_y + ((x - center[2]) * size[2]) ** 2
                    if far < nearest - 1e-6:
                        nearest, best = far, (z, y, x)
    return nearest, best[0], best[1], best[2]
