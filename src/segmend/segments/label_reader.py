"""Labels that are read where they are looked at, for volumes larger than memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segmend.core.box import Triple, VoxelBox
from segmend.core.ids import Ids

Read = Callable[[VoxelBox], Ids]
"""Reads a box of voxels: uint64 ``(z, y, x)``, 0 for none."""


@dataclass(frozen=True, slots=True)
class LabelReader:
    """Stands in for a label array: the same slices and voxels give the same values.

    Attributes:
        read: Reads a box.
        shape: Voxels, ``(z, y, x)``.
    """

    read: Read
    shape: Triple

    def __getitem__(self, at: tuple[slice, slice, slice] | Triple) -> Ids:
        """A box by slices with start and stop, or the label of one voxel."""
        z, y, x = (one if isinstance(one, slice) else slice(one, one + 1) for one in at)
        found = self.read(VoxelBox((z.start, y.start, x.start), (z.stop, y.stop, x.stop)))
        return found if isinstance(at[0], slice) else np.asarray(found[0, 0, 0])


Labels = Ids | LabelReader
"""uint64 ``(z, y, x)``, in memory or read where it is looked at."""


def whole(labels: Labels) -> Ids:
    """All of it, in memory."""
    if isinstance(labels, LabelReader):
        return labels.read(VoxelBox((0, 0, 0), labels.shape))
    return labels
