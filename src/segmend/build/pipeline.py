"""Plan to benchmark: everything is made beside the target and moved into place when it is whole."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segmend.build.card import card_facts
from segmend.build.engine import run
from segmend.build.ledger import PLAN_FILE, Closure, ShardOutcome, closure, write_ledger
from segmend.build.plan import Plan
from segmend.build.units import make_shard
from segmend.core.errors import IncompleteBuildError, NoSamplesError, OutputError
from segmend.core.sample import SPLITS
from segmend.shards.finish import finish
from segmend.store.atomic import atomic_file


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
    workers: int = 1,
    done: Callable[[ShardOutcome], None] = lambda _: None,
) -> Built:
    """Make the benchmark that a plan describes.

    Args:
        plan: The plan.
        out: Folder to create; it must not exist, or be empty.
        workers: Processes to use; the bytes written do not depend on it.
        done: Told about each finished shard.

    Raises:
        OutputError: if the folder cannot be created or holds something.
        NoSamplesError: if every row of a split failed.
        IncompleteBuildError: if a planned row is neither committed nor failed with a reason.
    """
    with _staging(out) as folder:
        work = functools.partial(make_shard, folder=folder)
        outcomes = run(work, plan.units, workers=workers, done=done)
        account = closure(outcomes)
        _check(account, outcomes)
        with atomic_file(folder / PLAN_FILE) as temporary:
            temporary.write_text(json.dumps(plan.to_json(), indent=1, sort_keys=True) + "\n")
        write_ledger(folder, plan.content_hash, outcomes)
        finish(folder, [o.record for o in outcomes if o.record], card_facts(plan, account))
    return Built(out, account)


def _check(account: Closure, outcomes: list[ShardOutcome]) -> None:
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


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A folder beside the target, moved there on success and removed on any error."""
    check_output(out)
    staging = out.absolute().with_name(f".{out.name}.building-{os.getpid()}")
    try:
        staging.mkdir()
    except OSError as error:
        raise OutputError(f"cannot create a folder beside {out}", found=str(error)) from error
    try:
        yield staging
        staging.replace(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_output(out: Path) -> None:
    """Check that a folder can be created.

    Raises:
        OutputError: if it holds something, or its parent does not exist or cannot be written.
    """
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
