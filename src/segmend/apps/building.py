"""Plan file to verified benchmark, as the verbs ``build`` and ``demo`` do it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segmend.apps.progress import Progress
from segmend.build.ledger import ShardOutcome
from segmend.build.pipeline import Built, build, check_output
from segmend.build.plan import Plan, make_plan
from segmend.build.settings import load_settings
from segmend.core.settings import settings


def build_benchmark(
    plan_file: Path,
    out: Path,
    *,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress,
) -> tuple[Built, Plan]:
    """Build a benchmark.

    Args:
        plan_file: The plan; its paths start at its own folder.
        out: Folder to create.
        overrides: ``key=value`` to change in the plan.
        workers: Processes; None for the machine's setting.
        progress: Where to say what is happening.
    """
    plan_settings = load_settings(plan_file, overrides)
    check_output(out)  # before the minutes, not after
    processes = workers or settings().workers
    progress.say("finding edits and controls")
    plan = make_plan(
        plan_settings, plan_file.absolute().parent, workers=processes, report=progress.report
    )
    progress.say(f"drawing {plan.n_rows} rows in {len(plan.units)} shards")
    drawn = 0

    def count(outcome: ShardOutcome) -> None:
        nonlocal drawn
        drawn += outcome.planned
        progress.report("drawing rows", drawn, plan.n_rows)

    return build(plan, out, workers=processes, done=count), plan
