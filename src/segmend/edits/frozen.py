"""A frozen edit history: files with checksums that re-read with no server and no token.

    NAME/
      manifest.json      what it is, where it is from, rules, counts, licence, sha256 of every file
      edits.parquet      the kept edits, one row each (`segmend.edits.neutral`)
      edits.jsonl        the same, one JSON line each
      outcomes.parquet   every operation that was not kept, with its reason
      roots.parquet      every root that was asked about, with its outcome

and, where controls were asked for,

      controls.parquet, controls.jsonl, control_outcomes.parquet    (`segmend.edits.control`)

The folder appears when it is complete. Equal histories give equal bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from segmend.core.errors import (
    OutputError,
    ReadFailedError,
    SchemaError,
    VerificationError,
)
from segmend.edits.control import (
    CONTROL_OUTCOME_SCHEMA,
    CONTROL_SCHEMA,
    Control,
    ControlOutcome,
    control_json,
    control_of_row,
    control_outcome_table,
    control_table,
)
from segmend.edits.frozen_manifest import FORMAT, MANIFEST, Closure, account_of, read_manifest
from segmend.edits.neutral import EDIT_SCHEMA, edit_json, edit_of_row, edit_row, edit_table
from segmend.edits.operation import EditOp, EditSet, edit_set
from segmend.store.atomic import atomic_folder, sha256_file

BATCH = 8192

OUTCOME_SCHEMA = pa.schema(
    [
        pa.field("operation_id", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""What was not kept: ``outcome`` is ``dropped`` (by a rule) or ``failed``."""

