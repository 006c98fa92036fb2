"""What a plan will cost: a few of its rows are drawn and weighed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from segmend.build.plan import Plan
from segmend.build.units import ShardUnit, draw_row
from segmend.core.errors import NoSamplesError, RenderError
from segmend.samples.candidate import Candidate
from segmend.shards.checks import IMAGE_COLUMNS

SAMPLED = 12


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected cost of a plan, from a few rows of every sample type.

    Attributes:
        rows: Rows planned.
        bytes: Bytes of all shards.
        core_seconds: Time to draw and encode all rows on one core of this machine.
        sampled: Rows that were drawn to find out.
    """

    rows: int
    bytes: int
    core_seconds: float
    sampled: int


def estimate(plan: Plan, *, most: int = SAMPLED) -> Estimate:
    """Draw a few rows of a plan and add up what all would cost.

    Args:
        plan: The plan.
        most: Rows to draw, spread over the sample types.

    Raises:
        NoSamplesError: if none of them can be drawn.
    """
    kinds = plan.counts()
    totals = {kind: sum(n for (k, _), n in kinds.items() if k == kind) for kind, _ in kinds}
    per_kind = max(1, most // len(totals))
    size = seconds = 0.0
    sampled = drawn = 0
    for kind in sorted(totals):
        costs = [cost for cost in map(_cost, _first(plan, kind, per_kind)) if cost]
        if costs:
            share = totals[kind] / len(costs)
            size += share * sum(cost[0] for cost in costs)
            seconds += share * sum(cost[1] for cost in costs)
            sampled, drawn = sampled + len(costs), drawn + totals[kind]
    if not sampled:
        raise NoSamplesError("none of the rows tried can be drawn, so there is no estimate")
    # Types of which no row could be drawn are taken to cost what the others do.
    scale = plan.n_rows / drawn
    return Estimate(plan.n_rows, int(size * scale), seconds * scale, sampled)


def _first(plan: Plan, kind: str, most: int) -> list[tuple[Candidate, ShardUnit]]:
    """The first rows of a kind; their order is keyed, so that they are a fair sample.

    One is drawn beforehand, so that loading and compiling do not count.
    """
    found = [(c, unit) for unit in plan.units for c in unit.candidates if c.kind == kind]
    _cost(found[0])
    return found[:most]


def _cost(one: tuple[Candidate, ShardUnit]) -> tuple[int, float] | None:
    """Bytes and seconds of one row; None if it cannot be drawn."""
    start = time.perf_counter()
    try:
        row = draw_row(*one)
    except RenderError:
        return None  # the build will name it; here it only costs nothing
    seconds = time.perf_counter() - start
    images = (row[column] for column in IMAGE_COLUMNS if row[column] is not None)
    size = sum(len(i["bytes"]) if isinstance(i, dict) else len(i) for i in images)
    return size + len(row["metadata"]), seconds
