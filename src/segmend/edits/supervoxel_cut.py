"""Splits that go along supervoxels, as an agglomerated segmentation can be edited."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from segmend.core.box import VoxelBox
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids, as_ids
from segmend.edits.operation import EditOp, EditSet, edit_set
from segmend.edits.overlap import OverlapRules, side_contact
from segmend.edits.overlap_table import Overlap, overlap_table
from segmend.segments.boxes import segment_boxes


@dataclass(frozen=True, eq=False)
class Agglomerated:
    """A segmentation, what it was agglomerated from, and the truth.

    Attributes:
        automatic: uint64 ``(z, y, x)``; 0 is no segment.
        supervoxels: uint64, the same shape; 0 is none.
        neurons: uint64, the same shape; 0 is no ground truth.
        grid: The grid of all three.
    """

    automatic: Ids
    supervoxels: Ids
    neurons: Ids
    grid: VoxelGrid


def cut_by_supervoxels(edits: EditSet, volume: Agglomerated, *, rules: OverlapRules) -> EditSet:
    """Turn splits along neurons into splits along supervoxels.

    A supervoxel goes with the side that holds most of its voxels inside the segment (among equals
    the smaller id); one that shares none with any side stays on neither.

    Args:
        edits: Edits; merges are kept as they are.
        volume: What the edits act on.
        rules: Sides of fewer than ``min_side_voxels`` are dropped.

    Returns:
        The edits; splits have a ``cut`` and lie where its sides touch. Splits left with fewer than
        two sides are excluded.

    Raises:
        BadInputError: if an array is not 3-D uint64.
        GridMismatchError: if an array does not fit the grid.
    """
    boxes = segment_boxes(volume.automatic)
    splits = [_cut(op, volume, boxes[op.before_ids[0]], rules) for op in edits.of_kind("split")]
    cut = edit_set([*edits.of_kind("merge"), *splits])
    return EditSet(cut.ops, edits.excluded + cut.excluded)


def _cut(op: EditOp, volume: Agglomerated, box: VoxelBox, rules: OverlapRules) -> EditOp | str:
    inside = volume.automatic[box.slices] == np.uint64(op.before_ids[0])
    supervoxels = np.where(inside, volume.supervoxels[box.slices], np.uint64(0))
    neurons = volume.neurons[box.slices]
    sided = np.where(np.isin(neurons, as_ids(op.after_ids)), neurons, np.uint64(0))
    grid = volume.grid.crop(box)
    sides = _sides(overlap_table(supervoxels, sided, grid), rules)
    if len(sides) < 2:
        return f"split: second side below {rules.min_side_voxels} voxels of whole supervoxels"
    within = np.zeros_like(supervoxels)
    for after, ids in sides.items():
        within[np.isin(supervoxels, as_ids(ids))] = after
    contact = side_contact(within, grid, sides=sides)
    if contact is None:
        return "split: sides do not touch"
    return replace(
        op,
        after_ids=tuple(sides),
        point_nm=contact.point_nm,
        facts={**op.facts, "contact_faces": contact.faces},
        sides_in="supervoxels",
        cut=tuple(sides.values()),
    )


def _sides(table: dict[int, Overlap], rules: OverlapRules) -> dict[int, tuple[int, ...]]:
    """The supervoxels of each side that is large enough, by after-id, ascending."""
    sides: dict[int, list[int]] = {}
    for overlap in table.values():
        if overlap.dominant:
            sides.setdefault(overlap.dominant, []).append(overlap.segment)
    return {
        after: tuple(ids)
        for after, ids in sorted(sides.items())
        if sum(table[i].voxels for i in ids) >= rules.min_side_voxels
    }
