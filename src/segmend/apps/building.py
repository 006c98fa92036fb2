"""Plan file to benchmark, as the verbs ``plan``, ``build``, ``rebuild`` and ``demo`` do it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segmend.apps.progress import Progress
from segmend.build.commits import ShardOutcome
from segmend.build.engines.engine import Engine, engine_of
from segmend.build.frozen import FrozenPlan, read_frozen
from segmend.build.in_bucket import (
    adopt,
    build_in,
    check_bucket,
    complete_in,
    freeze_in,
    is_finished,
)
from segmend.build.mend_bucket import rebuild_in
from segmend.build.pipeline import Built, build, check_output, freeze
from segmend.build.plan import Plan, make_plan
from segmend.build.resume import rebuild, resume, template_of
from segmend.build.settings import PlanSettings, load_settings
from segmend.core.errors import OutputError
from segmend.core.settings import settings
from segmend.shards.layout import SHARDS_CSV
from segmend.store.bucket import Bucket, is_bucket


@dataclass(frozen=True, slots=True)
class Order:
    """What a user asks to be built, and by whom.

    Attributes:
        plan: The plan file; its paths start at its own folder.
        overrides: ``key=value`` to change in the plan.
        engine: As `engine_of` takes it.
        workers: Pieces of work at once; None for the machine's setting.
    """

    plan: Path
    overrides: tuple[str, ...] = ()
    engine: str = "auto"
    workers: int | None = None

    @property
    def folder(self) -> Path:
        """Where the plan's paths start."""
        return self.plan.absolute().parent

    def settings(self) -> PlanSettings:
        """The plan file, overrides included."""
        return load_settings(self.plan, self.overrides)

    def opened_engine(self) -> Engine:
        """Who does the work."""
        return engine_of(self.engine, self.workers or settings().workers)


def plan_benchmark(order: Order, progress: Progress) -> Plan:
    """Find every row of a benchmark, without drawing one."""
    found, engine = order.settings(), order.opened_engine()
    progress.say("finding edits and controls")
    return make_plan(found, order.folder, engine=engine, report=progress.report)


def freeze_benchmark(order: Order, out: str, progress: Progress) -> Plan:
    """Find every row of a benchmark and freeze the plan in a new folder or an empty bucket."""
    if is_bucket(out):
        bucket = Bucket(out)
        check_bucket(bucket)
        plan = plan_benchmark(order, progress)
        freeze_in(bucket, plan, work_folder(bucket))
        return plan
    check_output(Path(out))
    plan = plan_benchmark(order, progress)
    freeze(plan, Path(out))
    return plan


def build_benchmark(order: Order, out: Path, progress: Progress) -> tuple[Built, FrozenPlan]:
    """Build a benchmark into a new folder."""
    order.settings()  # a mistake in the plan file comes before one about the folder
    check_output(out)  # before the minutes, not after
    plan = plan_benchmark(order, progress)
    progress.say(f"drawing {plan.n_rows} rows in {len(plan.units)} shards")
    built = build(plan, out, engine=order.opened_engine(), done=_Counted(progress, plan.n_rows))
    return built, read_frozen(out)


def resume_benchmark(order: Order, out: Path, progress: Progress) -> tuple[Built, FrozenPlan]:
    """Go on with an unfinished build."""
    plan = read_frozen(out)
    progress.say(f"going on with {plan.n_rows} rows in {len(plan.shards)} shards")
    built = resume(
        order.settings(),
        order.folder,
        out,
        engine=order.opened_engine(),
        done=_Counted(progress, plan.n_rows),
    )
    return built, plan


def build_in_bucket(
    order: Order, bucket: Bucket, work: Path, progress: Progress
) -> tuple[Built, FrozenPlan]:
    """Build a benchmark into an empty prefix of a bucket.

    Args:
        order: What.
        bucket: Where.
        work: Folder to create for what is small.
        progress: Where to say what is happening.
    """
    order.settings()  # a mistake in the plan file comes before one about the bucket
    check_bucket(bucket)  # before the minutes, not after
    plan = plan_benchmark(order, progress)
    progress.say(f"drawing {plan.n_rows} rows in {len(plan.units)} shards")
    done = _Counted(progress, plan.n_rows)
    built = build_in(bucket, plan, work, engine=order.opened_engine(), done=done)
    return built, read_frozen(work)


def resume_in_bucket(
    order: Order, bucket: Bucket, work: Path, progress: Progress
) -> tuple[Built, FrozenPlan]:
    """Go on with an unfinished build in a bucket, on this machine or another.

    Raises:
        OutputError: if it is finished already.
    """
    plan = adopt(bucket, work)
    if is_finished(bucket):
        raise OutputError(f"{bucket.url} is finished already", found=f"it has a {SHARDS_CSV}")
    progress.say(f"going on with {plan.n_rows} rows in {len(plan.shards)} shards")
    template = template_of(plan, order.settings(), order.folder)
    done = _Counted(progress, plan.n_rows)
    return complete_in(bucket, plan, template, engine=order.opened_engine(), done=done), plan


def work_folder(bucket: Bucket) -> Path:
    """Where the small files of a build in a bucket are kept unless the user says."""
    name = hashlib.sha256(bucket.url.encode()).hexdigest()[:16]
    return settings().cache_dir / "builds" / name


def rebuild_in_bucket(order: Order, bucket: Bucket, progress: Progress) -> Sequence[str]:
    """Make the missing and damaged shards of a benchmark in a bucket again; their paths."""
    with tempfile.TemporaryDirectory(prefix="segmend-rebuild-") as work:
        plan = adopt(bucket, Path(work))
        progress.say(f"checking {len(plan.shards)} shards")
        template = template_of(plan, order.settings(), order.folder)
        done = _Counted(progress, plan.n_rows)
        return rebuild_in(bucket, plan, template, engine=order.opened_engine(), done=done)


def rebuild_benchmark(order: Order, out: Path, progress: Progress) -> Sequence[str]:
    """Make the missing and damaged shards of a benchmark again; their paths."""
    plan = read_frozen(out)
    progress.say(f"checking {len(plan.shards)} shards")
    return rebuild(
        order.settings(),
        order.folder,
        out,
        engine=order.opened_engine(),
        done=_Counted(progress, plan.n_rows),
    )


class _Counted:
    """Tells progress how many rows the finished shards hold."""

    def __init__(self, progress: Progress, rows: int) -> None:
        self._progress, self._rows, self._drawn = progress, rows, 0

    def __call__(self, outcome: ShardOutcome) -> None:
        self._drawn += outcome.planned
        self._progress.report("drawing rows", self._drawn, self._rows)
