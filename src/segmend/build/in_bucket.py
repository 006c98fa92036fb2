"""A build whose shards go straight into a bucket; workers share no disk.

A worker draws a shard into a folder of its own and puts it into the bucket unless it is there, then
its sidecar, then its commit record. The coordinator keeps everything small in a *work folder*:
plan, commit records and, in the end, what stands beside the shards. ``shards.csv`` goes last: a
bucket without one holds an unfinished build, which any machine can go on with.

There are no leases: two machines that make one shard put equal bytes, and the server keeps the
first.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from segmend.build.card import card_facts
from segmend.build.commits import (
    WORK_FOLDER,
    ShardOutcome,
    closure,
    commit_path,
    outcome_of,
    write_commit,
)
from segmend.build.engines.engine import Engine
from segmend.build.engines.serial import Serial
from segmend.build.frozen import ROWS_FILE, FrozenPlan, freeze_plan, read_frozen
from segmend.build.ledger import LEDGER_FILE, outcomes_of, write_ledger
from segmend.build.pipeline import Built, check_complete, units_of
from segmend.build.plan import Plan
from segmend.build.resume import Status, status_of
from segmend.build.units import ShardUnit, drawn_shard
from segmend.core.errors import OutputError, PlanError, ReadFailedError
from segmend.core.sample import SchemaVersion
from segmend.shards.finish import RowPlace, finish_from
from segmend.shards.layout import PLAN_FILE, SHARDS_CSV, ShardRecord
from segmend.shards.rows import Row
from segmend.shards.sidecar import shard_sidecar, sidecar_columns
from segmend.store.atomic import atomic_file, output_errors
from segmend.store.bucket import Bucket

_COMMITS = f"{WORK_FOLDER}/commits/"


def check_bucket(bucket: Bucket) -> None:
    """Check that there is nothing yet below the prefix.

    Raises:
        OutputError: if there is.
        ReadFailedError: if it cannot be listed.
    """
    found = next(bucket.keys(""), None)
    if found is not None:
        unfinished = bucket.read(PLAN_FILE) is not None and bucket.read(SHARDS_CSV) is None
        raise OutputError(
            f"{bucket.url} is not empty",
            found="it holds an unfinished build" if unfinished else f"it holds {found}",
            fix="Add --resume to go on with it" if unfinished else "Choose another --out",
        )


def freeze_in(bucket: Bucket, plan: Plan, work: Path) -> FrozenPlan:
    """Begin a build in a bucket with nothing in it but its plan.

    Raises:
        OutputError: if the bucket or the work folder holds something, or cannot be written.
    """
    check_bucket(bucket)
    if work.exists() and any(work.iterdir()):
        raise OutputError(
            f"the work folder {work} is not empty",
            found=f"of another build than the one in {bucket.url}, which is empty",
            fix="Remove it, or choose another --work",
        )
    with output_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    frozen = freeze_plan(plan, work)
    for name in (ROWS_FILE, PLAN_FILE):
        if not bucket.create(name, work / name):
            raise OutputError(f"{bucket.url} is not empty", found=f"{name} came there just now")
    return frozen


def adopt(bucket: Bucket, work: Path) -> FrozenPlan:
    """Bring a work folder to where the build in a bucket is; any machine can take it up.

    Raises:
        PlanError: if there is no plan in the bucket, or the work folder is that of another.
        ReadFailedError: if it cannot be read.
    """
    told = bucket.read(PLAN_FILE)
    if told is None:
        raise PlanError(f"{bucket.url} holds no plan", found=f"there is no {PLAN_FILE}")
    with output_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    for name, content in ((ROWS_FILE, bucket.content(ROWS_FILE)), (PLAN_FILE, told)):
        path = work / name
        if path.exists() and path.read_bytes() != content:
            raise PlanError(
                f"the work folder {work} is that of another build",
                found=f"its {name} is not the one in {bucket.url}",
                fix="Remove it, or choose another --work",
            )
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
    plan = read_frozen(work)
    _adopt_commits(bucket, work)
    return plan


def _adopt_commits(bucket: Bucket, work: Path) -> None:
    with output_errors(work):
        commit_path(work, "train", 0).parent.mkdir(parents=True, exist_ok=True)
    for key in bucket.keys(_COMMITS.rstrip("/")):
        path = work / key
        if not path.exists():
            with atomic_file(path) as temporary:
                temporary.write_bytes(bucket.content(key))


def is_finished(bucket: Bucket) -> bool:
    """Whether a bucket holds a benchmark rather than a build under way."""
    return bucket.read(SHARDS_CSV) is not None


def status_in(bucket: Bucket) -> Status:
    """How far the build in a bucket is; who is making what is not known there.

    Raises:
        PlanError: if it holds no plan.
        ReadFailedError: if what it holds cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="segmend-status-") as name:
        folder, finished = Path(name), is_finished(bucket)
        adopt(bucket, folder)
        if finished:
            (folder / LEDGER_FILE).write_bytes(bucket.content(LEDGER_FILE))
        return status_of(folder, finished=finished, being_made=0)


def build_in(
    bucket: Bucket,
    plan: Plan,
    work: Path,
    *,
    engine: Engine | None = None,
    done: Callable[[ShardOutcome], None] = lambda _: None,
) -> Built:
    """Make the benchmark that a plan describes below an empty prefix.

    Args:
        bucket: Where.
        plan: The plan.
        work: Work folder to create.
        engine: Who draws.
        done: Told about each finished shard.

    Raises:
        OutputError: if the bucket or the work folder holds something, or cannot be written.
        SegmendError: as `complete_in`.
    """
    template = dataclasses.replace(plan.units[0], candidates=())
    return complete_in(bucket, freeze_in(bucket, plan, work), template, engine=engine, done=done)


