"""What the ledger knows of each operation, and how that becomes one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from segmend.core.grid import VoxelGrid
from segmend.edits.cave_record import Rules
from segmend.edits.cave_server import click_nm
from segmend.edits.frozen import Outcome
from segmend.edits.join import Evidence, Joined, Joiner
from segmend.edits.ledger import OK, Ledger

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


_ALL = """
SELECT o.operation, o.outcome, o.checked, o.detail, o.details, o.evidence, l.root, l.row
FROM operations o JOIN log l ON l.operation = o.operation
"""


def all_sources(ledger: Ledger) -> Iterator[Sources]:
    """The sources of every operation, by number, one in memory at a time."""
    return _grouped(ledger.rows(f"{_ALL} ORDER BY o.operation, l.root"))


def sources_of(ledger: Ledger, numbers: list[int]) -> list[Sources]:
    """The sources of some operations, by number."""
    places = ", ".join("?" * len(numbers))
    query = f"{_ALL} WHERE o.operation IN ({places}) ORDER BY o.operation, l.root"
    return list(_grouped(ledger.rows(query, numbers)))


def _grouped(rows: Iterator[tuple[Any, ...]]) -> Iterator[Sources]:
    decode, evidence = msgspec.json.decode, msgspec.json.Decoder(Evidence).decode
    for _, group in groupby(rows, key=itemgetter(0)):
        listed = list(group)
        number, outcome, checked, detail, details, found, _, _ = listed[0]
        yield Sources(
            number,
            outcome,
            checked,
            detail,
            tuple(sorted((int(one[6]), decode(one[7])) for one in listed)),
            decode(details) if details else {},
            evidence(found) if found else Evidence(),
        )


def joiner_of(grid: VoxelGrid, until: datetime, rules: Rules) -> Joiner:
    """How the sources of a harvest are put together."""
    return Joiner(partial(click_nm, grid), until.timestamp() * 1000, rules.check)


def joined(one: Sources, joiner: Joiner) -> Joined | Outcome:
    """An operation from its sources, or why there is none."""
    for stage, outcome in (("details", one.outcome), ("check", one.checked)):
        if outcome != OK:
            name = outcome if outcome.startswith("no ") else f"{stage}: {outcome}"
            return Outcome(str(one.operation), "failed", name, one.detail)
    return joiner.join(one.operation, one.log, one.details, one.evidence)
