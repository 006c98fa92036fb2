"""Is a part of a segment anywhere thick, or only a shell along a border?"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
                if labels[z, y, x] != label:
                    continue
                whole = True
                for s in range(steps.shape[0]):
                    a, b, c = z + steps[s, 0], y + steps[s, 1], x + steps[s, 2]
                    inside = 0 <= a < nz and 0 <= b < ny and 0 <= c < nx
                    if not inside or labels[a, b, c] != label:
                        whole = False
                        break
                if whole:
                    return True
    return False
