"""A harvest's controls as they are frozen: kept, dropped by a named rule, or failed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from segmend.core.box import Point
from segmend.edits.around import Around, Beside, SynapsesOf
from segmend.edits.cave_record import CaveRecord
from segmend.edits.control import Control, ControlKind, ControlOutcome
from segmend.edits.frozen import Outcome
from segmend.edits.harvest import ends
from segmend.edits.ledger import OK, Ledger, Size
from segmend.edits.operation import EditOp

Found = Iterator[Control | ControlOutcome]
NONE = 2**63
"""Beyond every operation."""


@dataclass(frozen=True, slots=True)
class Freezing:
    """What the controls of a harvest are frozen from.

    Attributes:
        ledger: The harvest.
        record: What it was made with.
        kept: Numbers of the edits that are kept, ascending; filled by `noting`.
    """

    ledger: Ledger
    record: CaveRecord
    kept: array[int] = field(default_factory=lambda: array("q"))

    def noting(self, outcomes: Iterator[EditOp | Outcome]) -> Iterator[EditOp | Outcome]:
        """Pass outcomes on, and note which edits are kept: 8 bytes each."""
        for one in outcomes:
            if isinstance(one, EditOp):
                self.kept.append(int(one.operation_id))
            yield one


def controls_of(kind: str, freezing: Freezing) -> Found:
    """The controls of one kind and everything that gave none, in a fixed order."""
    sources: dict[str, Callable[[Freezing], Found]] = {
        "adjacent_control": _adjacent,
        "junction_control": _junction,
        "synapse_control": _synapse,
    }
    return sources[kind](freezing)


def _adjacent(freezing: Freezing) -> Found:
    kept = iter(freezing.kept)
    number = next(kept, NONE)
    query = "SELECT operation, outcome, detail, answer FROM neighbours ORDER BY operation"
    decode = msgspec.json.Decoder(Around).decode
    for operation, outcome, detail, answer in freezing.ledger.rows(query):
        while number < operation:
            number = next(kept, NONE)
        subject = str(operation)
        if number != operation:
            yield ControlOutcome("adjacent_control", subject, "dropped", "edit not kept")
        elif outcome != OK:
            reason = f"neighbours: {outcome}"
            yield ControlOutcome("adjacent_control", subject, "failed", reason, detail=detail)
        else:
            yield from _beside(freezing, subject, decode(answer))


def _beside(freezing: Freezing, subject: str, around: Around) -> Found:
    kind: ControlKind = "adjacent_control"
    asked, kept = freezing.record.controls, 0
    if not around.nearest:
        reason = f"no neighbour within {asked.cube_nm:g} nm"
        yield ControlOutcome(kind, subject, "dropped", reason)
    sizes = freezing.ledger.sizes_of(one.other for one in around.nearest)
    for one in around.nearest:
        fault = _fault(freezing, one, sizes[one.other])
        if fault is None and kept == asked.adjacent:
            fault = ControlOutcome(kind, "", "dropped", f"more than {asked.adjacent} for one edit")
        if fault is not None:
            yield ControlOutcome(kind, subject, fault.outcome, fault.reason, 1, fault.detail)
            continue
        kept += 1
        yield Control(
            kind,
            subject,
            (one.base, one.other),
            (one.base_nm, one.other_nm),
            one.point_nm,
            around.cutout_ms // 1000,
            {"contact_faces_in_cube": one.faces},
        )
    if around.farther:
        reason = f"farther than {len(around.nearest)} others"
        yield ControlOutcome(kind, subject, "dropped", reason, around.farther)


def _fault(freezing: Freezing, one: Beside, known: Size) -> ControlOutcome | None:
    """Why a neighbour is no control; subject and number are left open."""
    kind: ControlKind = "adjacent_control"
    if one.merged:
        detail = f"a part of both is in {one.merged} at the end"
        return ControlOutcome(kind, "", "dropped", "merged later", 1, detail)
    least = freezing.record.rules.min_smaller_chunks
    if not least:
        return None
    size, outcome, detail = known
    if size is None:
        return ControlOutcome(kind, "", "failed", f"size: {outcome}", 1, detail)
    if size < least:
        return ControlOutcome(kind, "", "dropped", "side too small", 1, f"{size} L2 chunks")
    return None


def _junction(freezing: Freezing) -> Found:
    """The proofread neurons; where they branch is for a plan to find (docs/edits.md)."""
    query = "SELECT root, rows, point FROM neurons ORDER BY length(root), root"
    decode, cutout = msgspec.json.Decoder(Point).decode, int(ends(freezing.ledger).timestamp())
    kind: ControlKind = "junction_control"
    for root, rows, point in freezing.ledger.rows(query):
        if root == "0":
            yield ControlOutcome(kind, root, "dropped", "no root", rows)
            continue
        at = decode(point)
        yield Control(kind, root, (int(root),), (at,), at, cutout)
        if rows > 1:
            reason = "another row of the same neuron"
            yield ControlOutcome(kind, root, "dropped", reason, rows - 1)


def _synapse(freezing: Freezing) -> Found:
    query = "SELECT root, outcome, detail, answer FROM synapses ORDER BY length(root), root"
    decode, cutout = msgspec.json.Decoder(SynapsesOf).decode, int(ends(freezing.ledger).timestamp())
    kind: ControlKind = "synapse_control"
    for root, outcome, detail, answer in freezing.ledger.rows(query):
        if outcome != OK:
            yield ControlOutcome(kind, root, "failed", f"synapses: {outcome}", detail=detail)
            continue
        found = decode(answer)
        for one in found.kept:
            roots, points = (one.pre, one.post), (one.pre_nm, one.post_nm)
            yield Control(kind, str(one.id), roots, points, one.centre_nm, cutout, one.scores)
        for reason, number in found.dropped.items():
            yield ControlOutcome(kind, root, "dropped", reason, number)
        if not found.kept and not found.dropped:
            yield ControlOutcome(kind, root, "dropped", "no synapse")