_ROOT_FIELDS: list[Any] = [
    pa.field("root_id", pa.uint64(), nullable=False),
    pa.field("outcome", pa.string(), nullable=False),
    pa.field("edits", pa.int64(), nullable=True),
    pa.field("size", pa.int64(), nullable=True),
    pa.field("detail", pa.string(), nullable=False),
]
ROOT_SCHEMA = pa.schema(_ROOT_FIELDS)
"""Every root asked about; ``edits`` and ``size`` (L2 chunks) are null where they are unknown."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An operation that was not kept.

    Attributes:
        operation_id: As in the source.
        outcome: ``dropped`` by a rule, or ``failed``.
        reason: The rule, or why it failed.
        detail: The evidence.
    """

    operation_id: str
    outcome: Literal["dropped", "failed"]
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FrozenEdits:
    """A frozen history, opened and verified.

    Attributes:
        folder: Where it lies.
        manifest: Its manifest.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def closure(self) -> Closure:
        """Its account."""
        return account_of(self.manifest["counts"])

    def edits(self) -> Iterator[EditOp]:
        """The edits in order, one batch in memory at a time.

        Raises:
            SchemaError: if a row is no edit.
        """
        done = 0
        for batch in _batches(self.folder / "edits.parquet", EDIT_SCHEMA):
            for row in batch.to_pylist():
                yield edit_of_row(row, where=f"{self.folder / 'edits.parquet'}, row {done}")
                done += 1

    def edit_set(self) -> EditSet:
        """All edits in memory, and the counts of what was left out."""
        closure = self.closure
        found = edit_set(self.edits())
        return EditSet(found.ops, Counter(closure.dropped + closure.failed))

    def outcomes(self) -> Iterator[Outcome]:
        """The operations that were not kept."""
        for batch in _batches(self.folder / "outcomes.parquet", OUTCOME_SCHEMA):
            for row in batch.to_pylist():
                yield Outcome(**row)

    @property
    def control_kinds(self) -> tuple[str, ...]:
        """Sample types whose controls were asked for."""
        return tuple(self.manifest.get("controls", {}))

    def control_closure(self, kind: str) -> Closure:
        """The account of one kind of controls."""
        return account_of(self.manifest["controls"][kind])

    def controls(self, kind: str) -> Iterator[Control]:
        """The controls of one kind, in order."""
        for batch in _batches(self.folder / "controls.parquet", CONTROL_SCHEMA):
            here = batch.filter(pc.equal(batch["kind"], pa.scalar(kind)))
            yield from map(control_of_row, here.to_pylist())

    def control_outcomes(self) -> Iterator[ControlOutcome]:
        """What gave no control."""
        for batch in _batches(self.folder / "control_outcomes.parquet", CONTROL_OUTCOME_SCHEMA):
            for row in batch.to_pylist():
                yield ControlOutcome(**row)

    def roots(self) -> pa.Table:
        """The roots that were asked about, as `ROOT_SCHEMA`."""
        return pq.read_table(self.folder / "roots.parquet", schema=ROOT_SCHEMA)


@dataclass(slots=True)
class FrozenWriter:
    """Writes a frozen history; see `freeze`.

    Attributes:
        folder: The folder in the making.
        counts: What was written so far.
    """

    folder: Path
    counts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    controls: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write_operations(self, outcomes: Iterable[EditOp | Outcome]) -> None:
        """Write kept edits and the others, in the order of the source, a batch at a time."""
        with ExitStack() as stack:
            edits = stack.enter_context(self._file("edits.parquet", EDIT_SCHEMA))
            others = stack.enter_context(self._file("outcomes.parquet", OUTCOME_SCHEMA))
            lines = stack.enter_context((self.folder / "edits.jsonl").open("w", encoding="utf-8"))
            kept: list[dict[str, Any]] = []
            left: list[Outcome] = []
            for one in outcomes:
                self.counts["known"] += 1
                if isinstance(one, EditOp):
                    kept.append(edit_row(one))
                    lines.write(edit_json(kept[-1]) + "\n")
                else:
                    left.append(one)
                    (self.dropped if one.outcome == "dropped" else self.failed)[one.reason] += 1
                if len(kept) >= BATCH:
                    edits.write_table(edit_table(kept))
                    self.counts["kept"] += len(kept)
                    kept.clear()
                if len(left) >= BATCH:
                    others.write_table(_outcome_table(left))
                    left.clear()
            edits.write_table(edit_table(kept))
            self.counts["kept"] += len(kept)
            others.write_table(_outcome_table(left))

    def write_roots(self, batches: Iterable[pa.Table]) -> None:
        """Write the roots, tables of `ROOT_SCHEMA`."""
        with self._file("roots.parquet", ROOT_SCHEMA) as file:
            for table in batches:
                self.counts["roots"] += table.num_rows
                file.write_table(table)

    def write_controls(self, found: Mapping[str, Iterable[Control | ControlOutcome]]) -> None:
        """Write controls and what gave none, kind by kind, a batch at a time."""
        with ExitStack() as stack:
            controls = stack.enter_context(self._file("controls.parquet", CONTROL_SCHEMA))
            others = stack.enter_context(
                self._file("control_outcomes.parquet", CONTROL_OUTCOME_SCHEMA)
            )
            path = self.folder / "controls.jsonl"
            lines = stack.enter_context(path.open("w", encoding="utf-8"))
            for kind, outcomes in found.items():
                account = self.controls[kind] = {"known": 0, "kept": 0, "dropped": {}, "failed": {}}
                outcomes = iter(outcomes)
                while batch := list(islice(outcomes, BATCH)):
                    kept = [one for one in batch if isinstance(one, Control)]
                    left = [one for one in batch if isinstance(one, ControlOutcome)]
                    controls.write_table(control_table(kept))
                    others.write_table(control_outcome_table(left))
                    lines.writelines(control_json(one) + "\n" for one in kept)
                    account["kept"] += len(kept)
                    account["known"] += len(kept) + sum(one.number for one in left)
                    for one in left:
                        reasons = account[one.outcome]
                        reasons[one.reason] = reasons.get(one.reason, 0) + one.number

    def finish(self, facts: dict[str, Any]) -> None:
        """Write the manifest; ``facts`` say where the history is from."""
        files = sorted(path.name for path in self.folder.iterdir())
        manifest = {
            "format": FORMAT,
            **facts,
            "counts": {
                "known": self.counts["known"],
                "kept": self.counts["kept"],
                "roots": self.counts["roots"],
                "dropped": dict(sorted(self.dropped.items())),
                "failed": dict(sorted(self.failed.items())),
            },
            **({"controls": self.controls} if self.controls else {}),
            "schema": {one.name: str(one.type) for one in EDIT_SCHEMA},
            "sha256": {name: sha256_file(self.folder / name) for name in files},
        }
        text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
        (self.folder / MANIFEST).write_text(text + "\n", encoding="utf-8")

    def _file(self, name: str, schema: pa.Schema) -> pq.ParquetWriter:
        return pq.ParquetWriter(
            self.folder / name, schema, compression="zstd", write_page_checksum=True
        )


def freeze(
    folder: str | Path,
    outcomes: Iterable[EditOp | Outcome],
    *,
    facts: dict[str, Any],
    roots: Iterable[pa.Table] = (),
    controls: Mapping[str, Iterable[Control | ControlOutcome]] | None = None,
) -> FrozenEdits:
    """Write a frozen history.

    Args:
        folder: Folder to create.
        outcomes: What became of every operation known, in a fixed order; read once, never held.
        facts: Where the history is from, for the manifest: ``source``, ``licence``, ``versions``
            and what else is known.
        roots: The roots that were asked about, tables of `ROOT_SCHEMA`.
        controls: By sample type, where any were asked for; read after the outcomes.

    Raises:
        OutputError: if the folder exists or cannot be written; nothing is left behind.
    """
    final = Path(folder).absolute()
    if final.exists():
        raise OutputError(f"cannot freeze edits into {final}", found="it exists already")
    with atomic_folder(final) as temporary:
        writer = FrozenWriter(temporary)
        writer.write_operations(outcomes)
        writer.write_roots(roots)
        if controls:
            writer.write_controls(controls)
        writer.finish(facts)
    return open_frozen(final)


def open_frozen(folder: str | Path) -> FrozenEdits:
    """Open a frozen history and check every file against its sha256.

    Raises:
        BadInputError: if there is none.
        SchemaError: if its manifest is of another format.
        VerificationError: if a file is missing or differs.
    """
    path = Path(folder)
    manifest = read_manifest(path / MANIFEST)
    for name, expected in manifest["sha256"].items():
        if "/" in name or not (path / name).is_file():
            raise VerificationError(f"{path} is not complete", found=f"it has no file '{name}'")
        found = sha256_file(path / name)
        if found != expected:
            raise VerificationError(
                f"{path / name} is not what was frozen",
                found=f"its sha256 is {found}, the manifest says {expected}",
                fix="Get the folder again, or freeze the harvest again",
            )
    frozen = FrozenEdits(path, manifest)
    accounts = [frozen.closure, *map(frozen.control_closure, frozen.control_kinds)]
    if not all(account.closed for account in accounts):
        raise VerificationError(f"{path} does not account for everything")
    return frozen


def _batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if file.schema_arrow != schema:
                raise SchemaError(
                    f"{path} does not hold what it should",
                    found=f"its columns: {file.schema_arrow}",
                )
            yield from file.iter_batches(BATCH)
    except (OSError, pa.ArrowException) as error:
        raise ReadFailedError(
            f"cannot read {path}", found=str(error), reason="corrupt", url=str(path)
        ) from error


def _outcome_table(rows: list[Outcome]) -> pa.Table:
    columns = {name: [getattr(row, name) for row in rows] for name in OUTCOME_SCHEMA.names}
    return pa.table(columns, schema=OUTCOME_SCHEMA)
