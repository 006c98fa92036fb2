"""Which segment of a volume lies at a point: what tracings in merger mode are located with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import VoxelBox
from segmend.core.errors import AbsentVoxelsError, OutOfBoundsError
from segmend.core.ids import Ids, as_ids
from segmend.volumes.volume import Volume

CELL = 64
"""Voxels a side of the blocks that points are gathered in: one read each, no larger than needed."""


def segments_at(volume: Volume) -> Callable[[NDArray[np.float64]], Ids]:
    """A lookup for `segmend.annotations.merger_mode.locate`.

    Args:
        volume: A segmentation; its values are taken as they are stored.

    Returns:
        A function from points ``(n, 3)`` nm, ``(z, y, x)``, to the segments at them, uint64
        ``(n,)``. It raises OutOfBoundsError for a point outside the volume, AbsentVoxelsError for
        one whose voxel is certified absent, and ReadFailedError for one that cannot be read: none
        of these is "no segment".
    """

    def at(points: NDArray[np.float64]) -> Ids:
        voxels = _voxels(points, volume)
        found = np.zeros(len(voxels), np.uint64)
        _, cells = np.unique(voxels // CELL, axis=0, return_inverse=True)
        order = np.argsort(cells.reshape(-1), kind="stable")
        ends = np.flatnonzero(np.diff(cells.reshape(-1)[order])) + 1
        for rows in np.split(order, ends) if len(order) else ():
            found[rows] = _read(voxels[rows], volume)
        return found

    return at


def _voxels(points: NDArray[np.float64], volume: Volume) -> NDArray[np.int64]:
    grid = volume.grid
    corner, size = np.array(grid.offset), np.array(grid.voxel_size)
    voxels = np.floor((points - corner) / size).astype(np.int64)
    outside = np.any((voxels < 0) | (voxels >= np.array(grid.shape)), axis=1)
    if outside.any():
        row = int(np.argmax(outside))
        raise OutOfBoundsError(
            f"the point {tuple(points[row].tolist())} nm (z, y, x) lies outside {volume.source}",
            found=f"{int(outside.sum())} of {len(points)} points do; it covers {grid.box}",
            fix="Check scale and offset of the tracing, or cut it to the volume",
        )
    return voxels


def _read(voxels: NDArray[np.int64], volume: Volume) -> Ids:
    low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
    z, y, x = (voxels - low).T
    start, stop = low.tolist(), high.tolist()
    box = VoxelBox((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    block = volume.read_voxels(box)
    if not block.coverage.complete and volume.absent is None:
        stored = block.coverage.mask()[z, y, x]
        if not stored.all():
            raise AbsentVoxelsError(
                f"voxel {tuple(voxels[np.argmin(stored)].tolist())} of {volume.source} is absent",
                found="nothing was stored there, which is not the same as no segment",
                fix="Take with_absent(0) if absent voxels count as no segment",
            )
    return as_ids(block.data[z, y, x])
