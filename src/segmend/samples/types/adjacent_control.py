"""`adjacent_control`: a segment of a merge and a neighbour of another neuron, at their contact."""

from __future__ import annotations

from collections.abc import Iterator

from segmend.core.ids import id_strings
from segmend.core.random import keyed_unit
from segmend.edits.operation import EditOp
from segmend.edits.overlap_table import overlap_of
from segmend.samples.candidate import Candidate, CandidateSet, candidate_set
from segmend.samples.context import SampleContext
from segmend.samples.site import Site, segment_facts, xyz
from segmend.samples.view import pose
from segmend.segments.contacts import Contact

KIND = "adjacent_control"


def candidates(context: SampleContext) -> CandidateSet:
    """Up to three neighbours for every merge, those whose contact is nearest to the merge.

    A control lies beside the merge it is derived from, so that it shows the same texture and
    calibre and takes the merge's position for its split. No pair is asked about twice.
    """
    merges = sorted(context.edits.of_kind("merge"), key=lambda op: op.operation_id)
    return candidate_set(KIND, _outcomes(context, merges))


def _outcomes(context: SampleContext, merges: list[EditOp]) -> Iterator[Candidate | str]:
    most, used = context.rules.adjacent_per_merge, set[tuple[int, int]]()
    for op in merges:
        base = _base(context, op)
        kept = 0
        for contact in _nearest_first(op, context.contacts.of(base)):
            fault = _fault(context, contact, op)
            if fault is None and (contact.a, contact.b) in used:
                fault = "pair taken by another merge"
            if fault is None and kept == most:
                fault = f"more than {most} for one merge"
            if fault is None:
                kept += 1
                used.add((contact.a, contact.b))
                yield _candidate(context, op, base=base, contact=contact)
            else:
                yield fault


def _base(context: SampleContext, op: EditOp) -> int:
    share = keyed_unit("base", context.seed, op.operation_id)
    return op.before_ids[int(share * len(op.before_ids))]


def _nearest_first(op: EditOp, contacts: tuple[Contact, ...]) -> list[Contact]:
    def distance(contact: Contact) -> float:
        return sum((p - q) ** 2 for p, q in zip(contact.point_nm, op.point_nm, strict=True))

    return sorted(contacts, key=lambda contact: (distance(contact), contact.a, contact.b))


def _fault(context: SampleContext, contact: Contact, op: EditOp) -> str | None:
    size = context.rules.size
    a, b = (overlap_of(context.overlaps, segment) for segment in (contact.a, contact.b))
    fault = size.contact_fault(contact) or size.pair_fault(a, b)
    if fault is None and (contact.a in op.before_ids) and (contact.b in op.before_ids):
        return "the merge itself"
    if fault is None and a.dominant == b.dominant:
        return "same neuron"
    return fault


def _candidate(context: SampleContext, op: EditOp, *, base: int, contact: Contact) -> Candidate:
    neighbour = contact.other(base)
    overlaps = [overlap_of(context.overlaps, segment) for segment in (base, neighbour)]
    base_id, neighbour_id = id_strings((base, neighbour))
    facts = {
        **segment_facts(*overlaps),
        "strategy": KIND,
        "is_merge": True,  # as published: the question is asked like a merge
        "source_operation_id": op.operation_id,
        "base_root": base_id,
        "adjacent_root": neighbour_id,
        "edit_point_nm": xyz(op.point_nm),
        "interface_point_nm": xyz(contact.point_nm),
        "timestamp": op.timestamp,
        "contact_faces": contact.faces,
    }
    site = Site(
        kind=KIND,
        operation_id=op.operation_id,
        anchor_nm=contact.point_nm,
        segments=(base, neighbour),
        cluster_id=overlaps[0].dominant,
        neurons=tuple(o.dominant for o in overlaps),
        key=f"ctrl_{base}_{neighbour}",
        parent_nm=op.point_nm,
        facts=facts,
    )
    return pose(context, site)
