"""What became of every planned row: committed in a shard, or failed with a named reason."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segmend.shards.layout import ShardRecord
from segmend.shards.reader import Benchmark
from segmend.store.atomic import atomic_file

LEDGER_FILE = "ledger.jsonl"
PLAN_FILE = "plan.json"


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


def write_ledger(folder: Path, plan_hash: str, outcomes: list[ShardOutcome]) -> None:
    """Write the ledger: a header line, then one line a shard, in plan order."""
    lines: list[dict[str, Any]] = [
        {"plan_hash": plan_hash, "planned": sum(o.planned for o in outcomes)}
    ]
    lines += [asdict(o) for o in outcomes]
    with atomic_file(folder / LEDGER_FILE) as temporary:
        temporary.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))


def read_ledger(folder: Path) -> tuple[str, list[ShardOutcome]]:
    """Read a ledger back: the plan's hash and the outcome of every shard."""
    header, *lines = (folder / LEDGER_FILE).read_text().splitlines()
    return json.loads(header)["plan_hash"], [_outcome(json.loads(line)) for line in lines]


def _outcome(data: dict[str, Any]) -> ShardOutcome:
    record = data.pop("record")
    failures = tuple(RowFailure(**failure) for failure in data.pop("failures"))
    return ShardOutcome(record=ShardRecord(**record) if record else None, failures=failures, **data)


def ledger_problems(folder: Path) -> list[str]:
    """Whether a benchmark holds exactly what was planned, row by row.

    Args:
        folder: The benchmark.

    Returns:
        One sentence per disagreement; nothing for a folder without plan and ledger, which then
        claims nothing.
    """
    if not (folder / LEDGER_FILE).exists() and not (folder / PLAN_FILE).exists():
        return []
    try:
        plan_hash, outcomes = read_ledger(folder)
        plan = json.loads((folder / PLAN_FILE).read_text())
        planned = [row for shard in plan["shards"] for row in shard["rows"]]
        same_plan = plan["content_hash"] == plan_hash
    except (OSError, ValueError, TypeError, KeyError) as error:
        return [f"plan and ledger cannot be read: {type(error).__name__}: {error}"]
    failed = [f.combined_hash for o in outcomes for f in o.failures]
    committed = Benchmark.open(folder).sidecar().column("combined_sample_hash").to_pylist()
    problems = [] if same_plan else ["the ledger belongs to another plan"]
    explained = Counter(committed) + Counter(failed)
    for what, rows in (
        ("planned rows are neither committed nor failed", Counter(planned) - explained),
        ("rows were never planned", explained - Counter(planned)),
    ):
        if rows:
            problems.append(f"{rows.total()} {what}, for example {next(iter(rows))}")
    return problems
