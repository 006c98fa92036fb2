"""Which segment of a volume lies at a point: what tracings in merger mode are located with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import PM_PER_NM, VoxelBox
from segmend.core.errors import AbsentVoxelsError, OutOfBoundsError
from segmend.core.ids import Ids, as_ids
from segmend.volumes.volume import Volume

CELL = 64
"""Voxels a side of the blocks that points are gathered in: one read each, no larger than needed."""

FAR_PM = 2.0**61
"""No volume reaches as far: 2.3 km."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a segmentation says of some points.

    Attributes:
        voxels: The voxel of each, int64 ``(n, 3)``, ``(z, y, x)``.
        segments: The segment at each, uint64; 0 where there is none, and where none can be known.
        outside: bool: the point lies outside the volume.
        absent: bool: nothing was stored at its voxel, and the volume does not say what that means.
    """

    voxels: NDArray[np.int64]
    segments: Ids
    outside: NDArray[np.bool_]
    absent: NDArray[np.bool_]


def find_segments(volume: Volume, points: NDArray[np.float64]) -> Found:
    """The segments at points, and the points of which nothing can be said.

    Args:
        volume: A segmentation; its values are taken as they are stored.
        points: ``(n, 3)`` nm, ``(z, y, x)``.

    Raises:
        ReadFailedError: if a voxel cannot be read.
    """
    grid = volume.grid
    # Whole picometres: of floats every fifteenth corner at 11.24 nm falls into the voxel before.
    places = np.rint(np.clip(points.reshape(-1, 3) * PM_PER_NM, -FAR_PM, FAR_PM)).astype(np.int64)
    voxels = (places - np.array(grid.offset_pm)) // np.array(grid.voxel_size_pm)
    outside = np.any((voxels < 0) | (voxels >= np.array(grid.shape)), axis=1)
    segments, absent = np.zeros(len(voxels), np.uint64), np.zeros(len(voxels), np.bool_)
    inside = np.flatnonzero(~outside)
    _, cells = np.unique(voxels[inside] // CELL, axis=0, return_inverse=True)
    order = np.argsort(cells.reshape(-1), kind="stable")
    ends = np.flatnonzero(np.diff(cells.reshape(-1)[order])) + 1
    for part in np.split(order, ends) if len(order) else ():
        rows = inside[part]
        segments[rows], absent[rows] = _read(voxels[rows], volume)
    return Found(voxels, segments, outside, absent)


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
        found = find_segments(volume, points)
        if found.outside.any():
            row = int(np.argmax(found.outside))
            raise OutOfBoundsError(
                f"the point {tuple(points[row].tolist())} nm (z, y, x) lies outside "
                f"{volume.source}",
                found=f"{int(found.outside.sum())} of {len(points)} points do; it covers "
                f"{volume.grid.box}",
                fix="Check scale and offset of the tracing, or cut it to the volume",
            )
        if found.absent.any():
            voxel = tuple(found.voxels[np.argmax(found.absent)].tolist())
            raise AbsentVoxelsError(
                f"voxel {voxel} of {volume.source} is absent",
                found="nothing was stored there, which is not the same as no segment",
                fix="Take with_absent(0) if absent voxels count as no segment",
            )
        return found.segments

    return at


def _read(voxels: NDArray[np.int64], volume: Volume) -> tuple[Ids, NDArray[np.bool_]]:
    """Segments of voxels that lie close together, and which of them were never stored."""
    low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
    z, y, x = (voxels - low).T
    start, stop = low.tolist(), high.tolist()
    box = VoxelBox((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    block = volume.read_voxels(box)
    segments = as_ids(block.data[z, y, x])
    if block.coverage.complete or volume.absent is not None:
        return segments, np.zeros(len(voxels), np.bool_)
    absent = ~block.coverage.mask()[z, y, x]
    return np.where(absent, np.uint64(0), segments), absent
