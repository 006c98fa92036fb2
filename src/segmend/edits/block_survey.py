"""What is known of two segmentations as a whole, counted by blocks: overlaps, contacts, boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from segmend.core.box import Triple, VoxelBox
from segmend.core.grid import VoxelGrid
from segmend.edits.overlap_table import Overlap, OverlapCounts
from segmend.segments.boxes import segment_boxes
from segmend.segments.contacts import Contacts, FaceSums, NearestFaces
from segmend.segments.label_reader import Read

Report = Callable[[str, int, int], None]
"""Told (pass, blocks done, blocks)."""


def quiet(_stage: str, _done: int, _total: int) -> None:
    """A report that nobody reads."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Two segmentations of one volume, read by boxes.

    Attributes:
        automatic: The segmentation to correct.
        neurons: Ground truth.
        grid: The grid of both.
        block: Voxels of a block, ``(z, y, x)``: what is held in memory at a time.
    """

    automatic: Read
    neurons: Read
    grid: VoxelGrid
    block: Triple

    def blocks(self) -> list[VoxelBox]:
        """The blocks in scan order; the last of an axis may be smaller."""
        starts = [range(0, n, step) for n, step in zip(self.grid.shape, self.block, strict=True)]
        return [VoxelBox((z, y, x), self._stop((z, y, x))) for z, y, x in product(*starts)]

    def _stop(self, start: Triple) -> Triple:
        z, y, x = (
            min(a + b, n) for a, b, n in zip(start, self.block, self.grid.shape, strict=True)
        )
        return (z, y, x)

    def around(self, block: VoxelBox, low: int, high: int) -> VoxelBox:
        """A block and voxels around it, as far as the volume goes."""
        start = [max(0, a - low) for a in block.start]
        stop = [min(n, b + high) for b, n in zip(block.stop, self.grid.shape, strict=True)]
        return VoxelBox((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Whole numbers of the first pass.

    Attributes:
        overlaps: How each automatic segment is shared out among the true neurons.
        faces: How much segments touch.
        boxes: The box of voxels around each automatic segment.
    """

    overlaps: dict[int, Overlap]
    faces: FaceSums
    boxes: Mapping[int, VoxelBox]


def count_blocks(compared: Compared, report: Report = quiet) -> Counted:
    """First pass: how segments and neurons overlap, how much segments touch, where they are."""
    counts, faces = OverlapCounts(), FaceSums()
    low: dict[int, Triple] = {}
    high: dict[int, Triple] = {}
    blocks = compared.blocks()
    for done, block in enumerate(blocks, 1):
        automatic = compared.automatic(compared.around(block, 0, 1))
        z, y, x = block.shape
        core = automatic[:z, :y, :x]
        counts.add(core, compared.neurons(block))
        faces.add(automatic, block.shape, block.start)
        for segment, here in segment_boxes(core).items():
            box = here.shift(block.start)
            low[segment] = _each(min, low.get(segment, box.start), box.start)
            high[segment] = _each(max, high.get(segment, box.stop), box.stop)
        report("counting overlaps and contacts", done, len(blocks))
    faces.settle()
    boxes = {segment: VoxelBox(low[segment], high[segment]) for segment in sorted(low)}
    return Counted(counts.table(), faces, boxes)


def _each(pick: Callable[[int, int], int], a: Triple, b: Triple) -> Triple:
    z, y, x = (pick(p, q) for p, q in zip(a, b, strict=True))
    return (z, y, x)


def contacts_of(compared: Compared, counted: Counted, report: Report = quiet) -> Contacts:
    """Second pass, where every contact is asked for: its face nearest to the mean."""
    nearest = NearestFaces(counted.faces, compared.grid.voxel_size)
    blocks = compared.blocks()
    for done, block in enumerate(blocks, 1):
        labels = np.ascontiguousarray(compared.automatic(compared.around(block, 0, 1)))
        nearest.add(labels, block.shape, block.start)
        report("finding contacts", done, len(blocks))
    return nearest.contacts(compared.grid)
