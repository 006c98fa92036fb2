"""What is asked about one operation beyond its log and details."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from segmend.core.errors import BadInputError
from segmend.core.ids import as_id
from segmend.edits.cave_record import Rules
from segmend.edits.cave_server import CaveServer
from segmend.edits.join import Evidence, clicked, credible_ms, iso_ms, known_after, logged_ms
from segmend.edits.sources import Sources


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
