"""What the ledger knows of each operation, and how that becomes one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec

from segmend.core.box import Point
from segmend.core.grid import VoxelGrid
from segmend.core.ids import as_id
from segmend.edits.cave_record import Rules
from segmend.edits.cave_server import click_nm
from segmend.edits.frozen import Outcome
from segmend.edits.join import (
    UNREADABLE,
    Contradiction,
    Evidence,
    Joined,
    Joiner,
    kind_of,
    known_after,
    midpoint,
)
from segmend.edits.ledger import OK, Ledger
from segmend.edits.usual import usual

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything the ledger knows of one operation.

    Attributes:
        operation: Its number.
        outcome: Of its details.
        checked: Of its evidence.
        detail: Of a failure.
        log: Rows of change logs, each with the root whose log it is, ascending.
        details: The server's details; empty: none.
        evidence: What else was asked.
    """

    operation: int
    outcome: str
    checked: str
    detail: str
    log: tuple[tuple[int, Row], ...]
    details: Row
    evidence: Evidence

    @property
    def rows(self) -> list[Row]:
        """The rows alone."""
        return [row for _, row in self.log]


class Answers(NamedTuple):
    """The same as the ledger keeps it.

    Attributes:
        operation: Its number.
        outcome: Of its details.
        checked: Of its evidence.
        detail: Of a failure.
        log: JSON of the rows, each with the root whose log it is, ascending.
        details: JSON; empty: none.
        evidence: JSON; empty: none.
    """

    operation: int
    outcome: str
    checked: str
    detail: str
    log: list[tuple[int, str]]
    details: str | None
    evidence: str | None


_ALL = """
SELECT o.operation, o.outcome, o.checked, o.detail, o.details, o.evidence, l.root, l.row
FROM operations o JOIN log l ON l.operation = o.operation
"""


def all_answers(ledger: Ledger) -> Iterator[Answers]:
    """The answers about every operation, by number, one in memory at a time."""
    return _grouped(ledger.rows(f"{_ALL} ORDER BY o.operation, l.root"))


def all_sources(ledger: Ledger) -> Iterator[Sources]:
    """The sources of every operation, by number, one in memory at a time."""
    return map(decoded, all_answers(ledger))


def sources_of(ledger: Ledger, numbers: list[int]) -> list[Sources]:
    """The sources of some operations, by number."""
    return [decoded(one) for one in answers_of(ledger, numbers)]


def answers_of(ledger: Ledger, numbers: list[int]) -> list[Answers]:
    """The answers about some operations, by number."""
    places = ", ".join("?" * len(numbers))
    query = f"{_ALL} WHERE o.operation IN ({places}) ORDER BY o.operation, l.root"
    return list(_grouped(ledger.rows(query, numbers)))


def _grouped(rows: Iterator[tuple[Any, ...]]) -> Iterator[Answers]:
    last: Answers | None = None
    for number, outcome, checked, detail, details, evidence, root, row in rows:
        if last is not None and last.operation == number:
            last.log.append((int(root), row))
            last.log.sort()
            continue
        if last is not None:
            yield last
        last = Answers(number, outcome, checked, detail, [(int(root), row)], details, evidence)
    if last is not None:
        yield last


def decoded(one: Answers) -> Sources:
    """Answers as values."""
    return Sources(
        one.operation,
        one.outcome,
        one.checked,
        one.detail,
        tuple((root, _value(row)) for root, row in one.log),
        _value(one.details) if one.details else {},
        msgspec.json.decode(one.evidence, type=Evidence) if one.evidence else Evidence(),
    )


def _value(text: str) -> Row:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        # What pandas has no value for comes as NaN, which JSON has not and the ledger keeps.
        return json.loads(text)


def joiner_of(grid: VoxelGrid, until: datetime, rules: Rules) -> Joiner:
    """How the sources of a harvest are put together."""
    return Joiner(partial(click_nm, grid), until.timestamp() * 1000, rules.check)


def joined(one: Answers, joiner: Joiner) -> Joined | Outcome:
    """An operation from its sources, or why there is none."""
    for stage, outcome in (("details", one.outcome), ("check", one.checked)):
        if outcome != OK:
            name = outcome if outcome.startswith("no ") else f"{stage}: {outcome}"
            return Outcome(str(one.operation), "failed", name, one.detail)
    if one.details and one.evidence:
        found = usual(one.operation, one.log, one.details, one.evidence, joiner)
        if found is not None:
            return found
    return joined_slowly(one, joiner)


Trace = tuple[bool | None, Point | None, tuple[int, ...], tuple[int, ...]]
"""Whether an operation is a merge, where it is, its roots before and after, as far as is known."""


def trace_of(one: Answers, joiner: Joiner) -> Trace:
    """What is known of an operation that failed; what is contradictory or unreadable is not."""
    sources = decoded(one)
    rows, details, unreadable = sources.rows, sources.details, (*UNREADABLE, Contradiction)
    merge: bool | None = None
    point: Point | None = None
    before: set[int] = set()
    after: set[int] = set(sources.evidence.after)
    with suppress(*unreadable):
        merge = kind_of(rows, details) == "merge"
    with suppress(*unreadable):
        point = midpoint(*(joiner.points(details, f"{side}_coords") for side in ("source", "sink")))
    with suppress(*unreadable):
        before = {as_id(root) for row in rows for root in row["before_root_ids"]}
    with suppress(*unreadable):
        after |= known_after(rows, details)
    return merge, point, tuple(sorted(before)), tuple(sorted(after))


def joined_slowly(one: Answers, joiner: Joiner) -> Joined | Outcome:
    """The same for operations of any kind whose answers could be had."""
    sources = decoded(one)
    return joiner.join(one.operation, sources.log, sources.details, sources.evidence)
