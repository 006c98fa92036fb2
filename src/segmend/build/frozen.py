"""A plan on disk: ``plan.json`` says what a build makes, ``plan.parquet`` lists every row of it.

Both are written before the first row is drawn and never changed. A build that was stopped goes on
from them, and a damaged shard is made again from them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from segmend.build.settings import PlanSettings
from segmend.core.errors import PlanError, ReadFailedError
from segmend.core.sample import Split
from segmend.samples.candidate import Candidate
from segmend.shards.layout import PLAN_FILE
from segmend.store.atomic import atomic_file

if TYPE_CHECKING:  # verifying a benchmark needs none of what plans are made with
    from segmend.build.plan import Plan

ROWS_FILE = "plan.parquet"

# The candidate is JSON, its ids decimal strings.
_TEXTS = ("combined_sample_hash", "sample_type", "species", "candidate")
_FIELDS: list[pa.Field[Any]] = [
    pa.field("split", pa.string(), nullable=False),
    pa.field("shard_id", pa.int32(), nullable=False),
    *(pa.field(name, pa.string(), nullable=False) for name in _TEXTS),
]
_ROWS = pa.schema(_FIELDS)


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One shard of a frozen plan.

    Attributes:
        split: Its split.
        shard_id: Its number within the split.
        rows: Rows planned for it.
    """

    split: Split
    shard_id: int
    rows: int


@dataclass(frozen=True, slots=True)
class FrozenPlan:
    """A plan as it was frozen; rows are read shard by shard.

    Attributes:
        folder: Where it lies.
        settings: The plan file as it was read, overrides included.
        sources: Facts about every volume.
        excluded: What was considered and left out: count by ``stage: reason``.
        content_hash: As `Plan.content_hash`.
        shards: The shards, in order; each is one row group of ``plan.parquet``.
    """

    folder: Path
    settings: PlanSettings
    sources: tuple[dict[str, Any], ...]
    excluded: Counter[str]
    content_hash: str
    shards: tuple[PlannedShard, ...]

    @property
    def n_rows(self) -> int:
        """Planned rows."""
        return sum(shard.rows for shard in self.shards)

    def candidates(self, shard: int) -> tuple[Candidate, ...]:
        """The rows of one shard, in order.

        Raises:
            ReadFailedError: if they cannot be read.
        """
        texts = self._read(shard, "candidate")
        return tuple(Candidate.from_json(json.loads(text)) for text in texts)

    def keys(self) -> list[str]:
        """Primary key of every planned row, in order."""
        return list(self._all("combined_sample_hash"))

    def counts(self) -> Counter[tuple[str, str]]:
        """Planned rows by (sample type, split)."""
        found: Counter[tuple[str, str]] = Counter()
        for i, shard in enumerate(self.shards):
            kinds = Counter(self._read(i, "sample_type"))
            found.update({(kind, shard.split): n for kind, n in kinds.items()})
        return found

    def check_unchanged(self) -> None:
        """Check that the rows are those the plan was frozen with.

        Raises:
            PlanError: if rows, settings or sources were edited since.
        """
        rows = self._all("candidate")
        found = content_hash(self.settings, self.sources, self._places(), rows)
        if found != self.content_hash:
            raise PlanError(
                f"the plan in {self.folder} is not the one that was frozen",
                found=f"its content hash is {found}, {PLAN_FILE} says {self.content_hash}",
                fix=f"Put {PLAN_FILE} and {ROWS_FILE} back, or build into a new folder",
            )

    def _places(self) -> list[tuple[str, int, int]]:
        return [(s.split, s.shard_id, s.rows) for s in self.shards]

    def _all(self, column: str) -> Iterator[str]:
        return (value for i in range(len(self.shards)) for value in self._read(i, column))

    def _read(self, shard: int, column: str) -> list[str]:
        path = self.folder / ROWS_FILE
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read_row_group(shard, columns=[column], use_threads=False)
                return [str(value) for value in table.column(0).to_pylist()]
        except (OSError, pa.ArrowException, IndexError) as error:
            raise _unreadable(path, error) from error


