"""Arrays that are in memory already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.volumes.volume import Volume


@dataclass(frozen=True, slots=True)
class MemoryDriver:
    """A NumPy array on a grid."""

    array: NDArray[Any]
    grid: VoxelGrid
    source: str

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise BadInputError(
                f"{self.source}: the array does not fit its grid",
                found=f"array {self.array.shape}, grid {self.grid.shape} (z, y, x)",
            )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored dtype."""
        return self.array.dtype

    def read(self, voxels: VoxelBox, out: NDArray[Any]) -> Sequence[VoxelBox]:
        """Copy a box; everything inside the grid is data."""
        out[...] = self.array[voxels.slices]
        return ()


def from_array(
    array: NDArray[Any],
    voxel_size: tuple[float, float, float],
    *,
    offset: tuple[float, float, float] = (0, 0, 0),
    source: str = "array",
) -> Volume:
    """A volume from an array ``(z, y, x)``.

    Args:
        array: Three axes, ``(z, y, x)``.
        voxel_size: nm per voxel, ``(z, y, x)``.
        offset: Corner of the first voxel, nm.
        source: Name for messages.

    Raises:
        BadInputError: if the array does not have three axes.
    """
    if array.ndim != 3:
        raise BadInputError(
            f"{source}: a volume needs three axes (z, y, x), the array has {array.ndim}",
            found=f"shape {array.shape}",
        )
    return Volume(MemoryDriver(array, VoxelGrid(voxel_size, offset, array.shape), source))