def complete_in(
    bucket: Bucket,
    plan: FrozenPlan,
    template: ShardUnit,
    *,
    engine: Engine | None = None,
    done: Callable[[ShardOutcome], None] = lambda _: None,
) -> Built:
    """Make every shard that is not in the bucket yet, then finish the benchmark there.

    Args:
        bucket: Where.
        plan: The plan, in the work folder.
        template: A unit without rows: what shards are drawn from, and how.
        engine: Who draws; workers may be on other machines.
        done: Told about each shard that is finished, those of an earlier attempt included.

    Raises:
        NoSamplesError: if every row of a split failed.
        IncompleteBuildError: if a planned row is neither committed nor failed with a reason.
        SegmendError: whatever making a shard raises; what is done stays done.
    """
    work = plan.folder
    _adopt_commits(bucket, work)
    before = outcomes_of(plan)
    for outcome in before:
        if outcome is not None:
            done(outcome)

    def tell(outcome: ShardOutcome) -> None:
        write_commit(work, outcome)
        done(outcome)

    missing = [i for i, outcome in enumerate(before) if outcome is None]
    make = functools.partial(make_shard_in, bucket=bucket)
    (engine or Serial()).run(make, units_of(plan, template, missing), done=tell)
    outcomes = [outcome for outcome in outcomes_of(plan) if outcome is not None]
    account = closure(outcomes)
    check_complete(account, outcomes)
    _finish(bucket, plan, outcomes)
    return Built(work, account)


def make_shard_in(unit: ShardUnit, bucket: Bucket) -> ShardOutcome:
    """Draw every row of a shard, put it into the bucket, and record that it is done.

    Raises:
        OutputError: if the bucket cannot be written, or holds another shard of that name.
        SegmendError: as `segmend.build.units.make_shard`.
    """
    commit = commit_path(Path(), unit.split, unit.shard_id).as_posix()
    known = bucket.read(commit)
    if known is not None:
        return outcome_of(json.loads(known))
    with tempfile.TemporaryDirectory(prefix="segmend-shard-") as folder:
        outcome = drawn_shard(unit, Path(folder))
        if outcome.record is not None:
            _put(bucket, Path(folder), outcome.record)
    content = json.dumps(dataclasses.asdict(outcome), sort_keys=True) + "\n"
    bucket.create(commit, content.encode())
    return outcome


def _put(bucket: Bucket, folder: Path, record: ShardRecord) -> None:
    if not bucket.create(record.path, folder / record.path):
        # Of a worker that was killed before its commit record, or of another machine.
        there = hashlib.sha256(bucket.content(record.path)).hexdigest()
        if there != record.sha256:
            raise OutputError(
                f"{bucket.url}/{record.path} is another shard than the plan's",
                found=f"its sha256 is {there}, the one drawn just now has {record.sha256}",
                fix="Was it begun by another version of segmend? Build below another prefix",
            )
    path = folder / "sidecar.parquet"
    pq.write_table(shard_sidecar(folder, record.path), path, write_page_checksum=True)
    bucket.create(_sidecar_key(record), path)


def _sidecar_key(record: ShardRecord) -> str:
    return f"{WORK_FOLDER}/sidecars/{Path(record.path).name}"


def _finish(bucket: Bucket, plan: FrozenPlan, outcomes: list[ShardOutcome]) -> None:
    """Write what stands beside the shards, here and then there; ``shards.csv`` last."""
    work = plan.folder
    write_ledger(work, plan.content_hash, outcomes)
    records = [outcome.record for outcome in outcomes if outcome.record]
    finish_from(
        work,
        records,
        card_facts(plan, closure(outcomes)),
        sidecar_of=functools.partial(_sidecar_of, bucket, plan.settings.shards.schema),
        rows_of=functools.partial(_rows_of, bucket, {r.path: r.size_bytes for r in records}),
    )
    names = [p.relative_to(work).as_posix() for p in sorted(work.rglob("*")) if p.is_file()]
    for name in names:
        if not name.startswith(f"{WORK_FOLDER}/") and name not in (PLAN_FILE, SHARDS_CSV):
            bucket.write(name, work / name)
    bucket.write(SHARDS_CSV, work / SHARDS_CSV)
    bucket.remove(list(bucket.keys(WORK_FOLDER)))


def _sidecar_of(bucket: Bucket, version: SchemaVersion, record: ShardRecord) -> pa.Table:
    content = bucket.content(_sidecar_key(record))
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            table = file.read(use_threads=False)
            # Parquet names the parts of lists otherwise than Arrow does by itself.
            return table.cast(sidecar_columns(version))
    except (OSError, pa.ArrowException) as error:
        raise ReadFailedError(
            f"cannot read {bucket.url}/{_sidecar_key(record)}",
            found=str(error),
            fix=f"Remove the commit record of {record.path} and go on with --resume",
        ) from error


def _rows_of(bucket: Bucket, sizes: dict[str, int], places: Sequence[RowPlace]) -> Iterator[Row]:
    for shard, group, row in places:
        try:
            content = bucket.opened(shard, sizes[shard])
            with pq.ParquetFile(content, page_checksum_verification=True) as file:
                yield file.read_row_group(group, use_threads=False).slice(row, 1).to_pylist()[0]
        except (OSError, pa.ArrowException) as error:
            raise ReadFailedError(f"cannot read {bucket.url}/{shard}", found=str(error)) from error
