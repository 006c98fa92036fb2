"""What is asked about one operation beyond its log and details."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from segmend.core.errors import BadInputError
from segmend.core.ids import as_id
from segmend.edits.cave_record import Rules
from segmend.edits.cave_server import CaveServer
from segmend.edits.join import Evidence, clicked, credible_ms, iso_ms, known_after, logged_ms
from segmend.edits.ledger import Ledger

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


def look_up(sources: Sources, server: CaveServer, *, rules: Rules, until: datetime) -> Evidence:
    """Ask about one operation what its log and details leave open.

    Args:
        sources: What is known.
        server: Who is asked.
        rules: Whether roots are checked, and how far from the operation.
        until: End of the history.

    Raises:
        ReadFailedError: if an answer cannot be had.
    """
    try:
        edges = clicked(sources.details, [])
        after = known_after(sources.rows, sources.details)
        split = not sources.rows[0]["is_merge"]
        times = [iso_ms(sources.details.get("timestamp")), *logged_ms(sources.rows, [])]
    except (BadInputError, LookupError, TypeError, ValueError):
        return Evidence()  # joining will say what is unreadable
    until_ms = until.timestamp() * 1000
    known = [time for time in times if credible_ms(time, until_ms)]
    created = 0.0 if known or not after else max(server.created_ms(sorted(after)))
    time_ms = created or (known[0] if known else None) or 0.0
    seen: dict[str, Any] = {"created_ms": created}
    if edges:
        seen["final"] = server.roots_at([edges[0][0]], until.timestamp())[0]
    if edges and credible_ms(time_ms, until_ms) and (rules.check or (split and len(after) < 2)):
        clicks = sorted(set(edges[0]))
        for name, shift in (("before", -rules.margin_s), ("after", rules.margin_s)):
            roots = server.roots_at(clicks, time_ms / 1000 + shift)
            seen[name] = tuple(sorted(set(roots) - {0}))
    lacks = split and len(after | set(seen.get("after", ()))) < 2
    if after and (lacks or (rules.check and not seen.get("before"))):
        before, made = _by_lineage(min(after), server, until)
        seen["lineage"] = made
        seen["before"] = seen.get("before") or before
    return Evidence(**seen)


def _by_lineage(
    root: int, server: CaveServer, until: datetime
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Roots before and after an operation, by the lineage of one of its new roots."""
    links = server.lineage(root, until)["links"]
    before = {as_id(link["source"]) for link in links if as_id(link["target"]) == root}
    if len(before) == 1:  # a split: its other new roots descend from the same
        links = server.lineage(min(before), until)["links"]
    made = {as_id(link["target"]) for link in links if as_id(link["source"]) in before}
    return tuple(sorted(before)), tuple(sorted(made))
