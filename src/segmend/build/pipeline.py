"""Plan to benchmark, in a folder that can be left and taken up again at any moment.

``plan.json`` and ``plan.parquet`` come first and never change. Every shard appears whole, then its
commit record. When all are there, ledger, sidecars, card and, last, ``shards.csv`` make the folder
a benchmark; until then nothing opens it.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segmend.build.card import card_facts
from segmend.build.commits import WORK_FOLDER, Closure, ShardOutcome, closure, commit_path
from segmend.build.engines.engine import Engine
from segmend.build.engines.serial import Serial
from segmend.build.frozen import FrozenPlan, freeze_plan
from segmend.build.lease import LeaseWatch, lease
from segmend.build.ledger import outcomes_of, read_ledger, write_ledger
from segmend.build.plan import Plan
from segmend.build.units import ShardUnit, lease_path, make_shard
from segmend.core.errors import IncompleteBuildError, NoSamplesError, OutputError
from segmend.core.sample import SPLITS
from segmend.shards.finish import finish
from segmend.shards.layout import PLAN_FILE, SHARDS_CSV, shard_path
from segmend.store.atomic import output_errors

_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Built:
    """A finished build.

    Attributes:
        folder: The benchmark.
        closure: Its account.
    """

    folder: Path
    closure: Closure


def build(
    plan: Plan,
    out: Path,
    *,
    engine: Engine | None = None,
    done: Callable[[ShardOutcome], None] = lambda _: None,
) -> Built:
    """Make the benchmark that a plan describes.

    Args:
        plan: The plan.
        out: Folder to create; it must not exist, or be empty.
        engine: Who draws; the bytes written do not depend on it.
        done: Told about each finished shard.

    Raises:
        OutputError: if the folder cannot be created or holds something.
        NoSamplesError: if every row of a split failed.
        IncompleteBuildError: if a planned row is neither committed nor failed with a reason.
    """
    frozen = freeze(plan, out)
    template = dataclasses.replace(plan.units[0], candidates=())
    return complete(frozen, template, engine=engine, done=done)


def freeze(plan: Plan, out: Path) -> FrozenPlan:
    """Create the folder of a build with nothing in it but its plan.

    Raises:
        OutputError: if the folder cannot be created or holds something.
    """
    check_output(out)
    with output_errors(out):
        out.mkdir(exist_ok=True)
    return freeze_plan(plan, out)


def complete(
    plan: FrozenPlan,
    template: ShardUnit,
    *,
    engine: Engine | None = None,
    done: Callable[[ShardOutcome], None] = lambda _: None,
) -> Built:
    """Make every shard of a frozen plan that is not there yet, then finish the benchmark.

    Args:
        plan: The plan, in the folder of the benchmark.
        template: A unit without rows: what shards are drawn from, and how.
        engine: Who draws.
        done: Told about each shard that is finished, those of an earlier attempt included.

    Raises:
        NoSamplesError: if every row of a split failed.
        IncompleteBuildError: if a planned row is neither committed nor failed with a reason.
        SegmendError: whatever making a shard raises; what is done stays done.
    """
    folder = plan.folder
    _make_folders(plan)
    for outcome in outcomes_of(plan):
        if outcome is not None:
            done(outcome)

    def tell(outcome: ShardOutcome | None) -> None:
        if outcome is not None:  # None: another build in this folder makes that shard
            done(outcome)

    work = functools.partial(make_shard, folder=folder)
    workers, watch = engine or Serial(), LeaseWatch()
    while unfinished(folder):
        outcomes = outcomes_of(plan)
        free = [
            i
            for i, outcome in enumerate(outcomes)
            if outcome is None and not watch.held(_lease_of(plan, i))
        ]
        try:
            if free:
                workers.run(work, units_of(plan, template, free), done=tell)
            elif all(outcomes):
                _finish(plan, [outcome for outcome in outcomes if outcome], watch)
            else:
                time.sleep(_WAIT_S)  # another build in this folder has the rest in hand
        except OutputError:
            if unfinished(folder):
                raise
            # Another build finished it just now, and took the work folder away.
    _, outcomes_found = read_ledger(folder)
    return Built(folder, closure(outcomes_found))


def unfinished(folder: Path) -> bool:
    """Whether a folder holds a build that can be taken up again."""
    return (folder / PLAN_FILE).is_file() and not (folder / SHARDS_CSV).is_file()


def check_output(out: Path) -> None:
    """Check that a folder can be created.

    Raises:
        OutputError: if it holds something, or its parent does not exist or cannot be written.
    """
    if out.is_dir() and unfinished(out):
        raise OutputError(
            f"{out} holds an unfinished build",
            found=f"it has a {PLAN_FILE} and no {SHARDS_CSV}",
            fix="Add --resume to go on with it, choose another --out, or remove it yourself",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(
            f"the output {out} exists already",
            found="it is not an empty folder",
            fix="Choose another --out, or remove it yourself",
        )
    parent = out.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"cannot write into {parent}",
            found="it does not exist" if not parent.is_dir() else "no permission",
            fix="Choose another --out",
        )


def _make_folders(plan: FrozenPlan) -> None:
    for i in range(len(plan.shards)):
        for path in (_lease_of(plan, i), _commit_of(plan, i)):
            with output_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)


def _lease_of(plan: FrozenPlan, shard: int) -> Path:
    return lease_path(plan.folder, plan.shards[shard].split, plan.shards[shard].shard_id)


def _commit_of(plan: FrozenPlan, shard: int) -> Path:
    return commit_path(plan.folder, plan.shards[shard].split, plan.shards[shard].shard_id)


def units_of(plan: FrozenPlan, template: ShardUnit, shards: list[int]) -> Iterator[ShardUnit]:
    """Some shards of a plan as work."""
    for i in shards:
        yield dataclasses.replace(
            template,
            split=plan.shards[i].split,
            shard_id=plan.shards[i].shard_id,
            candidates=plan.candidates(i),
        )


def _finish(plan: FrozenPlan, outcomes: list[ShardOutcome], watch: LeaseWatch) -> None:
    """Make the benchmark of committed shards, unless another build is at it."""
    account = closure(outcomes)
    check_complete(account, outcomes)
    work = plan.folder / WORK_FOLDER
    ours = work / "leases" / "finish"
    with lease(ours) as free:
        if not free:
            watch.held(ours)  # it is removed if its holder is gone
            time.sleep(_WAIT_S)
            return
        write_ledger(plan.folder, plan.content_hash, outcomes)
        _sweep(plan)
        facts = card_facts(plan, account)
        finish(plan.folder, [o.record for o in outcomes if o.record], facts)
    shutil.rmtree(work, ignore_errors=True)  # two builds may both see it done


def check_complete(account: Closure, outcomes: list[ShardOutcome]) -> None:
    """Check that every planned row is explained and every split has rows.

    Raises:
        IncompleteBuildError: if a planned row is neither committed nor failed with a reason.
        NoSamplesError: if every row of a split failed.
    """
    if account.unexplained:
        raise IncompleteBuildError(
            f"{account.unexplained} planned rows are neither committed nor failed with a reason",
            found=f"planned {account.planned}, committed {account.committed}, "
            f"failed {dict(account.failed)}",
            fix="This is a bug in segmend: please report it with the plan",
        )
    for split in SPLITS:
        if not any(o.committed for o in outcomes if o.split == split):
            raise NoSamplesError(
                f"every row of the split '{split}' failed", found=str(dict(account.failed))
            )


def _sweep(plan: FrozenPlan) -> None:
    """Remove the temporary files of workers that were killed."""
    for folder in {(plan.folder / shard_path(s.split, s.shard_id)).parent for s in plan.shards}:
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)
