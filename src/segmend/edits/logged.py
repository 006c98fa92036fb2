"""Edits that somebody logged, placed on an automatic segmentation and the true neurons.

They obey the same rules as edits from overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from segmend.core.box import Point
from segmend.edits.operation import EditKind, EditOp, EditSet, Identity, edit_set
from segmend.edits.overlap import OverlapRules
from segmend.edits.overlap_table import Overlap
from segmend.segments.contacts import Contacts


@dataclass(frozen=True, slots=True)
class LoggedEdit:
    """One entry of a log.

    Attributes:
        operation_id: Unique in the log.
        kind: What was done.
        segments: Automatic segments that meet at the point: two for a merge, one for a split.
        neurons: True neurons there: one for a merge, two for a split.
        point_nm: Where, ``(z, y, x)`` nm.
        timestamp: Seconds since 1970.
        source: Who says so.
        facts: For the metadata, JSON-able.
        source_points_nm: Clicks on one side.
        sink_points_nm: And on the other.
    """

    operation_id: str
    kind: EditKind
    segments: tuple[int, ...]
    neurons: tuple[int, ...]
    point_nm: Point
    timestamp: int | None
    source: str
    facts: dict[str, Any]
    source_points_nm: tuple[Point, ...] = ()
    sink_points_nm: tuple[Point, ...] = ()


def logged_edits(
    log: Iterable[LoggedEdit | str],
    table: Mapping[int, Overlap],
    contacts: Contacts,
    *,
    rules: OverlapRules,
    identity: Identity,
) -> EditSet:
    """Turn a log into edits.

    Args:
        log: Its entries, in any order; a string is the reason why an entry could not be placed.
        table: Overlap of the automatic segmentation with the true neurons.
        contacts: Contacts of the automatic segmentation.
        rules: Thresholds for sizes, purity and contact.
        identity: Data set, version and volume of the automatic segmentation.

    Returns:
        Merges, then splits. ``before_ids`` are automatic segments, ``after_ids`` true neurons. Of
        entries that act on the same segments and neurons, the first is kept.

    Raises:
        BadInputError: if two entries share their operation id.
    """
    outcomes: list[EditOp | str] = []
    entries: list[LoggedEdit] = []
    for entry in log:
        if isinstance(entry, str):
            outcomes.append(entry)
        else:
            entries.append(entry)
    seen: set[tuple[object, ...]] = set()
    for edit in sorted(entries, key=lambda e: (e.timestamp or 0, e.segments, e.operation_id)):
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
    edit: LoggedEdit, table: Mapping[int, Overlap], contacts: Contacts, rules: OverlapRules
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


def _split_fault(edit: LoggedEdit, table: Mapping[int, Overlap], rules: OverlapRules) -> str | None:
    if len(edit.segments) != 1:
        return "does not act on one segment"
    if edit.segments[0] not in table:
        return "segment absent"
    sides = {neuron for neuron, _ in table[edit.segments[0]].sides(rules.min_side_voxels)}
    if len(sides.intersection(edit.neurons)) < 2:
        return f"second side below {rules.min_side_voxels} voxels"
    return None


def _operation(
    edit: LoggedEdit, table: Mapping[int, Overlap], identity: Identity, contacts: Contacts
) -> EditOp:
    facts = dict(edit.facts)
    contact = contacts.pair(*edit.segments) if edit.kind == "merge" else None
    if contact is not None:
        facts["contact_faces"] = contact.faces
    return EditOp(
        operation_id=edit.operation_id,
        kind=edit.kind,
        before_ids=tuple(sorted(edit.segments)),
        after_ids=tuple(sorted(edit.neurons)),
        point_nm=edit.point_nm,
        cluster_id=table[edit.segments[0]].dominant,
        **asdict(identity),
        source=edit.source,
        timestamp=edit.timestamp,
        facts=facts,
        source_points_nm=edit.source_points_nm,
        sink_points_nm=edit.sink_points_nm,
    )
