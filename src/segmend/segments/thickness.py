"""Is a part of a segment anywhere thick, or only a shell along a border?"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.box import VoxelBox
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids


def holds_ball(labels: Ids, label: int, grid: VoxelGrid, *, radius_nm: float) -> bool:
    """Whether some voxel of a label lies at least so far from every voxel of another label.

    Distances are between voxel centres. What lies beyond the array counts as another label.

    Args:
        labels: uint64 ``(z, y, x)``.
        label: The label.
        grid: The grid of the labels.
        radius_nm: Radius of the ball, nm.

    Returns:
        The same as asking the label's Euclidean distance transform for a value of ``radius_nm``
        or more, but a thick label is recognised at its first thick place.
    """
    return bool(_holds(labels, np.uint64(label), _nearer_than(radius_nm, grid)))


def _nearer_than(radius_nm: float, grid: VoxelGrid) -> NDArray[np.int64]:
    """Steps ``(n, 3)`` to all voxels nearer than a radius, farthest first: they miss soonest."""
    size = np.array(grid.voxel_size)
    reach = np.ceil(radius_nm / size).astype(int)
    steps = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1)
    steps = steps.reshape(-1, 3)
    squared = ((steps * size) ** 2).sum(axis=1)
    order = np.argsort(-squared, kind="stable")
    return steps[order][squared[order] < radius_nm**2].astype(np.int64)


@njit(cache=True, nogil=True)
def _holds(labels, label, steps):  # type: ignore[no-untyped-def]
    nz, ny, nx = labels.shape
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if labels[z, y, x] == label and _fits(labels, z, y, x, steps):
                    return True
    return False


@njit(cache=True, nogil=True)
def _fits(labels, z, y, x, steps):  # type: ignore[no-untyped-def]
    """Whether every voxel at these steps from a voxel has its label."""
    nz, ny, nx = labels.shape
    label = labels[z, y, x]
    for s in range(steps.shape[0]):
        a, b, c = z + steps[s, 0], y + steps[s, 1], x + steps[s, 2]
        inside = 0 <= a < nz and 0 <= b < ny and 0 <= c < nx
        if not inside or labels[a, b, c] != label:
            return False
    return True


def thick_labels(labels: Ids, core: VoxelBox, grid: VoxelGrid, *, radius_nm: float) -> set[int]:
    """The labels that hold a ball whose centre lies in a block: `holds_ball` by blocks.

    Args:
        labels: uint64 ``(z, y, x)``: a block with `ball_reach` voxels around it, fewer only where
            the volume ends.
        core: The block, in voxels of ``labels``.
        grid: The grid of the labels.
        radius_nm: Radius of the ball, nm.
    """
    steps = _nearer_than(radius_nm, grid)
    return {int(label) for label in _thick(labels, core.start, core.stop, steps)}


def ball_reach(grid: VoxelGrid, *, radius_nm: float) -> int:
    """Voxels that must be known around a block to tell whether a ball fits."""
    return int(np.ceil(radius_nm / min(grid.voxel_size)))


@njit(cache=True, nogil=True)
def _thick(labels, start, stop, steps):  # type: ignore[no-untyped-def]
    thick = set([np.uint64(0)])  # noqa: C405  numba knows no set display
    for z in range(start[0], stop[0]):
        for y in range(start[1], stop[1]):
            for x in range(start[2], stop[2]):
                label = labels[z, y, x]
                if label not in thick and _fits(labels, z, y, x, steps):
                    thick.add(label)
    thick.remove(np.uint64(0))
    return thick
