"""Edits from the true history of a synthetic volume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from segmend.core.ids import id_strings
from segmend.edits.operation import EditOp, EditSet, Identity, edit_set, operation_hash
from segmend.edits.overlap import OverlapRules
from segmend.edits.overlap_table import Overlap
from segmend.segments.contacts import Contacts
from segmend.synthetic.history import TrueEdit

SOURCE = "synthetic log"


def synthetic_log_edits(
    true_edits: Iterable[TrueEdit],
    table: Mapping[int, Overlap],
    contacts: Contacts,
    *,
    rules: OverlapRules,
    identity: Identity,
) -> EditSet:
    """Turn a true history into edits, under the same rules as edits from overlap.

    Args:
        true_edits: The history, in any order.
        table: Overlap of the automatic segmentation with the true neurons.
        contacts: Contacts of the automatic segmentation.
        rules: Thresholds for sizes, purity and contact.
        identity: Data set, version and volume of the automatic segmentation.

    Returns:
        Merges, then splits. ``before_ids`` are automatic segments, ``after_ids`` true neurons; the
        root ids of the history are in ``facts``, as decimal strings. Where the history acts twice
        on the same segments and neurons, the later one is excluded.

    Raises:
        BadInputError: if two records share their root ids.
    """
    seen: set[tuple[object, ...]] = set()
    outcomes: list[EditOp | str] = []
    for edit in sorted(true_edits, key=lambda e: (e.timestamp, e.segments)):
        fault = _merge_fault(edit, table, contacts, rules) if edit.kind == "merge" else None
        fault = _split_fault(edit, table, rules) if edit.kind == "split" else fault
        question = (edit.kind, *sorted(edit.segments), *sorted(edit.neurons))
        if fault is None and question in seen:
            fault = "same question as an earlier edit"
        if fault is None:
            seen.add(question)
            outcomes.append(_operation(edit, table, identity, contacts))
        else:
            outcomes.append(f"{edit.kind}: {fault}")
    return edit_set(outcomes)


def _merge_fault(
    edit: TrueEdit, table: Mapping[int, Overlap], contacts: Contacts, rules: OverlapRules
) -> str | None:
    if len(set(edit.segments)) != 2:
        return "does not act on two segments"
    if any(segment not in table for segment in edit.segments):
        return "segment absent"
    a, b = (table[segment] for segment in edit.segments)
    contact = contacts.pair(a.segment, b.segment)
    if contact is None:
        return "segments do not touch"
    fault = rules.contact_fault(contact) or rules.pair_fault(a, b)
    if fault is None and not a.dominant == b.dominant == edit.neurons[0]:
        return "different neurons"
    return fault


def _split_fault(edit: TrueEdit, table: Mapping[int, Overlap], rules: OverlapRules) -> str | None:
    if len(edit.segments) != 1:
        return "does not act on one segment"
    if edit.segments[0] not in table:
        return "segment absent"
    sides = {neuron for neuron, _ in table[edit.segments[0]].sides(rules.min_side_voxels)}
    if len(sides.intersection(edit.neurons)) < 2:
        return f"second side below {rules.min_side_voxels} voxels"
    return None


def _operation(
    edit: TrueEdit, table: Mapping[int, Overlap], identity: Identity, contacts: Contacts
) -> EditOp:
    facts: dict[str, Any] = {
        "before_roots": id_strings(edit.before_roots),
        "after_roots": id_strings(edit.after_roots),
        "cause": edit.cause,
    }
    contact = contacts.pair(*edit.segments) if edit.kind == "merge" else None
    if contact is not None:
        facts["contact_faces"] = contact.faces
    return EditOp(
        # The roots, not the segments: one segment may need several splits.
        operation_id=operation_hash(
            **asdict(identity), kind=edit.kind, ids=(*edit.before_roots, *edit.after_roots)
        ),
        kind=edit.kind,
        before_ids=tuple(sorted(edit.segments)),
        after_ids=tuple(sorted(edit.neurons)),
        point_nm=edit.point_nm,
        cluster_id=table[edit.segments[0]].dominant,
        **asdict(identity),
        source=SOURCE,
        timestamp=edit.timestamp,
        facts=facts,
    )
