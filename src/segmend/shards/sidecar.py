"""Sidecars: what one wants to know about rows without reading a picture.

``metadata/{train,val,test}.parquet`` hold the thirteen published columns and, behind them, ours:
where the row lies in its shard, its site and its segments. All of it derives from the shards.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from segmend.core.errors import (
    BadInputError,
    ReadFailedError,
    SchemaError,
    VerificationError,
)
from segmend.core.ids import as_id
from segmend.core.sample import SAMPLE_TYPES
from segmend.shards.arrow import arrow_schema
from segmend.shards.checks import LABEL_COLUMNS

PUBLISHED = (
    "combined_sample_hash",
    "source_archive_sample_hash",
    "source_archive",
    "sample_type",
    "same_neuron",
    "has_em",
    "has_after_mask",
    "task_routing",
    "false_split_correction_label",
    "false_merge_identification_label",
    "split",
    "species",
)
"""Columns copied from the shards; the thirteenth published one is ``shard``."""

_ROW = arrow_schema()

SIDECAR_SCHEMA = pa.schema(
    [
        *(_ROW.field(name) for name in PUBLISHED),
        pa.field("shard", pa.string()),
        pa.field("row_group", pa.int32()),
        pa.field("row", pa.int32()),
        pa.field("anchor_x_nm", pa.float64()),
        pa.field("anchor_y_nm", pa.float64()),
        pa.field("anchor_z_nm", pa.float64()),
        pa.field("root_ids", pa.list_(pa.uint64())),
        pa.field("segment_voxels", pa.list_(pa.int64())),
        pa.field("cluster_id", pa.uint64()),
        pa.field("dataset", pa.string()),
        pa.field("volume", pa.string()),
        pa.field("encoding", pa.string()),
    ]
)
"""Columns of a sidecar. ``row`` counts within its row group; what the metadata of a row lack is
null."""

PUBLISHED_SIDECAR = (*PUBLISHED, "shard")
"""Columns of a sidecar as published, in any order. It says neither where in its shard a row lies
nor what its metadata hold."""

# Ours is always the site itself. Published rows have none; there it is the point that decides the
# split (card of ConnectomeBench2 v2, "Train/val/test split").
_PUBLISHED_ANCHOR = {
    "junction_control": "interface_point_nm",
    "synapse_control": "synapse_ctr_pt_nm",
}
_EDIT_ANCHOR = "edit_point_nm"

_Point = tuple[float, float, float]
_Id = str | int


class _Facts(msgspec.Struct):
    """What a sidecar takes from the metadata of a row."""

    anchor_nm: _Point | None = None
    interface_point_nm: _Point | None = None
    synapse_ctr_pt_nm: _Point | None = None
    edit_point_nm: _Point | None = None
    root_ids: list[_Id] | None = None
    segment_voxels: list[int] | None = None
    cluster_id: _Id | None = None
    dataset: str | None = None
    volume: str | None = None
    encoding: str | None = None


_WRONG_METADATA = (BadInputError, msgspec.MsgspecError, TypeError, KeyError, ValueError)
"""What the metadata of a row can be: no JSON, other types, an id that is none."""

_decode_facts = msgspec.json.Decoder(_Facts).decode


def shard_sidecar(folder: Path, shard: str) -> pa.Table:
    """The sidecar rows of one shard, read from the shard without its pictures.

    Args:
        folder: The benchmark.
        shard: Path of the shard below it.

    Returns:
        A table of `SIDECAR_SCHEMA`, in the order of the shard.

    Raises:
        ReadFailedError: if the shard cannot be read.
        SchemaError: if it has other columns.
        VerificationError: if a row's metadata do not hold what they must, naming the row.
    """
    table, sizes = _read_columns(folder / shard)
    group = np.repeat(np.arange(len(sizes)), sizes)
    row = np.concatenate([np.arange(n) for n in sizes]) if sizes else group
    facts = []
    described = zip(
        *(table.column(n).to_pylist() for n in ("metadata", "sample_type")), strict=True
    )
    for i, (text, kind) in enumerate(described):
        try:
            facts.append(_fact_columns(text, kind))
        except _WRONG_METADATA as error:
            raise VerificationError(
                f"{shard} row group {group[i]} row {row[i]}: its metadata are wrong",
                found=f"{type(error).__name__}: {error}",
            ) from error
    return _sidecar(table, {"shard": [shard] * len(facts), "row_group": group, "row": row}, facts)


def nullable_labels(table: pa.Table) -> pa.Table:
    """The table with null where a label is NaN, as some writers spell it."""
    for name in LABEL_COLUMNS:
        column = table.column(name)
        place = table.column_names.index(name)
        nulled = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        table = table.set_column(place, table.schema.field(name), nulled)
    return table


def _sidecar(table: pa.Table, place: dict[str, Any], facts: list[tuple[Any, ...]]) -> pa.Table:
    names = SIDECAR_SCHEMA.names[len(PUBLISHED) + len(place) :]
    columns = zip(*facts, strict=True) if facts else ([] for _ in names)
    made = place | dict(zip(names, columns, strict=True))
    arrays = [pa.array(v, SIDECAR_SCHEMA.field(n).type) for n, v in made.items()]
    return pa.table([*(table.column(n) for n in PUBLISHED), *arrays], schema=SIDECAR_SCHEMA)


def _read_columns(path: Path) -> tuple[pa.Table, list[int]]:
    """All columns that a sidecar needs, and the number of rows in each row group."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if file.schema_arrow.equals(_ROW):
                sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
                table = file.read([*PUBLISHED, "metadata"], use_threads=False)
                return nullable_labels(table), sizes
    # Arrow raises UnicodeDecodeError for text that is none.
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    raise SchemaError(f"{path} has other columns than the schema")


