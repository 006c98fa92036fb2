"""Edits from the overlap of an automatic segmentation with the true neurons.

The definitions are those of the design, section 3, "Edits from ground truth". Every touching pair
of segments is a merge or counted under a reason, and so is every segment with several neurons a
split.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids, as_ids
from segmend.edits.operation import EditOp, EditSet, Identity, edit_set, operation_hash
from segmend.edits.overlap_table import Overlap, overlap_of, overlap_table
from segmend.segments.boxes import segment_boxes
from segmend.segments.contacts import Contact, Contacts, find_contacts
from segmend.segments.thickness import holds_ball

SOURCE = "ground-truth overlap"


@dataclass(frozen=True, slots=True)
class OverlapRules:
    """What counts as an edit; the defaults are those of the design, section 3.

    Attributes:
        min_segment_voxels: Smallest segment that takes part in a merge or a control.
        min_purity: Smallest share of the dominant neuron in such a segment.
        min_contact_faces: Smallest contact of a pair, voxel faces.
        min_side_voxels: Smallest side of a split, voxels.
        min_side_radius_nm: Radius of the largest ball that must fit into a side of a split. Where
            two segmentations draw one membrane differently, a segment overlaps its neighbour in a
            shell of many voxels that is nowhere thick; no neurite is thinner than about 50 nm.

    Raises:
        BadInputError: for a count below 1, a purity that is not above 0.5 and at most 1, or a
            negative radius.
    """

    min_segment_voxels: int = 500
    min_purity: float = 0.8
    min_contact_faces: int = 20
    min_side_voxels: int = 1000
    min_side_radius_nm: float = 25.0

    def __post_init__(self) -> None:
        for name in ("min_segment_voxels", "min_contact_faces", "min_side_voxels"):
            if getattr(self, name) < 1:
                raise BadInputError(f"'{name}' must be at least 1, got {getattr(self, name)}")
        if not 0.5 < self.min_purity <= 1:
            raise BadInputError(
                f"'min_purity' must be above 0.5 and at most 1, got {self.min_purity}",
                fix="At 0.5 or below, a segment could belong to two neurons",
            )

        if not self.min_side_radius_nm >= 0:
            raise BadInputError(
                f"'min_side_radius_nm' must be 0 or more, got {self.min_side_radius_nm}"
            )

    def segment_fault(self, overlap: Overlap) -> str | None:
        """Why a segment cannot take part in a merge or a control, or None if it can."""
        if overlap.voxels < self.min_segment_voxels:
            return f"segment below {self.min_segment_voxels} voxels"
        if overlap.dominant == 0:
            return "segment without ground truth"
        if overlap.purity < self.min_purity:
            return f"segment below {self.min_purity:.0%} pure"
        return None

    def pair_fault(self, a: Overlap, b: Overlap) -> str | None:
        """Why a pair of segments cannot be asked about, or None if it can."""
        return self.segment_fault(a) or self.segment_fault(b)

    def contact_fault(self, contact: Contact) -> str | None:
        """Why two segments do not touch enough to be asked about, or None if they do."""
        if contact.faces < self.min_contact_faces:
            return f"contact below {self.min_contact_faces} faces"
        return None


def overlap_edits(
    automatic: Ids,
    neurons: Ids,
    contacts: Contacts,
    grid: VoxelGrid,
    *,
    rules: OverlapRules,
    identity: Identity,
) -> EditSet:
    """Derive what to merge and what to split from the true neurons.

    Args:
        automatic: uint64 ``(z, y, x)``, the segmentation to correct; 0 is no segment.
        neurons: uint64 ``(z, y, x)``, ground truth; 0 is none.
        contacts: Contacts of ``automatic``.
        grid: The grid of both.
        rules: Thresholds.
        identity: Data set, version and volume of ``automatic``.

    Returns:
        Merges, then splits, each sorted by segment ids. Excluded reasons start with ``merge:`` (one
        count per touching pair) or ``split:`` (one per segment with several neurons).

    Raises:
        BadInputError: if an array is not 3-D uint64.
        GridMismatchError: if an array does not fit the grid.
        SegmentNotFoundError: if the contacts are of another segmentation.
    """
    table = overlap_table(automatic, neurons, grid)
    merges = [merge_of(contact, table, rules, identity) for contact in contacts]
    boxes = segment_boxes(automatic)
    splits = []
    for overlap in (o for o in table.values() if len(o.neurons) > 1):
        box = boxes[overlap.segment]
        mask = automatic[box.slices] == overlap.segment
        within = np.where(mask, neurons[box.slices], np.uint64(0))
        splits.append(_split(overlap, within, grid.crop(box), rules=rules, identity=identity))
    return edit_set([*merges, *splits])


def side_contact(within: Ids, grid: VoxelGrid, *, sides: Iterable[int]) -> Contact | None:
    """The largest contact between the parts of one segment that belong to different neurons.

    Args:
        within: uint64 ``(z, y, x)``, the neurons inside the segment, 0 elsewhere.
        grid: Its grid.
        sides: The neurons to look at.

    Returns:
        The pair of them with most faces (among equals the smaller ids), None if no two touch.
    """
    inside = np.where(np.isin(within, as_ids(sides)), within, np.uint64(0))
    return max(find_contacts(inside, grid), key=lambda contact: contact.faces, default=None)


def merge_of(
    contact: Contact, table: dict[int, Overlap], rules: OverlapRules, identity: Identity
) -> EditOp | str:
    """The merge of two segments that touch, or the reason why there is none."""
    a, b = overlap_of(table, contact.a), overlap_of(table, contact.b)
    fault = rules.contact_fault(contact) or rules.pair_fault(a, b)
    if fault is None and a.dominant != b.dominant:
        fault = "different neurons"
    if fault is not None:
        return f"merge: {fault}"
    return EditOp(
        operation_id=operation_hash(**asdict(identity), kind="merge", ids=(a.segment, b.segment)),
        kind="merge",
        before_ids=(a.segment, b.segment),
        after_ids=(a.dominant,),
        point_nm=contact.point_nm,
        cluster_id=a.dominant,
        **asdict(identity),
        source=SOURCE,
        facts={"contact_faces": contact.faces},
    )


def _split(
    overlap: Overlap,
    within: Ids,
    grid: VoxelGrid,
    *,
    rules: OverlapRules,
    identity: Identity,
) -> EditOp | str:
    """The split of one segment; ``within`` holds the neurons inside it, 0 elsewhere."""
    fault = split_faults(overlap, rules)
    if fault is not None:
        return fault
    radius = rules.min_side_radius_nm
    large = [neuron for neuron, _ in overlap.sides(rules.min_side_voxels)]
    sides = [n for n in large if holds_ball(within, n, grid, radius_nm=radius)]
    contact = side_contact(within, grid, sides=sides) if len(sides) > 1 else None
    return split_of(overlap, sides, contact, rules, identity)


def split_faults(overlap: Overlap, rules: OverlapRules) -> str | None:
    """Why a segment of several neurons cannot be split by its sizes alone, or None if it can."""
    if len(overlap.sides(rules.min_side_voxels)) < 2:
        return f"split: second side below {rules.min_side_voxels} voxels"
    return None


def split_of(
    overlap: Overlap,
    sides: list[int],
    contact: Contact | None,
    rules: OverlapRules,
    identity: Identity,
) -> EditOp | str:
    """The split of a segment, or the reason why there is none.

    Args:
        overlap: The segment.
        sides: Its neurons that are large and thick enough.
        contact: The largest contact of two of them, None if none touch.
        rules: Thresholds.
        identity: Data set, version and volume.
    """
    if len(sides) < 2:
        return f"split: second side nowhere {rules.min_side_radius_nm:g} nm from its border"
    if contact is None:
        return "split: sides do not touch"
    return EditOp(
        operation_id=operation_hash(**asdict(identity), kind="split", ids=(overlap.segment,)),
        kind="split",
        before_ids=(overlap.segment,),
        after_ids=tuple(sorted(sides)),
        point_nm=contact.point_nm,
        cluster_id=overlap.dominant,
        **asdict(identity),
        source=SOURCE,
        facts={"contact_faces": contact.faces},
    )
