"""One operation from its sources: the change logs of several roots, the details, the evidence.

Every rule has a name, which is counted; what contradicts itself fails under one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from segmend.core.box import Point
from segmend.core.errors import BadInputError
from segmend.core.ids import as_id
from segmend.edits.frozen import Outcome
from segmend.edits.operation import EditKind

EARLIEST_MS = 1_262_304_000_000
"""1 January 2010: no edit server is older, so an earlier time is a defect (PyChunkedGraph #512)."""

SECONDS_BELOW = 100_000_000_000
"""A time below this is in seconds: as milliseconds it would be before March 1973."""

SAME_TIME_MS = 2_000
"""Log and details round differently; they speak of one time if they differ by less."""

LOG = "tabular_change_log"

FILLED = {
    "lineage": "new roots from the lineage",
    "supervoxels": "new roots from supervoxels",
    "operation_details": "new roots from the details",
}
"""Names of the rules that find new roots, by their source."""

UNREADABLE = (BadInputError, LookupError, TypeError, ValueError)
"""What taking apart an answer raises that is not as it should be."""

LISTED_TWICE = "listed by several roots"


class Evidence(msgspec.Struct, frozen=True):
    """What was asked about one operation beyond log and details.

    Attributes:
        before: Roots of the clicked supervoxels just before it; without such, those that the
            lineage names.
        after: Roots of the clicked supervoxels just after.
        final: Root of the first clicked supervoxel at the end of the harvest; 0: unknown.
        created_ms: When its new roots came into being; 0: not asked.
        lineage: Its new roots by the lineage.
    """

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    final: int = 0
    created_ms: float = 0.0
    lineage: tuple[int, ...] = ()


class Joined(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """An operation whose sources agree.

    Attributes:
        operation: Its number.
        kind: What it did.
        before: Root ids before, ascending.
        after: Root ids after, ascending; a split has two or more.
        time_ms: ms since 1970.
        sources: Clicks on one side, ``(z, y, x)`` nm.
        sinks: And on the other.
        edges: Supervoxels joined or cut.
        cluster: Final root of the first side, or a root whose log names it.
        listed_by: The roots whose logs name it.
        user: Who did it, as a number.
        after_from: Where the new roots are from.
        time_from: Where the time is from.
        cluster_from: Where the cluster is from.
        applied: Rules that filled or converted something.
    """

    operation: int
    kind: EditKind
    before: tuple[int, ...]
    after: tuple[int, ...]
    time_ms: int
    sources: tuple[Point, ...]
    sinks: tuple[Point, ...]
    edges: tuple[tuple[int, int], ...]
    cluster: int
    listed_by: tuple[int, ...]
    user: str
    after_from: str
    time_from: str
    cluster_from: str
    applied: tuple[str, ...]

    @property
    def provenance(self) -> dict[str, str]:
        """Where each field is from."""
        return {
            "before_ids": LOG,
            "after_ids": self.after_from,
            "timestamp": self.time_from,
            "points": "operation_details",
            "cluster_id": self.cluster_from,
        }

    @property
    def point(self) -> Point:
        """Midpoint of the mean source and the mean sink, as published."""
        return midpoint(self.sources, self.sinks)


def midpoint(sources: tuple[Point, ...], sinks: tuple[Point, ...]) -> Point:
    """Midpoint of the mean source and the mean sink."""
    a, b = _mean(sources), _mean(sinks)
    return ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)


def _mean(points: tuple[Point, ...]) -> Point:
    if len(points) == 1:
        return points[0]
    z, y, x = (sum(values) / len(points) for values in zip(*points, strict=True))
    return (z, y, x)


class Contradiction(Exception):  # noqa: N818  a result, not an error of ours
    """Sources that cannot both be right."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Joiner(msgspec.Struct, frozen=True):
    """How sources are put together.

    Attributes:
        point_nm: Turns a click of the server into ``(z, y, x)`` nm.
        until_ms: End of the harvest: no operation is later.
        check: Whether roots of supervoxels must agree with the operation's.
    """

    point_nm: Callable[[Sequence[float]], Point]
    until_ms: float
    check: bool = True

    def join(
        self,
        operation: int,
        log: Sequence[tuple[int, dict[str, Any]]],
        details: dict[str, Any],
        evidence: Evidence,
    ) -> Joined | Outcome:
        """Join the sources of one operation.

        Args:
            operation: Its number.
            log: Rows of change logs that name it, each with the root whose log it is.
            details: The server's details.
            evidence: What else was asked.

        Returns:
            The operation, or why it failed.
        """
        try:
            return self._join(operation, log, details, evidence)
        except Contradiction as found:
            return Outcome(str(operation), "failed", found.reason, found.detail)
        except UNREADABLE as error:
            detail = f"{type(error).__name__}: {error}"
            return Outcome(str(operation), "failed", "inconsistent: unreadable", detail)

    def _join(
        self,
        operation: int,
        log: Sequence[tuple[int, dict[str, Any]]],
        details: dict[str, Any],
        evidence: Evidence,
    ) -> Joined:
        applied: list[str] = []
        rows = [row for _, row in log]
        kind = kind_of(rows, details)
        before = _agreed(rows, applied)
        if kind == "split" and len(before) != 1:
            raise Contradiction("inconsistent: roots before", f"a split of {list(before)}")
        after, after_from = _after(kind, rows, details, evidence, applied)
        time_ms, time_from = self._time(rows, details, evidence, applied)
        edges = clicked(details, applied)
        if self.check:
            _check_roots(before, after, evidence)
        listed_by = tuple(sorted(root for root, _ in log))
        return Joined(
            operation=operation,
            kind=kind,
            before=before,
            after=after,
            time_ms=time_ms,
            sources=self.points(details, "source_coords"),
            sinks=self.points(details, "sink_coords"),
            edges=edges,
            cluster=evidence.final or listed_by[0],
            listed_by=listed_by,
            user=str(rows[0].get("user_id", details.get("user", ""))),
            after_from=after_from,
            time_from=time_from,
            cluster_from="roots_binary" if evidence.final else LOG,
            applied=tuple(applied),
        )

    def _time(
        self,
        rows: list[dict[str, Any]],
        details: dict[str, Any],
        evidence: Evidence,
        applied: list[str],
    ) -> tuple[int, str]:
        logged = sorted(set(logged_ms(rows, applied)))
        detailed = iso_ms(details.get("timestamp"))
        # The details first: they are never in seconds.
        credible = [t for t in (detailed, *logged) if t and credible_ms(t, self.until_ms)]
        if not credible:
            if not credible_ms(evidence.created_ms, self.until_ms):
                raise Contradiction("inconsistent: no time", f"log {logged}, details {detailed}")
            applied.append("time from its new roots")
            return int(evidence.created_ms), "root_timestamps"
        if max(credible) - min(credible) >= SAME_TIME_MS:
            raise Contradiction("inconsistent: times", f"{credible} ms")
        return int(credible[0]), "operation_details" if credible[0] == detailed else LOG

    def points(self, details: dict[str, Any], name: str) -> tuple[Point, ...]:
        """Clicks of one side, ``(z, y, x)`` nm.

        Raises:
            Contradiction: if there are none that can be.
        """
        points = tuple(self.point_nm([float(v) for v in voxel]) for voxel in details[name])
        if not points or not all(math.isfinite(v) for point in points for v in point):
            raise Contradiction("inconsistent: no clicks", f"{name}: {details[name]}")
        return points


def logged_ms(rows: Iterable[dict[str, Any]], applied: list[str]) -> list[float]:
    """Times of log rows, ms since 1970.

    Args:
        rows: The rows.
        applied: Names of rules that were needed are added.
    """
    return [_milliseconds(row["timestamp"], applied) for row in rows]


def credible_ms(time_ms: float | None, until_ms: float) -> bool:
    """Whether an edit can have been made at a time."""
    return time_ms is not None and EARLIEST_MS <= time_ms <= until_ms + SAME_TIME_MS


def known_after(rows: Iterable[dict[str, Any]], details: dict[str, Any]) -> set[int]:
    """New roots that log and details name."""
    logged = {as_id(r) for row in rows for r in row["after_root_ids"]}
    return logged | {as_id(r) for r in details.get("roots", ())}


def clicked(details: dict[str, Any], applied: list[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of supervoxels that were joined or cut.

    Args:
        details: The server's details.
        applied: Names of rules that were needed are added.
    """
    edges = [*(details.get("added_edges") or ()), *(details.get("removed_edges") or ())]
    if any(isinstance(one, str) for edge in edges for one in edge):
        applied.append("ids from strings")
    return tuple((as_id(a), as_id(b)) for a, b in edges)


def iso_ms(text: Any) -> float | None:
    """A time of the details, ms since 1970; without a zone it is UTC, as the server means it."""
    if not isinstance(text, str):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000


def _milliseconds(value: Any, applied: list[str]) -> float:
    time = float(value)
    if 0 < time < SECONDS_BELOW:
        applied.append("seconds read as milliseconds")
        return time * 1000
    return time


def kind_of(rows: list[dict[str, Any]], details: dict[str, Any]) -> EditKind:
    """What an operation did.

    Raises:
        Contradiction: if the sources disagree.
    """
    merges = {bool(row["is_merge"]) for row in rows}
    for name, merged in (("added_edges", True), ("removed_edges", False)):
        if details.get(name):
            merges.add(merged)
    if len(merges) != 1:
        raise Contradiction("inconsistent: kind", "one source says merge, another split")
    return "merge" if merges.pop() else "split"


def _agreed(rows: list[dict[str, Any]], applied: list[str]) -> tuple[int, ...]:
    """The roots before: every log that names the operation must say the same."""
    said = {tuple(sorted({as_id(r) for r in row["before_root_ids"]})) for row in rows}
    if len(said) != 1:
        raise Contradiction("inconsistent: roots before", f"the logs say {sorted(said)}")
    (before,) = said
    if not before or not before[0]:
        raise Contradiction("inconsistent: roots before", f"{list(before)}, and 0 is none")
    if len(rows) > 1:
        applied.append(LISTED_TWICE)
    return before


def _after(
    kind: EditKind,
    rows: list[dict[str, Any]],
    details: dict[str, Any],
    evidence: Evidence,
    applied: list[str],
) -> tuple[tuple[int, ...], str]:
    found = {as_id(r) for row in rows for r in row["after_root_ids"]}
    source, needed = LOG, 2 if kind == "split" else 1
    extra = {
        "operation_details": {as_id(r) for r in details.get("roots", ())},
        "supervoxels": set(evidence.after),
        "lineage": set(evidence.lineage),
    }
    for name, ids in extra.items():
        if ids - found and (len(found) < needed or name == "operation_details"):
            found, source = found | ids, name
            applied.append(FILLED[name])
    if kind == "merge" and len(found) > 1:
        raise Contradiction("inconsistent: new roots", f"a merge into {sorted(found)}")
    if 0 in found:
        raise Contradiction("inconsistent: new roots", f"{sorted(found)}, and 0 is none")
    if len(found) < needed:
        raise Contradiction("inconsistent: one new root", f"a split into {sorted(found)} only")
    return tuple(sorted(found)), source


def _check_roots(before: tuple[int, ...], after: tuple[int, ...], evidence: Evidence) -> None:
    """The clicked supervoxels must lie in the roots that the operation names, before and after."""
    if not evidence.before:
        raise Contradiction(
            "inconsistent: nothing to check against", "no roots before it are known"
        )
    for named, seen, when in (
        (before, evidence.before, "before"),
        (after, evidence.after, "after"),
    ):
        strange = set(seen) - set(named) - {0}
        if strange:
            raise Contradiction(
                f"inconsistent: clicked roots {when}",
                f"the clicks lie in {sorted(strange)}, the operation names {list(named)}",
            )
