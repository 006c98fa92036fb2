"""The voxel grid: the only thing that turns nanometres into voxels and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import PM_PER_NM, Box, Point, Triple, VoxelBox, nanometres, picometres
from segmend.core.errors import BadInputError

Rounding = Literal["outer", "inner", "exact"]


@dataclass(frozen=True, slots=True, init=False)
class VoxelGrid:
    """A regular grid of voxels in space, axes ``(z, y, x)``.

    Voxel ``i`` of an axis covers ``[offset + i * voxel_size, offset + (i + 1) * voxel_size)``:
    the offset is the *corner* of the first voxel, not its centre.

    Args:
        voxel_size: nm per voxel, positive.
        offset: Corner of voxel (0, 0, 0), nm.
        shape: Voxels per axis.

    Raises:
        BadInputError: for a voxel size that is not positive or a negative shape.
    """

    voxel_size_pm: Triple
    offset_pm: Triple
    shape: Triple

    def __init__(
        self, voxel_size: Sequence[float], offset: Sequence[float], shape: Sequence[int]
    ) -> None:
        size_pm = picometres(voxel_size)
        if min(size_pm) <= 0:
            raise BadInputError(
                f"a voxel size must be positive, got {tuple(voxel_size)} nm",
                fix="Give the size in nm, in the order (z, y, x)",
            )
        if len(shape) != 3 or min(shape) < 0:
            raise BadInputError(f"a grid shape must be three counts (z, y, x), got {tuple(shape)}")
        object.__setattr__(self, "voxel_size_pm", size_pm)
        object.__setattr__(self, "offset_pm", picometres(offset))
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))

    @property
    def voxel_size(self) -> Point:
        """Nm per voxel."""
        return nanometres(self.voxel_size_pm)

    @property
    def offset(self) -> Point:
        """Corner of voxel (0, 0, 0), nm."""
        return nanometres(self.offset_pm)

    @property
    def voxels(self) -> VoxelBox:
        """All voxels of the grid."""
        return VoxelBox((0, 0, 0), self.shape)

    @property
    def box(self) -> Box:
        """The part of space the grid covers."""
        return self.to_box(self.voxels)

    def to_box(self, voxels: VoxelBox) -> Box:
        """The space that a box of voxels covers, exact to the picometre."""
        return Box.from_picometres(self._corner(voxels.start), self._corner(voxels.stop))

    def to_voxels(self, box: Box, rounding: Rounding = "outer") -> VoxelBox:
        """Convert a box in nm to voxels.

        Args:
            box: Box in nm; it may reach outside the grid.
            rounding: ``outer``: every voxel that the box touches; ``inner``: only voxels wholly
                inside it (possibly none); ``exact``: the box must lie on voxel corners.

        Raises:
            BadInputError: with ``exact``, if a face does not lie on a voxel corner.
        """
        low = [a - o for a, o in zip(box.start_pm, self.offset_pm, strict=True)]
        high = [b - o for b, o in zip(box.stop_pm, self.offset_pm, strict=True)]
        size = self.voxel_size_pm
        if rounding == "exact" and any(v % s for v, s in zip(low + high, size * 2, strict=True)):
            raise BadInputError(
                f"{box} does not lie on voxel corners",
                found=f"voxels are {self.voxel_size} nm from {self.offset} nm (z, y, x)",
                fix="Ask with rounding 'outer' or 'inner'",
            )
        if rounding == "inner":
            start = [-(-a // s) for a, s in zip(low, size, strict=True)]
            stop = [b // s for b, s in zip(high, size, strict=True)]
            stop = [max(a, b) for a, b in zip(start, stop, strict=True)]
        else:
            start = [a // s for a, s in zip(low, size, strict=True)]
            stop = [-(-b // s) for b, s in zip(high, size, strict=True)]
        return VoxelBox((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def voxel_at(self, point: Sequence[float]) -> Triple:
        """The voxel that holds a point (nm); it may lie outside the grid."""
        z, y, x = (
            (p - o) // s
            for p, o, s in zip(picometres(point), self.offset_pm, self.voxel_size_pm, strict=True)
        )
        return (z, y, x)

    def centers(self, voxels: NDArray[np.integer]) -> NDArray[np.float64]:
        """Centres of voxels.

        Args:
            voxels: Integer indices, shape ``(..., 3)``, order ``(z, y, x)``.

        Returns:
            float64 nm, the same shape.
        """
        return self.points(np.asarray(voxels, np.float64) + 0.5)

    def continuous(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Continuous voxel coordinates of points, 0 at the corner of the first voxel.

        Args:
            points: nm, shape ``(..., 3)``, order ``(z, y, x)``.

        Returns:
            float64, the same shape; the centre of voxel 0 is 0.5.
        """
        size, offset = self._arrays()
        return (np.asarray(points, np.float64) - offset) / size

    def points(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points at continuous voxel coordinates: what `continuous` is the inverse of.

        Args:
            coordinates: Shape ``(..., 3)``, ``(z, y, x)``, 0 at the corner of the first voxel.

        Returns:
            float64 nm, the same shape.
        """
        size, offset = self._arrays()
        return np.asarray(coordinates, np.float64) * size + offset

    def crop(self, voxels: VoxelBox) -> VoxelGrid:
        """The grid of a cut-out: same voxels, offset moved to the cut-out's corner."""
        return VoxelGrid(self.voxel_size, nanometres(self._corner(voxels.start)), voxels.shape)

    def _corner(self, index: Sequence[int]) -> Triple:
        z, y, x = (
            o + i * s for o, i, s in zip(self.offset_pm, index, self.voxel_size_pm, strict=True)
        )
        return (z, y, x)

    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        size = np.array(self.voxel_size_pm, np.float64) / PM_PER_NM
        return size, np.array(self.offset_pm, np.float64) / PM_PER_NM

    def __repr__(self) -> str:
        return f"VoxelGrid(voxel_size={self.voxel_size}, offset={self.offset}, shape={self.shape})"
