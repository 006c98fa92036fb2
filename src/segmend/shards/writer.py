"""Writing one shard: whole, verified and with the same bytes every time, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from segmend.core.errors import BadInputError, NoSamplesError, SchemaError, VerificationError
from segmend.core.sample import (
    ROW_SCHEMA,
    ROW_SCHEMAS,
    SCHEMA_VERSION,
    SchemaVersion,
    image_columns,
)
from segmend.shards.arrow import arrow_schema
from segmend.shards.checks import column_problems
from segmend.shards.codecs import CODECS
from segmend.shards.layout import ShardRecord, shard_of, shard_path
from segmend.shards.rows import Row
from segmend.store.atomic import atomic_file, output_errors, sha256_file

ROW_GROUP = 10
"""Rows per row group, as published (reference 1.9): small enough for the Hub's viewer."""

_TEXT = [f.name for f in ROW_SCHEMA if f.dtype == "string" and f.name != "metadata"]
# npz and PNG are compressed already; packing them again costs time and saves nothing.
_COMPRESSION = {"metadata": "SNAPPY"}


def write_shard(
    path: str | Path,
    rows: Iterable[Row],
    *,
    row_group: int = ROW_GROUP,
    version: SchemaVersion = SCHEMA_VERSION,
) -> ShardRecord:
    """Write one shard, read it back, and only then publish it under its name.

    Pages carry checksums, the file a page index. Rows are taken one row group at a time, so memory
    does not grow with the shard. Its folder is made if need be.

    Args:
        path: Where; the last two parts must be those of `shard_path`.
        rows: Rows of that split, as `make_row` returns them; in this order in the file.
        row_group: Rows per row group.
        version: Version of their schema.

    Returns:
        The line for ``shards.csv``.

    Raises:
        NoSamplesError: if there are no rows.
        SchemaError: if a row is wrong or belongs to another split, or a key occurs twice.
        VerificationError: if what was written does not read back.
        OutputError: if the place cannot be written.
    """
    path = Path(path)
    split, shard_id = shard_of(path)
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    checked = _checked(rows, split, version)
    with atomic_file(path) as temporary:
        keys = write_rows(temporary, checked, row_group=row_group, version=version)
        if not keys:
            raise NoSamplesError(f"shard {shard_path(split, shard_id)} has no rows")
        _check_readable(temporary, keys, version)
        size, digest = temporary.stat().st_size, sha256_file(temporary)
    return ShardRecord(shard_path(split, shard_id), split, shard_id, len(keys), size, digest)


def write_rows(
    path: Path,
    rows: Iterable[Row],
    *,
    row_group: int = ROW_GROUP,
    version: SchemaVersion = SCHEMA_VERSION,
) -> list[str]:
    """Write rows as one Parquet file in the layout of the shards.

    Returns:
        The primary keys, in order.
    """
    if row_group < 1:
        raise BadInputError(f"a row group needs at least one row, got {row_group}")
    schema = arrow_schema(version)
    keys: list[str] = []
    options: dict[str, Any] = {
        "compression": _COMPRESSION,
        "use_dictionary": _TEXT,
        "write_statistics": _TEXT,  # minima and maxima of images would be images
        "write_page_index": True,
        "write_page_checksum": True,
    }
    with output_errors(path):
        writer = pq.ParquetWriter(path, schema.with_metadata(_footer(schema)), **options)
    try:
        # Errors of whoever makes the rows are not errors of the place they are written to.
        for batch in _batches(rows, row_group):
            keys += [row["combined_sample_hash"] for row in batch]
            with output_errors(path):
                writer.write_table(_table(batch, schema), row_group_size=row_group)
    finally:
        with output_errors(path):
            writer.close()
    return keys


def _footer(schema: pa.Schema) -> dict[bytes, bytes]:
    """What the schema says for `datasets`, and what packed the pixels."""
    return {**schema.metadata, b"segmend": json.dumps({"codecs": CODECS}).encode()}


def _table(batch: list[Row], schema: pa.Schema) -> pa.Table:
    try:
        return pa.Table.from_pylist(batch, schema=schema)
    except (pa.ArrowException, OverflowError) as error:
        raise SchemaError("a row holds a value of another type", found=str(error)) from error


def _batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    rest = iter(rows)
    while batch := list(islice(rest, size)):
        yield batch


def _checked(rows: Iterable[Row], split: str, version: SchemaVersion) -> Iterator[Row]:
    seen: set[str] = set()
    pictures = image_columns(version)
    for row in rows:
        if tuple(row) != ROW_SCHEMAS[version].names:
            raise SchemaError(
                "a row has other columns than the schema", found=", ".join(map(str, row))
            )
        key = row["combined_sample_hash"]
        present = tuple(c for c in pictures if row[c] is not None)
        problems = column_problems(row, present, version)
        if row["split"] != split:
            problems.append(f"split is {row['split']!r} in a shard of '{split}'")
        if key in seen:
            problems.append("its key occurs twice")
        if problems:
            raise SchemaError(f"row {key} is wrong", found="; ".join(problems))
        seen.add(key)
        yield row


def _check_readable(path: Path, keys: list[str], version: SchemaVersion) -> None:
    """Read every page back with its checksum and compare the keys."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            same_schema = file.schema_arrow.equals(arrow_schema(version))
            found: list[Any] = []
            for i in range(file.num_row_groups):
                group = file.read_row_group(i, use_threads=False)
                found += group.column("combined_sample_hash").to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise VerificationError(f"{path.name} does not read back", found=str(error)) from error
    if not same_schema or found != keys:
        raise VerificationError(f"{path.name} does not read back what was written")
