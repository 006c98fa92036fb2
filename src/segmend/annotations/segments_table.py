"""L4dense2019's table of segments: ``segments.hdf5``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmend.annotations.columns import Places
from segmend.annotations.matlab import open_matlab

MAX_VOXELS = 2**48
"""No volume has as many."""


@dataclass(frozen=True, slots=True)
class Segments:
    """All segments; the one with id ``i`` is row ``i - 1``.

    Attributes:
        positions: A voxel inside each.
        voxel_counts: Voxels of each, int64.
    """

    positions: Places
    voxel_counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.voxel_counts)


def read_segments(path: str | Path) -> Segments:
    """Read ``segments.hdf5``.

    Raises:
        ReadFailedError: if the file is missing or damaged.
        SchemaError: if a data set is missing, columns differ in length, or a position is none.
    """
    file = open_matlab(path)
    positions = file.places("segments/position")
    counts = file.ids("segments/voxelCount", most=MAX_VOXELS, of="voxels").astype(np.int64)
    file.check_lengths({"segments/position": len(positions), "segments/voxelCount": len(counts)})
    lost = (counts > 0) & ~positions.known
    if lost.any():
        row = int(np.argmax(lost))
        raise file.error("segments/position", f"segment {row + 1} has voxels but no position")
    return Segments(positions, counts)
