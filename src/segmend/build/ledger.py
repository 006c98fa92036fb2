"""The ledger: what became of every planned row of a complete build, in the order of the plan."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from segmend.build.commits import ShardOutcome, outcome_of, read_commit
from segmend.build.frozen import FrozenPlan, read_frozen
from segmend.core.errors import ReadFailedError, SegmendError
from segmend.shards.layout import PLAN_FILE
from segmend.shards.reader import Benchmark
from segmend.store.atomic import atomic_file

LEDGER_FILE = "ledger.jsonl"


def write_ledger(folder: Path, plan_hash: str, outcomes: list[ShardOutcome]) -> None:
    """Write the ledger: a header line, then one line a shard, in plan order."""
    with atomic_file(folder / LEDGER_FILE) as temporary, temporary.open("w") as file:
        header = {"plan_hash": plan_hash, "planned": sum(o.planned for o in outcomes)}
        for line in (header, *map(asdict, outcomes)):
            file.write(json.dumps(line, sort_keys=True) + "\n")


def read_ledger(folder: Path) -> tuple[str, list[ShardOutcome]]:
    """Read a ledger back: the plan's hash and the outcome of every shard.

    Raises:
        ReadFailedError: if it cannot be read.
    """
    path = folder / LEDGER_FILE
    try:
        header, *lines = path.read_text().splitlines()
        return json.loads(header)["plan_hash"], [outcome_of(json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ReadFailedError(
            f"cannot read the ledger {path}", found=f"{type(error).__name__}: {error}"
        ) from error


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
        plan = read_frozen(folder)
        plan.check_unchanged()
        planned = plan.keys()
    except SegmendError as error:
        return [f"plan and ledger cannot be read: {error}"]
    failed = [f.combined_hash for o in outcomes for f in o.failures]
    sidecar = Benchmark.open(folder).sidecar(columns=("combined_sample_hash",))
    committed = [str(key) for key in sidecar.column("combined_sample_hash").to_pylist()]
    problems = [] if plan.content_hash == plan_hash else ["the ledger belongs to another plan"]
    explained = Counter(committed) + Counter(failed)
    for what, rows in (
        ("planned rows are neither committed nor failed", Counter(planned) - explained),
        ("rows were never planned", explained - Counter(planned)),
    ):
        if rows:
            problems.append(f"{rows.total()} {what}, for example {next(iter(rows))}")
    return problems


def outcomes_of(plan: FrozenPlan) -> list[ShardOutcome | None]:
    """What became of every shard of a plan, from its commit records, in order."""
    return [read_commit(plan.folder, shard.split, shard.shard_id) for shard in plan.shards]
