"""First numbers about a box of a data set: pure functions of what was read.

Voxels that are certified absent are no data: every count here leaves them out, and `Coverage` says
how many there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import fastremap
import numpy as np
from numpy.typing import NDArray

from segmend.catalog.labels import IGNORED, VOCABULARY
from segmend.core.box import Box, VoxelBox
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.volumes.volume import Block

FITTING_VOXELS = 256**3
"""A volume with no more voxels than this is explored whole."""

BINS_PER_DECADE = 4
"""Bins of the size distribution in each factor of ten."""


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """Segments and how large they are.

    Attributes:
        ids: uint64 ``(n,)``, ascending, without 0.
        voxels: int64 ``(n,)``, voxels of each.
        nothing: Voxels without a segment (0), absent ones left out.
    """

    ids: Ids
    voxels: NDArray[np.int64]
    nothing: int

    def __len__(self) -> int:
        return len(self.ids)

    def largest(self, count: int) -> list[tuple[int, int]]:
        """The largest segments, ``(id, voxels)``; of equal ones the smaller id first."""
        order = np.lexsort((self.ids, -self.voxels))[:count]
        return [(int(self.ids[i]), int(self.voxels[i])) for i in order]


def explored_voxels(grid: VoxelGrid, most: int = FITTING_VOXELS) -> VoxelBox:
    """The middle of a volume: all of it, or as many voxels as fit.

    Long axes are cut before short ones, to one length, so that a stack of few wide sections keeps
    all of them.

    Args:
        grid: The volume's.
        most: Voxels the box may have, at least 1.
    """
    shape, left = list(grid.shape), most
    for done, axis in enumerate(sorted(range(3), key=lambda i: grid.shape[i])):
        # What is left is shared by this axis and the longer ones, as if they were of one length.
        shape[axis] = min(shape[axis], max(1, _root(left, 3 - done)))
        left //= max(1, shape[axis])
    start = tuple((n - m) // 2 for n, m in zip(grid.shape, shape, strict=True))
    stop = tuple(a + m for a, m in zip(start, shape, strict=True))
    return VoxelBox((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _root(value: int, degree: int) -> int:
    """The largest whole number whose power is at most ``value``, exactly."""
    root = round(value ** (1 / degree))
    return root if root**degree <= value else root - 1


def explored_box(grid: VoxelGrid, within: Box | None = None) -> Box:
    """The box that is explored where the caller names none: the middle, as far as it fits.

    Args:
        grid: The volume's.
        within: Part of the volume whose middle is meant; by default all of it.
    """
    part = grid if within is None else grid.crop(grid.to_voxels(within))
    return part.to_box(explored_voxels(part))


def anisotropy(grid: VoxelGrid) -> float:
    """How much longer a voxel is along z than within a section: z over the mean of y and x."""
    z, y, x = grid.voxel_size
    return z / ((y + x) / 2)


def intensities(image: Block) -> NDArray[np.int64]:
    """How many voxels have each grey value.

    Args:
        image: uint8.

    Returns:
        int64 ``(256,)``.
    """
    return np.bincount(_stored(image), minlength=256)


def class_voxels(classes: Block) -> dict[str, int]:
    """Voxels of each common class, and of ``ignored`` if there are any.

    Args:
        classes: uint8, see `segmend.catalog.labels.VOCABULARY`.
    """
    counts = np.bincount(_stored(classes), minlength=256)
    found = {name: int(counts[i]) for i, name in enumerate(VOCABULARY)}
    return found | ({"ignored": int(counts[IGNORED])} if counts[IGNORED] else {})


def segment_sizes(ids: Ids, block: Block) -> Sizes:
    """Segments of a box and their voxels in it.

    Args:
        ids: uint64 ``(z, y, x)``, see `segmend.catalog.labels.segment_ids`.
        block: The block that they were read in.
    """
    stored = ids if block.coverage.complete else ids[block.coverage.mask()]
    found, counts = fastremap.unique(stored, return_counts=True)
    some = found != 0
    nothing = int(counts[~some].sum())
    return Sizes(found[some].astype(np.uint64), counts[some].astype(np.int64), nothing)


def size_histogram(sizes: Sizes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How many segments are how large, in bins of equal width on a logarithmic axis.

    Returns:
        Edges in voxels, float64 ``(n + 1,)``, and segments per bin, int64 ``(n,)``; the first bin
        starts at 1 and the last one holds the largest segment.
    """
    top = float(np.log10(sizes.voxels.max())) if len(sizes) else 0.0
    bins = int(top * BINS_PER_DECADE) + 1
    # Rounded logarithms would put some whole sizes on the wrong side of an edge.
    edges = 10.0 ** (np.arange(bins + 1) / BINS_PER_DECADE)
    counts, _ = np.histogram(sizes.voxels, edges)
    return edges, counts.astype(np.int64)


def _stored(block: Block) -> NDArray[Any]:
    """The stored voxels in one row."""
    if block.coverage.complete:
        return block.data.reshape(-1)
    return block.data[block.coverage.mask()]
