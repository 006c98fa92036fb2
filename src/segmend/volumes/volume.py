"""A lazy labelled array in space, read by boxes in nanometres.

A read has three outcomes, never mixed up: *data*; *certified absent* (the store says that nothing
is there, or the caller asked to pad beyond the volume), which `Block.coverage` tells; and *failed*,
which raises `ReadFailedError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Box, Triple, VoxelBox
from segmend.core.errors import AbsentVoxelsError, BadInputError, OutOfBoundsError
from segmend.core.grid import VoxelGrid

NONE = VoxelBox((0, 0, 0), (0, 0, 0))
"""No voxels."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which voxels of a block were stored. Kept as boxes: it costs nothing where all are.

    Attributes:
        shape: Shape of the block, ``(z, y, x)``.
        absent: Disjoint boxes, in voxels of the block, that are certified absent.
    """

    shape: Triple
    absent: tuple[VoxelBox, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every voxel was stored."""
        return not self.absent

    @property
    def n_absent(self) -> int:
        """Number of voxels that are certified absent."""
        return sum(box.size for box in self.absent)

    def mask(self) -> NDArray[np.bool_]:
        """Where voxels were stored, bool ``(z, y, x)``."""
        stored = np.ones(self.shape, np.bool_)
        for box in self.absent:
            stored[box.slices] = False
        return stored


@dataclass(frozen=True, slots=True)
class Block:
    """The answer to a read.

    Attributes:
        data: Array ``(z, y, x)`` in the stored dtype; absent voxels hold the fill value.
        coverage: Which voxels of ``data`` were stored.
        grid: Where the array lies.
    """

    data: NDArray[Any]
    coverage: Coverage
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

    def read(self, voxels: VoxelBox, out: NDArray[Any]) -> Sequence[VoxelBox]:
        """Fill ``out`` with the voxels of a box that lies inside the grid.

        Returns:
            Disjoint boxes of the grid, inside ``voxels``, that are certified absent; ``out`` is
            left as it was there.

        Raises:
            ReadFailedError: if any voxel cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Volume:
    """A lazy array on a voxel grid. Pickles as its driver does, so that workers can open it.

    Attributes:
        driver: Reads the voxels of this scale.
        scales: Drivers of all scales of the source, finest first; empty where there is one scale.
        absent: What certified absent voxels count as, where the caller said so.
    """

    driver: Driver
    scales: tuple[Driver, ...] = ()
    absent: int | None = None

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

    @property
    def voxel_sizes(self) -> tuple[tuple[float, float, float], ...]:
        """Voxel sizes of all scales, nm ``(z, y, x)``, finest first."""
        return tuple(driver.grid.voxel_size for driver in self.scales or (self.driver,))

    def at(self, voxel_size: Sequence[float]) -> Volume:
        """The same volume at another scale; this one is left as it is.

        Args:
            voxel_size: nm per voxel ``(z, y, x)`` of one of the scales.

        Raises:
            BadInputError: if no scale has that voxel size.
        """
        asked = VoxelGrid(voxel_size, (0, 0, 0), (0, 0, 0)).voxel_size_pm
        for driver in self.scales or (self.driver,):
            if driver.grid.voxel_size_pm == asked:
                return replace(self, driver=driver)
        raise BadInputError(
            f"{self.source} has no scale with voxels of {tuple(voxel_size)} nm (z, y, x)",
            found=f"its scales: {', '.join(map(str, self.voxel_sizes))}",
            fix="Choose one of them; segmend does not resample on reading",
        )

    def with_absent(self, value: int) -> Volume:
        """The same volume, whose certified absent voxels count as ``value`` in bare arrays."""
        return replace(self, absent=value)

    def __getitem__(self, box: Box) -> NDArray[Any]:
        """The voxels that a box touches, ``(z, y, x)``; the box must lie inside the volume.

        Raises:
            AbsentVoxelsError: if voxels are certified absent and the caller did not say what
                they count as: a bare array cannot tell them from data.
        """
        block = self.read(box)
        if not block.coverage.complete and self.absent is None:
            raise AbsentVoxelsError(
                f"{box} of {self.source} is not all stored",
                found=f"{block.coverage.n_absent} of {block.data.size} voxels are certified absent",
                fix="Take read(box), whose coverage tells them apart, or with_absent(0)",
            )
        return block.data

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
        grid = self.grid
        contained = grid.voxels.contains(voxels)
        if pad is None and not contained:
            raise OutOfBoundsError(
                f"voxels {voxels.start} to {voxels.stop} (z, y, x) reach outside {self.source}",
                found=f"it has shape {grid.shape} and covers {grid.box}",
                fix="Ask for a box inside it, or pass pad=VALUE to fill the outside",
            )
        data = np.empty(voxels.shape, self.dtype)
        back = (-voxels.start[0], -voxels.start[1], -voxels.start[2])
        view, outside = data, list[VoxelBox]()
        # Most boxes lie inside: what clipping costs is worth saving in a read of few voxels.
        inside = voxels if contained and voxels.size else grid.voxels.intersect(voxels)
        if inside is not voxels:
            within = inside.shift(back) if inside else NONE
            view, outside = data[within.slices], voxels.shift(back).without(within)
        absent: list[VoxelBox] = []
        if inside is not None:
            absent = [box.shift(back) for box in self.driver.read(inside, view)]
        for box in absent:
            data[box.slices] = self.absent or 0
        for box in outside:
            data[box.slices] = pad or 0
        return Block(data, Coverage(voxels.shape, (*absent, *outside)), grid.crop(voxels))
