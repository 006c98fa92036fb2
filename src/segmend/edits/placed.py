"""A frozen history placed on a volume at hand: which segments and neurons the clicks lie in.

Root ids come and go; clicks stay where they are. So an edit of a server can be drawn from any
automatic segmentation of the same tissue, with the proofread neurons beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from segmend.core.box import Point
from segmend.core.grid import VoxelGrid
from segmend.core.ids import id_strings
from segmend.edits.logged import LoggedEdit, logged_edits
from segmend.edits.operation import EditOp, EditSet, Identity
from segmend.edits.overlap import OverlapRules
from segmend.edits.overlap_table import Overlap
from segmend.segments.contacts import Contacts
from segmend.segments.label_reader import Labels


@dataclass(frozen=True, eq=False)
class Ground:
    """What clicks are looked up in.

    Attributes:
        automatic: uint64 ``(z, y, x)``; 0 is no segment.
        neurons: uint64, the same shape; 0 is no ground truth.
        grid: The grid of both.
    """

    automatic: Labels
    neurons: Labels
    grid: VoxelGrid

    def segment_at(self, point: Point) -> int | None:
        """The segment at a point, 0 for none, None outside."""
        return self._at(point, self.automatic)

    def neuron_at(self, point: Point) -> int | None:
        """The neuron at a point, 0 for none, None outside."""
        return self._at(point, self.neurons)

    def _at(self, point: Point, labels: Labels) -> int | None:
        if not self.grid.box.contains_point(point):
            return None
        return int(labels[self.grid.voxel_at(point)])


def placed_edits(
    frozen: Iterable[EditOp],
    ground: Ground,
    table: Mapping[int, Overlap],
    contacts: Contacts,
    *,
    rules: OverlapRules,
    identity: Identity,
) -> EditSet:
    """Turn edits of a server into edits of a volume.

    Args:
        frozen: Edits with clicks.
        ground: The automatic segmentation and the neurons.
        table: Overlap of the two.
        contacts: Contacts of the automatic segmentation.
        rules: Thresholds for sizes, purity and contact.
        identity: Data set, version and volume of the automatic segmentation.

    Returns:
        Merges, then splits; ``operation_id`` stays, the server's root ids are in ``facts``. What
        cannot be placed, or falls under a rule, is excluded under a named reason.
    """
    log = [_placed(op, ground) for op in frozen]
    return logged_edits(log, table, contacts, rules=rules, identity=identity)


def _placed(op: EditOp, ground: Ground) -> LoggedEdit | str:
    sides = (op.source_points_nm, op.sink_points_nm)
    if not all(sides):
        return f"{op.kind}: no clicks"
    segments, neurons = [], []
    for points in sides:
        here = {ground.segment_at(point) for point in points}
        there = {ground.neuron_at(point) for point in points}
        if None in here:
            return f"{op.kind}: click outside the volume"
        if 0 in here:
            return f"{op.kind}: click in no segment"
        if 0 in there:
            return f"{op.kind}: click without ground truth"
        if len(here) > 1 or len(there) > 1:
            return f"{op.kind}: clicks of one side in several segments or neurons"
        segments.append(here.pop())
        neurons.append(there.pop())
    fault = (
        _merge_clicks(segments, neurons) if op.kind == "merge" else _split_clicks(segments, neurons)
    )
    if fault:
        return f"{op.kind}: {fault}"
    return LoggedEdit(
        op.operation_id,
        op.kind,
        tuple(sorted({s for s in segments if s})),
        tuple(dict.fromkeys(n for n in neurons if n)),
        op.point_nm,
        op.timestamp,
        op.source,
        facts=op.facts
        | {"before_roots": id_strings(op.before_ids), "after_roots": id_strings(op.after_ids)},
        source_points_nm=op.source_points_nm,
        sink_points_nm=op.sink_points_nm,
    )


def _merge_clicks(segments: list[int | None], neurons: list[int | None]) -> str:
    if segments[0] == segments[1]:
        return "clicks in one segment"
    return "different neurons" if neurons[0] != neurons[1] else ""


def _split_clicks(segments: list[int | None], neurons: list[int | None]) -> str:
    if segments[0] != segments[1]:
        return "clicks in two segments"
    return "clicks in one neuron" if neurons[0] == neurons[1] else ""
