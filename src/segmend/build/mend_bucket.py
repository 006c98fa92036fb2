"""Damaged or missing shards of a finished benchmark in a bucket, made again where they lie."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from segmend.build.commits import ShardOutcome
from segmend.build.engines.engine import Engine
from segmend.build.engines.serial import Serial
from segmend.build.frozen import FrozenPlan
from segmend.build.in_bucket import is_finished
from segmend.build.ledger import LEDGER_FILE, read_ledger
from segmend.build.pipeline import units_of
from segmend.build.units import ShardUnit, drawn_shard
from segmend.core.errors import OutputError, ReadFailedError
from segmend.shards.layout import SHARDS_CSV
from segmend.store.atomic import atomic_file
from segmend.store.bucket import Bucket


def rebuild_in(
    bucket: Bucket,
    plan: FrozenPlan,
    template: ShardUnit,
    *,
    engine: Engine | None = None,
    done: Callable[[ShardOutcome], None] = lambda _: None,
) -> tuple[str, ...]:
    """Make exactly the shards again that the ledger names and the bucket has not, or has otherwise.

    Every shard is read and compared with its checksum, one at a time. One that is made again takes
    the place of the damaged one only if it is the old one byte by byte.

    Args:
        bucket: A finished benchmark.
        plan: Its plan, in the work folder.
        template: A unit without rows: what shards are drawn from, and how.
        engine: Who draws; workers may be on other machines.
        done: Told about each shard that was made again.

    Returns:
        Paths of those shards, below the prefix.

    Raises:
        OutputError: if the build is not finished, or the bucket cannot be written.
        ReadFailedError: if the ledger cannot be read, or a shard does not come back as it was.
    """
    if not is_finished(bucket):
        raise OutputError(
            f"{bucket.url} holds an unfinished build",
            found=f"it has no {SHARDS_CSV}",
            fix="Go on with it: segmend build PLAN --out URL --resume",
        )
    with atomic_file(plan.folder / LEDGER_FILE) as temporary:
        temporary.write_bytes(bucket.content(LEDGER_FILE))
    records = {
        (outcome.split, outcome.shard_id): outcome.record
        for outcome in read_ledger(plan.folder)[1]
        if outcome.record
    }
    again: dict[str, str] = {}
    numbers: list[int] = []
    for i, shard in enumerate(plan.shards):
        record = records.get((shard.split, shard.shard_id))
        if record is not None and _digest(bucket, record.path) != record.sha256:
            again[record.path] = record.sha256
            numbers.append(i)
    make = functools.partial(_mend, bucket=bucket, expected=again)
    (engine or Serial()).run(make, units_of(plan, template, numbers), done=done)
    return tuple(again)


def _digest(bucket: Bucket, key: str) -> str | None:
    content = bucket.read(key)
    return None if content is None else hashlib.sha256(content).hexdigest()


def _mend(unit: ShardUnit, bucket: Bucket, expected: Mapping[str, str]) -> ShardOutcome:
    """Draw a shard again and put it where the damaged one lies."""
    with tempfile.TemporaryDirectory(prefix="segmend-shard-") as folder:
        outcome = drawn_shard(unit, Path(folder))
        record = outcome.record
        if record is None or record.sha256 != expected.get(record.path):
            raise ReadFailedError(
                f"shard {unit.shard_id} of '{unit.split}' was made again and is not what it was",
                found=f"its sha256 is {record.sha256 if record else 'none: every row failed'}",
                fix="Was it built with another version of segmend? Build below another prefix",
            )
        bucket.write(record.path, Path(folder) / record.path)
    return outcome