def freeze_plan(plan: Plan, folder: Path) -> FrozenPlan:
    """Write a plan; ``plan.json`` last, so that its presence says that all of it is there.

    Raises:
        OutputError: if the folder cannot be written.
    """
    with atomic_file(folder / ROWS_FILE) as temporary:
        write_rows(temporary, plan)
    with atomic_file(folder / PLAN_FILE) as temporary:
        temporary.write_text(json.dumps(_header(plan), indent=1, sort_keys=True) + "\n")
    return read_frozen(folder)


def read_frozen(folder: Path) -> FrozenPlan:
    """Open a frozen plan.

    Raises:
        PlanError: if there is none, or one that is not whole.
        ReadFailedError: if it cannot be read.
    """
    path = folder / PLAN_FILE
    if not path.is_file():
        raise PlanError(f"{folder} holds no plan", found=f"there is no {PLAN_FILE}")
    try:
        header = json.loads(path.read_text())
        settings = msgspec.convert(header["settings"], PlanSettings)
        shards = tuple(
            PlannedShard(_split(s["split"]), int(s["shard_id"]), int(s["rows"]))
            for s in header["shards"]
        )
        return FrozenPlan(
            folder=folder,
            settings=settings,
            sources=tuple(header["sources"]),
            excluded=Counter(header["excluded"]),
            content_hash=str(header["content_hash"]),
            shards=shards,
        )
    except (OSError, ValueError, TypeError, KeyError, msgspec.ValidationError) as error:
        raise _unreadable(path, error) from error


def write_rows(path: Path, plan: Plan) -> None:
    """Write the rows of a plan, one row group a shard."""
    with pq.ParquetWriter(path, _ROWS, compression="zstd", write_page_checksum=True) as writer:
        for split, shard_id, rows in _shard_rows(plan):
            columns: list[Any] = [
                pa.array([split] * len(rows)),
                pa.array([shard_id] * len(rows), pa.int32()),
                pa.array([c.combined_hash for c in rows]),
                pa.array([c.kind for c in rows]),
                pa.array([c.species for c in rows]),
                pa.array([c.to_text() for c in rows]),
            ]
            table = pa.Table.from_arrays(columns, schema=_ROWS)
            writer.write_table(table, row_group_size=len(rows))


def _shard_rows(plan: Plan) -> Iterator[tuple[str, int, tuple[Candidate, ...]]]:
    return ((unit.split, unit.shard_id, unit.candidates) for unit in plan.units)


def _header(plan: Plan) -> dict[str, Any]:
    return {
        "content_hash": plan.content_hash,
        "name": plan.settings.name,
        "accepted_leaks": list(plan.settings.splits.accepted_leaks),
        "settings": msgspec.to_builtins(plan.settings),
        "sources": list(plan.sources),
        "excluded": dict(sorted(plan.excluded.items())),
        "planned": plan.n_rows,
        "shards": [
            {"split": unit.split, "shard_id": unit.shard_id, "rows": len(unit.candidates)}
            for unit in plan.units
        ],
    }


def content_hash(
    settings: PlanSettings,
    sources: Iterable[dict[str, Any]],
    places: Iterable[tuple[str, int, int]],
    rows: Iterable[str],
) -> str:
    """What identifies a plan.

    Args:
        settings: The plan file; where its volumes lie does not count.
        sources: Facts about every volume.
        places: Split, number and rows of every shard, in order.
        rows: Every candidate as `Candidate.to_text` gives it, in order.

    Returns:
        sha256, 64 hex digits.
    """
    content = msgspec.to_builtins(settings)
    for source in content["sources"]:
        del source["path"]  # where a volume lies does not change what is made from it
    del content["edits"]["block"]  # nor does how it is gone through
    head = json.dumps([content, list(sources), [list(place) for place in places]], sort_keys=True)
    digest = hashlib.sha256(head.encode())
    for row in rows:
        digest.update(b"\n")
        digest.update(row.encode())
    return digest.hexdigest()


def _split(name: str) -> Split:
    for split in get_args(Split):
        if name == split:
            known: Split = split
            return known
    raise ValueError(f"there is no split {name!r}")


def _unreadable(path: Path, error: Exception) -> ReadFailedError:
    return ReadFailedError(
        f"cannot read the plan {path}",
        found=f"{type(error).__name__}: {error}",
        fix="Put it back as it was, or build into a new folder",
    )
