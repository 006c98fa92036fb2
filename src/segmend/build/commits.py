"""What became of one shard: its commit record, the last thing a worker writes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segmend.core.errors import ReadFailedError
from segmend.core.sample import SPLIT_FOLDERS
from segmend.shards.layout import ShardRecord
from segmend.store.atomic import atomic_file

WORK_FOLDER = ".build"
"""What a build needs until it is complete: commit records and leases."""


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A planned row that is not there.

    Attributes:
        combined_hash: Its primary key.
        kind: Its sample type.
        reason: Short code, for example ``segment_not_in_view``.
        message: The whole error.
    """

    combined_hash: str
    kind: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """What became of one shard.

    Attributes:
        split: Its split.
        shard_id: Its number within the split.
        planned: Rows the plan lists for it.
        record: Its commit record; None if every one of its rows failed.
        failures: Rows that failed.
    """

    split: str
    shard_id: int
    planned: int
    record: ShardRecord | None
    failures: tuple[RowFailure, ...]

    @property
    def committed(self) -> int:
        """Rows in the shard."""
        return self.record.n_samples if self.record else 0


@dataclass(frozen=True, slots=True)
class Closure:
    """The account of a build: it is complete when nothing is unexplained."""

    planned: int
    committed: int
    failed: Counter[str]

    @property
    def unexplained(self) -> int:
        """Planned rows that are neither committed nor failed with a named reason."""
        return self.planned - self.committed - self.failed.total()


def closure(outcomes: list[ShardOutcome]) -> Closure:
    """Add up outcomes."""
    return Closure(
        planned=sum(o.planned for o in outcomes),
        committed=sum(o.committed for o in outcomes),
        failed=Counter(f.reason for o in outcomes for f in o.failures),
    )


def commit_path(folder: Path, split: str, shard_id: int) -> Path:
    """Where the commit record of a shard lies while the build is under way."""
    return folder / WORK_FOLDER / "commits" / f"{SPLIT_FOLDERS[split]}-{shard_id:05d}.json"


def write_commit(folder: Path, outcome: ShardOutcome) -> None:
    """Record that a shard is done: the last step of making it.

    Raises:
        OutputError: if the record cannot be written.
    """
    with atomic_file(commit_path(folder, outcome.split, outcome.shard_id)) as temporary:
        temporary.write_text(json.dumps(asdict(outcome), sort_keys=True) + "\n")


def read_commit(folder: Path, split: str, shard_id: int) -> ShardOutcome | None:
    """What became of a shard; None if it is not done.

    Raises:
        ReadFailedError: if there is a record that cannot be read.
    """
    path = commit_path(folder, split, shard_id)
    try:
        return outcome_of(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ReadFailedError(
            f"cannot read the commit record {path}",
            found=f"{type(error).__name__}: {error}",
            fix="Remove it: `segmend build --resume` makes that shard again",
        ) from error


def outcome_of(data: dict[str, Any]) -> ShardOutcome:
    """The outcome that a line of JSON holds."""
    record = data.pop("record")
    failures = tuple(RowFailure(**failure) for failure in data.pop("failures"))
    return ShardOutcome(record=ShardRecord(**record) if record else None, failures=failures, **data)
