"""A lazy labelled array in space, read by boxes in nanometres.

A read has three outcomes, never mixed up: *data*; *certified absent* (the store says that nothing
is there, or the caller asked to pad beyond the volume), which `Block.coverage` marks; and *failed*,
which raises `ReadFailedError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Box, VoxelBox
from segmend.core.errors import OutOfBoundsError
from segmend.core.grid import VoxelGrid


@dataclass(frozen=True, slots=True)
class Block:
    """The answer to a read.

    Attributes:
        data: Array ``(z, y, x)`` in the stored dtype; absent voxels hold the fill value.
        coverage: bool ``(z, y, x)``: True where ``data`` was stored, False where it is certified
            absent.
        grid: Where the array lies.
    """

    data: NDArray[Any]
    coverage: NDArray[np.bool_]
    grid: VoxelGrid


class Driver(Protocol):
    """What a file format must do. `segmend.testing.DriverContract` checks it."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored dtype."""
        ...

    @property
    def grid(self) -> VoxelGrid:
        """Where the voxels lie."""
        ...

    @property
    def source(self) -> str:
        """Where the bytes come from, for messages and provenance."""
        ...

    def read(self, voxels: VoxelBox, out: NDArray[Any], coverage: NDArray[np.bool_]) -> None:
        """Fill ``out`` and ``coverage`` with the voxels of a box that lies inside the grid.

        Raises:
            ReadFailedError: if any of them cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Volume:
    """A lazy array on a voxel grid. Pickles as its driver does, so that workers can open it."""

    driver: Driver

    @property
    def grid(self) -> VoxelGrid:
        """Where the voxels lie."""
        return self.driver.grid

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored dtype."""
        return self.driver.dtype

    @property
    def source(self) -> str:
        """Where the bytes come from."""
        return self.driver.source

    @property
    def box(self) -> Box:
        """The part of space it covers."""
        return self.grid.box

    def __getitem__(self, box: Box) -> NDArray[Any]:
        """The voxels that a box touches, ``(z, y, x)``; the box must lie inside the volume."""
        return self.read(box).data

    def read(self, box: Box, *, pad: int | None = None) -> Block:
        """Read the voxels that a box touches.

        Args:
            box: Box in nm.
            pad: Value for voxels outside the volume; they are reported absent. By default a box
                that reaches outside is an error.

        Raises:
            OutOfBoundsError: if the box reaches outside and ``pad`` was not given.
            ReadFailedError: if stored voxels cannot be read.
        """
        return self.read_voxels(self.grid.to_voxels(box), pad=pad)

    def read_voxels(self, voxels: VoxelBox, *, pad: int | None = None) -> Block:
        """As `read`, by voxel indices of this volume's grid."""
        inside = self.grid.voxels.intersect(voxels)
        if pad is None and not self.grid.voxels.contains(voxels):
            raise OutOfBoundsError(
                f"voxels {voxels.start} to {voxels.stop} (z, y, x) reach outside {self.source}",
                found=f"it has shape {self.grid.shape} and covers {self.grid.box}",
                fix="Ask for a box inside it, or pass pad=VALUE to fill the outside",
            )
        data = np.full(voxels.shape, pad or 0, self.dtype)
        coverage = np.zeros(voxels.shape, np.bool_)
        if inside is not None:
            where = inside.shift(tuple(-v for v in voxels.start)).slices
            self.driver.read(inside, data[where], coverage[where])
        return Block(data, coverage, self.grid.crop(voxels))
