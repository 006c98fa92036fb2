"""`adjacent_control`: a segment of a merge and a neighbour of another neuron, at their contact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from segmend.core.box import Box
from segmend.core.ids import id_strings
from segmend.edits.operation import EditOp
from segmend.edits.overlap_table import overlap_of
from segmend.edits.placed_controls import PlacedNeighbour
from segmend.samples.candidate import Candidate, CandidateSet, candidate_set
from segmend.samples.context import SampleContext
from segmend.samples.site import Site, segment_facts, xyz
from segmend.samples.view import pose
from segmend.segments.contacts import Contact
from segmend.segments.neighbours import neighbours

KIND = "adjacent_control"


def candidates(context: SampleContext) -> CandidateSet:
    """Up to three neighbours for every merge, those whose contact is nearest to the merge.

    As published (reference, 1.4): a neighbour shares a face with one of the two segments within a
    cube around the merge, just before it, and is none of the two. Here a pair is asked about only
    if it is not merged later: the ground truth gives the two to different neurons.

    Where the history of the edits comes with controls of its own, those are taken instead, by the
    segments that their points lie in.

    A control lies beside the merge it is derived from, so that it shows the same texture and
    calibre and takes the merge's position for its split. No pair is asked about twice.
    """
    merges = sorted(context.edits.of_kind("merge"), key=lambda op: op.operation_id)
    known = context.controls.neighbours
    found = _outcomes(context, merges) if known is None else _of_history(context, known)
    return candidate_set(KIND, found)


def _of_history(
    context: SampleContext, known: Iterable[PlacedNeighbour]
) -> Iterator[Candidate | str]:
    edits = {op.operation_id: op for op in context.edits.ops}
    most, used, kept = context.rules.adjacent_per_merge, set[tuple[int, int]](), Counter[str]()
    for one in known:
        op, contact = edits.get(one.operation_id), context.contacts.pair(*one.segments)
        if op is None or contact is None:
            yield "segments do not touch" if op else "its edit is not in the volume"
            continue
        fault = _fault(context, contact) or _taken(contact, used, kept[op.operation_id], most)
        if fault is not None:
            yield fault
            continue
        kept[op.operation_id] += 1
        used.add((contact.a, contact.b))
        here = replace(contact, point_nm=one.point_nm)
        yield _candidate(context, op, base=one.segments[0], contact=here, known=one.facts)


def _taken(contact: Contact, used: set[tuple[int, int]], kept: int, most: int) -> str | None:
    if (contact.a, contact.b) in used:
        return "pair taken by another merge"
    return f"more than {most} for one merge" if kept == most else None


def _outcomes(context: SampleContext, merges: list[EditOp]) -> Iterator[Candidate | str]:
    most, used = context.rules.adjacent_per_merge, set[tuple[int, int]]()
    for op in merges:
        kept = 0
        nearest = _nearest_first(op, _in_cube(context, op))
        if not nearest:
            yield f"no neighbour within {context.rules.adjacent_cube_nm:g} nm"
        for base, contact in nearest:
            fault = _fault(context, contact) or _taken(contact, used, kept, most)
            if fault is None:
                kept += 1
                used.add((contact.a, contact.b))
                yield _candidate(context, op, base=base, contact=contact)
            else:
                yield fault


def _in_cube(context: SampleContext, op: EditOp) -> Iterator[tuple[int, Contact]]:
    """The merge's segments with their neighbours: where they touch in the cube, how much in all."""
    around = Box.around(op.point_nm, context.rules.adjacent_cube_nm)
    voxels = context.grid.to_voxels(around).intersect(context.grid.voxels)
    if voxels is None:
        return
    cube = context.automatic[voxels.slices]
    for one in neighbours(cube, op.before_ids, context.grid.crop(voxels)):
        whole = context.contacts.pair(one.contact.a, one.contact.b)
        if whole is not None:
            yield one.base, replace(one.contact, faces=whole.faces)


def _nearest_first(op: EditOp, found: Iterable[tuple[int, Contact]]) -> list[tuple[int, Contact]]:
    def place(one: tuple[int, Contact]) -> tuple[float, int, int]:
        contact = one[1]
        distance = sum((p - q) ** 2 for p, q in zip(contact.point_nm, op.point_nm, strict=True))
        return distance, contact.a, contact.b

    return sorted(found, key=place)


def _fault(context: SampleContext, contact: Contact) -> str | None:
    size = context.rules.size
    a, b = (overlap_of(context.overlaps, segment) for segment in (contact.a, contact.b))
    fault = size.contact_fault(contact) or size.pair_fault(a, b)
    if fault is None and a.dominant == b.dominant:
        return "same neuron"
    return fault


def _candidate(
    context: SampleContext,
    op: EditOp,
    *,
    base: int,
    contact: Contact,
    known: Mapping[str, Any] = MappingProxyType({}),
) -> Candidate:
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
        "cutout_timestamp": None if op.timestamp is None else op.timestamp - 1,
        "contact_faces": contact.faces,
        **known,
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
