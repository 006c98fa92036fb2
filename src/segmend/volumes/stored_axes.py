"""A plain array in a file, seen as ``(z, y, x)`` ascending in space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple, VoxelBox
from segmend.volumes.named_axes import Axes

Slices = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class StoredAxes:
    """The axes of a stored array, slowest first.

    Attributes:
        axes: Which of them are z, y and x, and what is taken of the others.
        sizes: Length of each.
        flipped: Which of z, y and x are stored descending in space.
    """

    axes: Axes
    sizes: tuple[int, ...]
    flipped: tuple[bool, bool, bool] = (False, False, False)

    @property
    def shape(self) -> Triple:
        """Voxels ``(z, y, x)``."""
        return self.axes.zyx(self.sizes)

    def slices(self, voxels: VoxelBox) -> Slices:
        """Where a box of voxels lies in the stored array."""
        found = [slice(0)] * len(self.sizes)
        for axis, element in self.axes.fixed:
            found[axis] = slice(element, element + 1)
        for axis, flipped, start, stop in zip(
            self.axes.spatial, self.flipped, voxels.start, voxels.stop, strict=True
        ):
            size = self.sizes[axis]
            found[axis] = slice(size - stop, size - start) if flipped else slice(start, stop)
        return tuple(found)

    def as_stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view of an array ``(z, y, x)`` with the stored axes, those not spatial of length 1."""
        spatial = self.axes.spatial
        view = array[self._steps].transpose([spatial.index(axis) for axis in sorted(spatial)])
        return np.expand_dims(view, tuple(axis for axis, _ in self.axes.fixed))

    def as_volume(self, block: NDArray[Any]) -> NDArray[Any]:
        """A view ``(z, y, x)`` of a part of the stored array that `slices` cut out."""
        return self.axes.view(block, block.shape)[self._steps]

    @property
    def _steps(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(None, None, -1 if flipped else 1) for flipped in self.flipped)
        return (z, y, x)
