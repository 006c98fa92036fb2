"""`junction_control`: a true branch point of one neuron, on an automatic segment.

Both classes of the merge-error task then come from one segmentation, so that the texture of its
surfaces tells nothing (design, section 3, "Controls").
"""

from __future__ import annotations

from collections.abc import Iterator

from segmend.core.box import picometres
from segmend.edits.overlap_table import Overlap
from segmend.samples.candidate import Candidate, CandidateSet, candidate_set
from segmend.samples.context import SampleContext
from segmend.samples.site import Site, segment_facts, site_hash, xyz
from segmend.samples.view import labels_in_view, pose
from segmend.segments.skeleton import BranchPoint, branch_points

KIND = "junction_control"

BORDER_RADII = 2.0
"""Distance from the volume's faces, in local radii, below which a branch point is not trusted: a
branch shorter than that is dropped elsewhere, and the face cuts every branch short."""


def candidates(context: SampleContext) -> CandidateSet:
    """One candidate for every branch point of every segment that is pure enough.

    Where the source of the edits says which neurons are proofread, only of their segments.
    """
    return candidate_set(KIND, _outcomes(context))


def _outcomes(context: SampleContext) -> Iterator[Candidate | str]:
    for overlap in context.overlaps.values():
        fault = _segment_fault(context, overlap)
        if fault is not None:
            yield fault
            continue
        branches = _branch_points(context, overlap)
        if not branches:
            yield "segment without a branch point"
        for branch in branches:
            yield _candidate(context, overlap, branch)


def _segment_fault(context: SampleContext, overlap: Overlap) -> str | None:
    rules = context.rules
    fault = rules.size.segment_fault(overlap)
    if fault is None and overlap.purity < rules.junction_min_purity:
        return f"segment below {rules.junction_min_purity:.0%} pure"
    proofread = context.controls.proofread
    if fault is None and proofread is not None and overlap.dominant not in proofread:
        return "neuron not proofread"
    # A large segment can be 95 % pure and still be one to split: that is the other class.
    if fault is None and len(overlap.sides(rules.size.min_side_voxels)) > 1:
        return "segment holds a false merge"
    return fault


def _branch_points(context: SampleContext, overlap: Overlap) -> list[BranchPoint]:
    # One voxel around the segment is background, except where the volume ends: there it goes on.
    box = context.boxes[overlap.segment].grow(1).intersect(context.grid.voxels)
    assert box is not None
    mask = context.automatic[box.slices] == overlap.segment
    found = branch_points(mask, context.grid.crop(box))
    return [branch for branch in found if branch.degree >= context.rules.junction_min_degree]


def _candidate(context: SampleContext, overlap: Overlap, branch: BranchPoint) -> Candidate | str:
    rules, volume = context.rules, context.grid.box
    margins = zip(branch.point_nm, volume.start, volume.stop, strict=True)
    if min(min(p - a, b - p) for p, a, b in margins) < BORDER_RADII * branch.radius_nm:
        return "branch point at the border of the volume"
    facts = {
        **segment_facts(overlap),
        "strategy": KIND,
        "degree": float(branch.degree),
        "interface_point_nm": xyz(branch.point_nm),
        "branch_radius_nm": branch.radius_nm,
        **(context.controls.proofread or {}).get(overlap.dominant, {}),
    }
    at = picometres(branch.point_nm)
    site = Site(
        kind=KIND,
        operation_id=site_hash(context.identity, "junction", overlap.segment, *at),
        anchor_nm=branch.point_nm,
        segments=(overlap.segment,),
        cluster_id=overlap.dominant,
        neurons=(overlap.dominant,),
        facts=facts,
    )
    posed = pose(context, site)
    # The label speaks of what is shown: a foreign piece must not make up the branch itself.
    seen = labels_in_view(context, posed, context.neurons)
    if seen[overlap.dominant] < rules.junction_min_purity * seen.total():
        return f"view below {rules.junction_min_purity:.0%} pure"
    return posed