def _fact_columns(text: Any, kind: Any) -> tuple[Any, ...]:
    """What the metadata say, in the order of the last columns of `SIDECAR_SCHEMA`."""
    try:
        facts = _decode_facts(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Python's own writer, that of the published rows, spells NaN, which is no JSON.
        facts = msgspec.convert(json.loads(text), _Facts)
    published = _PUBLISHED_ANCHOR.get(SAMPLE_TYPES[kind].name, _EDIT_ANCHOR)
    place = (facts.dataset, facts.volume)
    x, y, z = facts.anchor_nm or getattr(facts, published) or (None, None, None)
    roots = [as_id(i) for i in facts.root_ids or ()]
    cluster = None if facts.cluster_id is None else as_id(facts.cluster_id)
    return x, y, z, roots, facts.segment_voxels, cluster, *place, facts.encoding


def sidecar_schema(path: Path) -> pa.Schema:
    """The columns of a sidecar, ours or published.

    Raises:
        ReadFailedError: if it cannot be read.
        SchemaError: if it is neither.
    """
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    if not schema.equals(SIDECAR_SCHEMA) and set(schema.names) != set(PUBLISHED_SIDECAR):
        raise SchemaError(
            f"{path} has other columns than a sidecar",
            found=", ".join(sorted(set(schema.names) ^ set(SIDECAR_SCHEMA.names))) or "other types",
        )
    return schema


def read_sidecar(path: Path, n: int, columns: list[str]) -> pa.Table:
    """Columns of a sidecar of ours.

    Args:
        path: The file.
        n: Rows it must have.
        columns: Columns of `SIDECAR_SCHEMA`.

    Raises:
        ReadFailedError: if it cannot be read or has another number of rows.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            rows = file.metadata.num_rows
            table = file.read(columns, use_threads=False).select(columns)
    except (OSError, pa.ArrowException) as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    if rows != n:
        raise ReadFailedError(
            f"{path} disagrees with shards.csv", found=f"{rows} rows instead of {n}"
        )
    return table
