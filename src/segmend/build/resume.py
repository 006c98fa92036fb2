"""Taking a build up again, and making damaged shards of a finished one anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from segmend.build.commits import ShardOutcome, commit_path, write_commit
from segmend.build.engines.engine import Engine
from segmend.build.frozen import FrozenPlan, read_frozen
from segmend.build.ledger import outcomes_of, read_ledger
from segmend.build.pipeline import Built, complete, unfinished
from segmend.build.plan import drawing
from segmend.build.settings import PlanSettings
from segmend.build.sources import open_source
from segmend.build.units import ShardUnit
from segmend.core.errors import OutputError, PlanError, ReadFailedError
from segmend.shards.layout import SHARDS_CSV
from segmend.store.atomic import output_errors, sha256_file


@dataclass(frozen=True, slots=True)
class Status:
    """How far a build is.

    Attributes:
        finished: Whether it is a benchmark already.
        plan_hash: Content hash of its plan.
        shards: Planned shards.
        done: Shards that are done.
        planned: Planned rows.
        committed: Rows in shards that are done.
        failed: Rows of shards that are done which failed, by reason.
        being_made: Shards that somebody is making, or was when killed.
    """

    finished: bool
    plan_hash: str
    shards: int
    done: int
    planned: int
    committed: int
    failed: dict[str, int]
    being_made: int


def status(out: Path) -> Status:
    """How far the build in a folder is.

    Raises:
        PlanError: if it holds no plan.
        ReadFailedError: if what it holds cannot be read.
    """
    leases = commit_path(out, "train", 0).parents[1] / "leases"
    being_made = len(list(leases.iterdir())) if leases.is_dir() else 0
    return status_of(out, finished=not unfinished(out), being_made=being_made)


def status_of(out: Path, *, finished: bool, being_made: int) -> Status:
    """As `status`, for a folder of which somebody else knows whether it is finished."""
    plan = read_frozen(out)
    found = read_ledger(out)[1] if finished else [o for o in outcomes_of(plan) if o]
    failed: dict[str, int] = {}
    for failure in (f for outcome in found for f in outcome.failures):
        failed[failure.reason] = failed.get(failure.reason, 0) + 1
    return Status(
        finished=finished,
        plan_hash=plan.content_hash,
        shards=len(plan.shards),
        done=len(found),
        planned=plan.n_rows,
        committed=sum(outcome.committed for outcome in found),
        failed=failed,
        being_made=being_made,
    )


def resume(
    settings: PlanSettings,
    folder: Path,
    out: Path,
    *,
    engine: Engine | None = None,
    done: Callable[[ShardOutcome], None] = lambda _: None,
) -> Built:
    """Go on with the unfinished build in a folder.

    Args:
        settings: The plan file it was begun with.
        folder: Where the plan's paths start.
        out: The unfinished build.
        engine: Who draws; may be another than before.
        done: Told about each shard that is finished, those of an earlier attempt included.

    Raises:
        PlanError: if it was begun with another plan, its plan was edited since, or a volume is not
            the one it was planned on.
        OutputError: if the folder holds a finished benchmark.
    """
    plan = read_frozen(out)
    if not unfinished(out):
        raise OutputError(
            f"{out} is finished already",
            found=f"it has a {SHARDS_CSV}",
            fix="`segmend verify` checks it, `segmend rebuild` mends it",
        )
    return complete(plan, template_of(plan, settings, folder), engine=engine, done=done)


def rebuild(
    settings: PlanSettings,
    folder: Path,
    out: Path,
    *,
    engine: Engine | None = None,
    done: Callable[[ShardOutcome], None] = lambda _: None,
) -> tuple[str, ...]:
    """Make exactly the shards of a finished benchmark again that are missing or damaged.

    Args:
        settings: The plan file it was built with.
        folder: Where the plan's paths start.
        out: The benchmark.
        engine: Who draws.
        done: Told about each shard.

    Returns:
        Paths of the shards that were made again, below the benchmark; they are the old ones byte
        by byte.

    Raises:
        PlanError: as `resume`.
        OutputError: if the folder cannot be written.
        ReadFailedError: if its ledger cannot be read.
    """
    plan = read_frozen(out)
    template = template_of(plan, settings, folder)
    _, outcomes = read_ledger(out)
    damaged = [o for o in outcomes if o.record and not _intact(out, o)]
    with output_errors(out):
        (out / SHARDS_CSV).unlink(missing_ok=True)  # until it is whole again
        commit_path(out, "train", 0).parent.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        if outcome not in damaged:
            write_commit(out, outcome)
    complete(plan, template, engine=engine, done=done)
    _check_same(out, outcomes)
    return tuple(o.record.path for o in damaged if o.record)


def template_of(plan: FrozenPlan, settings: PlanSettings, folder: Path) -> ShardUnit:
    """What shards are drawn from, opened again and compared with what was planned on.

    Raises:
        PlanError: if the settings are others, the plan was edited, or a volume is not the one it
            was planned on.
    """
    if _without_paths(settings) != _without_paths(plan.settings):
        raise PlanError(
            "the plan file is not the one this build was begun with",
            found=f"different: {', '.join(_differences(settings, plan.settings))}",
            fix="Undo the change, or build into a new folder",
        )
    plan.check_unchanged()
    opened = [open_source(source, settings, folder) for source in settings.sources]
    for one, planned in zip(opened, plan.sources, strict=True):
        facts = one.facts()
        changed = [name for name, value in planned.items() if facts.get(name) != value]
        if changed:
            raise PlanError(
                f"volume '{one.name}' is not the one this build was planned on",
                found=", ".join(f"{n}: {facts.get(n)}, planned on {planned[n]}" for n in changed),
                fix="Put the old one back, or build into a new folder",
            )
    return drawing({one.name: one.layers for one in opened}, settings)


def _intact(out: Path, outcome: ShardOutcome) -> bool:
    assert outcome.record is not None
    path = out / outcome.record.path
    try:
        return path.is_file() and sha256_file(path) == outcome.record.sha256
    except OSError:
        return False  # unreadable is damaged: it is made again


def _check_same(out: Path, before: list[ShardOutcome]) -> None:
    _, after = read_ledger(out)
    if after != before:
        raise ReadFailedError(
            f"{out} was made again and is not what it was",
            found="shards have other checksums than the ledger said",
            fix="Was it built with another version of segmend? Build into a new folder and compare",
        )


def _without_paths(settings: PlanSettings) -> Any:
    content = msgspec.to_builtins(settings)
    for source in content["sources"]:
        del source["path"]  # a volume may have moved; its fingerprint tells
    return content


def _differences(one: PlanSettings, other: PlanSettings) -> list[str]:
    ours, theirs = _without_paths(one), _without_paths(other)
    return [name for name in ours if ours[name] != theirs[name]]
