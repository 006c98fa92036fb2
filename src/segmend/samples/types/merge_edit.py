"""`merge_edit`: two automatic segments of one neuron, at their contact."""

from __future__ import annotations

from segmend.edits.operation import EditOp
from segmend.edits.overlap_table import overlap_of
from segmend.samples.candidate import Candidate, CandidateSet, candidate_set
from segmend.samples.context import SampleContext
from segmend.samples.site import Site, edit_facts, segment_facts
from segmend.samples.view import pose

KIND = "merge_edit"


def candidates(context: SampleContext) -> CandidateSet:
    """One candidate for every merge."""
    merges = context.edits.of_kind("merge")
    return candidate_set(KIND, (_candidate(context, op) for op in merges))


def _candidate(context: SampleContext, op: EditOp) -> Candidate:
    overlaps = [overlap_of(context.overlaps, segment) for segment in op.before_ids]
    site = Site(
        kind=KIND,
        operation_id=op.operation_id,
        anchor_nm=op.point_nm,
        segments=op.before_ids,
        cluster_id=op.cluster_id,
        neurons=tuple(o.dominant for o in overlaps),
        facts={**edit_facts(op), **segment_facts(*overlaps), "strategy": "merge_correction"},
    )
    return pose(context, site)
