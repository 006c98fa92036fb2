"""`adjacent_control`: a segment of a merge and a neighbour of another neuron, at their contact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Box
from segmend.core.ids import id_strings
from segmend.edits.operation import EditOp
from segmend.edits.overlap_table import overlap_of
from segmend.samples.candidate import Candidate, CandidateSet, candidate_set
from segmend.samples.context import SampleContext
from segmend.samples.site import Site, segment_facts, xyz
from segmend.samples.view import pose
from segmend.segments.contacts import Contact, find_contacts

KIND = "adjacent_control"


def candidates(context: SampleContext) -> CandidateSet:
    """Up to three neighbours for every merge, those whose contact is nearest to the merge.

    As published (reference, 1.4): a neighbour shares a face with one of the two segments within a
    cube around the merge, just before it, and is none of the two. Here a pair is asked about only
    if it is not merged later: the ground truth gives the two to different neurons.

    A control lies beside the merge it is derived from, so that it shows the same texture and
    calibre and takes the merge's position for its split. No pair is asked about twice.
    """
    merges = sorted(context.edits.of_kind("merge"), key=lambda op: op.operation_id)
    return candidate_set(KIND, _outcomes(context, merges))


def _outcomes(context: SampleContext, merges: list[EditOp]) -> Iterator[Candidate | str]:
    most, used = context.rules.adjacent_per_merge, set[tuple[int, int]]()
    for op in merges:
        kept = 0
        neighbours = _nearest_first(op, _in_cube(context, op))
        if not neighbours:
            yield f"no neighbour within {context.rules.adjacent_cube_nm:g} nm"
        for base, contact in neighbours:
            fault = _fault(context, contact)
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


def _in_cube(context: SampleContext, op: EditOp) -> Iterator[tuple[int, Contact]]:
    """The merge's segments with their neighbours: where they touch in the cube, how much in all."""
    around = Box.around(op.point_nm, context.rules.adjacent_cube_nm)
    voxels = context.grid.to_voxels(around).intersect(context.grid.voxels)
    if voxels is None:
        return
    cube = context.automatic[voxels.slices]
    # Voxels that share a face with one of the two, and no others: contacts among these are not
    # asked about, and looking for them would take ten times as long.
    touching = _with_neighbours(np.isin(cube, np.array(op.before_ids, np.uint64)))
    here = find_contacts(np.where(touching, cube, np.uint64(0)), context.grid.crop(voxels))
    for base in op.before_ids:
        for contact in here.of(base):
            whole = context.contacts.pair(contact.a, contact.b)
            if whole is not None and contact.other(base) not in op.before_ids:
                yield base, replace(contact, faces=whole.faces)


def _with_neighbours(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask and the voxels that share a face with it."""
    near = mask.copy()
    for axis in range(mask.ndim):
        grown, inside = (np.moveaxis(one, axis, 0) for one in (near, mask))
        grown[1:] |= inside[:-1]
        grown[:-1] |= inside[1:]
    return near


def _nearest_first(
    op: EditOp, neighbours: Iterable[tuple[int, Contact]]
) -> list[tuple[int, Contact]]:
    def place(one: tuple[int, Contact]) -> tuple[float, int, int]:
        contact = one[1]
        distance = sum((p - q) ** 2 for p, q in zip(contact.point_nm, op.point_nm, strict=True))
        return distance, contact.a, contact.b

    return sorted(neighbours, key=place)


def _fault(context: SampleContext, contact: Contact) -> str | None:
    size = context.rules.size
    a, b = (overlap_of(context.overlaps, segment) for segment in (contact.a, contact.b))
    fault = size.contact_fault(contact) or size.pair_fault(a, b)
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
        "cutout_timestamp": None if op.timestamp is None else op.timestamp - 1,
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
