"""`split_edit`: one automatic segment that holds several neurons, where these touch."""

from __future__ import annotations

from dataclasses import replace

from segmend.core.ids import id_strings
from segmend.edits.operation import EditOp
from segmend.edits.overlap_table import overlap_of
from segmend.samples.candidate import Candidate, CandidateSet, candidate_set
from segmend.samples.context import SampleContext
from segmend.samples.site import Site, edit_facts, segment_facts
from segmend.samples.view import draw_swap, labels_in_view, pose

KIND = "split_edit"


def candidates(context: SampleContext) -> CandidateSet:
    """One candidate for every split whose view shows two of its sides."""
    splits = context.edits.of_kind("split")
    return candidate_set(KIND, (_candidate(context, op) for op in splits))


def _candidate(context: SampleContext, op: EditOp) -> Candidate | str:
    (segment,) = op.before_ids
    overlap = overlap_of(context.overlaps, segment)
    posed = pose(
        context,
        Site(
            kind=KIND,
            operation_id=op.operation_id,
            anchor_nm=op.point_nm,
            segments=op.before_ids,
            cluster_id=op.cluster_id,
            neurons=(*op.after_ids, op.cluster_id),
        ),
    )
    shown = labels_in_view(context, posed, context.sides(op.sides_in))
    parts = dict(zip(op.after_ids, op.side_ids, strict=True))
    seen = {after: sum(shown[i] for i in ids) for after, ids in parts.items()}
    # With more than two sides A and B are the two largest in view; among equals the smaller id.
    sides = sorted((n for n in op.after_ids if seen[n]), key=lambda n: (-seen[n], n))[:2]
    if len(sides) < 2:
        return "fewer than two sides in view"
    swapped = draw_swap(context.seed, posed.combined_hash)
    facts = {
        **edit_facts(op),
        **segment_facts(overlap),
        "strategy": "split_correction",
        "side_ids": id_strings(sides),
        "sides_in": op.sides_in,
        "side_voxels_in_view": [seen[n] for n in sides],
    }
    ordered = tuple(sides[::-1] if swapped else sides)
    return replace(
        posed,
        sides=ordered,
        swapped=swapped,
        facts=facts,
        sides_in=op.sides_in,
        cut=tuple(parts[side] for side in ordered) if op.cut else (),
    )
