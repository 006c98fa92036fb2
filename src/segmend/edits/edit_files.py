"""Edits as files in the neutral form: Parquet and JSON lines, read strictly and written whole.

docs/edits.md, "The neutral form", describes every field for people who write such files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from segmend.core.errors import BadInputError, SchemaError
from segmend.edits.neutral import (
    EDIT_SCHEMA,
    edit_json,
    edit_of_row,
    edit_row,
    edit_table,
    strict_json,
)
from segmend.edits.operation import EditOp
from segmend.store.atomic import atomic_file, output_errors

BATCH = 8192
MOST_LINE_BYTES = 64 * 2**20
"""Longest line that is read. A split that names a million supervoxels takes 22 MB."""

_ID_COLUMNS = ("before_ids", "after_ids", "cluster_id", "cut")


def read_edits(path: str | Path) -> Iterator[EditOp]:
    """Edits from a ``.parquet`` or ``.jsonl`` file that someone else wrote, one at a time.

    Args:
        path: The file; its ending says what it is.

    Raises:
        BadInputError: if the file cannot be read, has another ending, or is damaged.
        SchemaError: if a row is no edit, or repeats an operation id; the message names file, line
            (from 1) or row (from 0), and column.
    """
    path = Path(path)
    seen: set[str] = set()
    for where, row in _form(path, _READERS)(path):
        op = edit_of_row(row, where=where)
        if op.operation_id in seen:
            raise SchemaError(
                f"{where} is no edit",
                found=f"column 'operation_id': '{op.operation_id}' was in an earlier one",
                fix="An operation id must be unique within its data set",
            )
        seen.add(op.operation_id)
        yield op


def write_edits(path: str | Path, ops: Iterable[EditOp]) -> int:
    """Write edits to a ``.parquet`` or ``.jsonl`` file, which appears whole or not at all.

    Args:
        path: The file; its ending says what it is. One that exists is replaced.
        ops: The edits; read once, a batch in memory at a time.

    Returns:
        How many there were.

    Raises:
        BadInputError: for another ending.
        OutputError: if it cannot be written.
    """
    path = Path(path)
    write = _form(path, _WRITERS)
    with output_errors(path), atomic_file(path) as temporary:
        return write(temporary, ops)


def _form(path: Path, known: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    if path.suffix not in known:
        raise BadInputError(
            f"{path} is in no known form",
            found=f"its ending is '{path.suffix}'",
            fix=f"Edits are files that end in {' or '.join(known)}",
        )
    return known[path.suffix]


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, row in json_lines(path):
        for name in _ID_COLUMNS:
            if not _is_text(row.get(name, "")):
                raise SchemaError(
                    f"{where} is no edit",
                    found=f"column '{name}': an id is not a decimal string",
                    fix="Many JSON writers round whole numbers above 2**53; write ids as strings",
                )
        yield where, row


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON-lines file, each with its file and line (from 1).

    Raises:
        BadInputError: if the file cannot be read.
        SchemaError: if a line is no object; the message names it.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MOST_LINE_BYTES + 1):
                number += 1
                where = f"{path}, line {number}"
                if len(line) > MOST_LINE_BYTES:
                    raise SchemaError(f"{where} is too long", found=f"over {MOST_LINE_BYTES} bytes")
                yield where, _row(line, where)
    except OSError as error:
        raise BadInputError(f"cannot read {path}", found=str(error)) from error


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = strict_json(line.decode("utf-8"))
    except (BadInputError, UnicodeDecodeError) as error:
        raise SchemaError(f"{where} is no edit", found=str(error)) from error
    if not isinstance(row, dict):
        raise SchemaError(f"{where} is no edit", found="it is not an object")
    return row


def _is_text(value: Any) -> bool:
    return all(map(_is_text, value)) if isinstance(value, list) else isinstance(value, str)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(BATCH):
                for row in batch.to_pylist():
                    yield f"{path}, row {number}", row
                    number += 1
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise BadInputError(f"cannot read {path} after row {number}", found=str(error)) from error


def _write_parquet(path: Path, ops: Iterable[EditOp]) -> int:
    rows, count = map(edit_row, ops), 0
    with pq.ParquetWriter(
        path, EDIT_SCHEMA, compression="zstd", write_page_checksum=True
    ) as writer:
        while batch := list(islice(rows, BATCH)):
            writer.write_table(edit_table(batch))
            count += len(batch)
    return count


def _write_lines(path: Path, ops: Iterable[EditOp]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for op in ops:
            file.write(edit_json(edit_row(op)) + "\n")
            count += 1
    return count


_READERS: dict[str, Callable[..., Any]] = {".parquet": _rows, ".jsonl": _lines}
_WRITERS: dict[str, Callable[..., Any]] = {".parquet": _write_parquet, ".jsonl": _write_lines}
