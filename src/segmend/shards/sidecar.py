"""Sidecars: what one wants to know about rows without reading a picture.

``metadata/{train,val,test}.parquet`` hold the thirteen published columns and, behind them, ours:
where the row lies in its shard, its site and its segments. All of it derives from the shards.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from segmend.core.sample import SAMPLE_TYPES, SchemaVersion
from segmend.shards.arrow import arrow_schema, as_version, schema_version
from segmend.shards.checks import LABEL_COLUMNS


def published_columns(version: SchemaVersion) -> tuple[str, ...]:
    """Columns of a sidecar that are copied from the shards; one more published one is ``shard``."""
    flags = ("has_after_mask",) if version == "v2" else ("has_single_mask", "has_dual_mask")
    return (
        "combined_sample_hash",
        "source_archive_sample_hash",
        "source_archive",
        "sample_type",
        "same_neuron",
        "has_em",
        *flags,
        "task_routing",
        "false_split_correction_label",
        "false_merge_identification_label",
        "split",
        "species",
    )


PUBLISHED = published_columns("v2")
"""The same of the current version."""

_OWN_FIELDS: list[Any] = [
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


def sidecar_columns(version: SchemaVersion) -> pa.Schema:
    """Columns of a sidecar. ``row`` counts within its row group; what metadata lack is null."""
    row = arrow_schema(version)
    fields: list[Any] = [row.field(name) for name in published_columns(version)]
    return pa.schema([*fields, *_OWN_FIELDS])


SIDECAR_SCHEMA = sidecar_columns("v2")
"""The same of the current version."""

# Ours is always the site itself. Published rows have none; there it is the point that decides the
# split (card of ConnectomeBench2 v2, "Train/val/test split").
_PUBLISHED_ANCHOR = {
    "junction_control": "interface_point_nm",
    "synapse_control": "synapse_ctr_pt_nm",
}
_EDIT_ANCHOR = "edit_point_nm"
_V1_ANCHOR = "interface_point_nm"  # of every type (card of the smoke-test set, same section)

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
    segment1_id: _Id | None = None
    segment2_id: _Id | None = None

    @property
    def segment_ids(self) -> list[_Id]:
        """The segments as rows of v1 name them."""
        return [i for i in (self.segment1_id, self.segment2_id) if i is not None]


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
    table, sizes, version = _read_columns(folder / shard)
    return sidecar_rows(table, sizes, shard, version)


def sidecar_rows(
    table: pa.Table, sizes: Sequence[int], shard: str, version: SchemaVersion
) -> pa.Table:
    """The sidecar rows of one shard.

    Args:
        table: Its `published_columns` and ``metadata``.
        sizes: Rows of each of its row groups.
        shard: Path of the shard in its benchmark.
        version: Version of its schema.

    Returns:
        A table of `sidecar_columns`, in the order of the shard.

    Raises:
        VerificationError: if a row's metadata do not hold what they must, naming the row.
    """
    group = np.repeat(np.arange(len(sizes)), sizes)
    row = np.concatenate([np.arange(n) for n in sizes]) if sizes else group
    facts = []
    described = zip(
        *(table.column(n).to_pylist() for n in ("metadata", "sample_type")), strict=True
    )
    for i, (text, kind) in enumerate(described):
        try:
            facts.append(_fact_columns(text, kind, version))
        except _WRONG_METADATA as error:
            raise VerificationError(
                f"{shard} row group {group[i]} row {row[i]}: its metadata are wrong",
                found=f"{type(error).__name__}: {error}",
            ) from error
    place = {"shard": [shard] * len(facts), "row_group": group, "row": row}
    return _sidecar(table, place, facts, version)


def nullable_labels(table: pa.Table) -> pa.Table:
    """The table with null where a label is NaN, as some writers spell it."""
    for name in LABEL_COLUMNS:
        column = table.column(name)
        if not pa.types.is_floating(column.type):
            continue
        place = table.column_names.index(name)
        nulled = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        table = table.set_column(place, table.schema.field(name), nulled)
    return table


def _sidecar(
    table: pa.Table,
    place: dict[str, Any],
    facts: list[tuple[Any, ...]],
    version: SchemaVersion,
) -> pa.Table:
    schema, published = sidecar_columns(version), published_columns(version)
    names = schema.names[len(published) + len(place) :]
    columns = zip(*facts, strict=True) if facts else ([] for _ in names)
    made = place | dict(zip(names, columns, strict=True))
    arrays = [pa.array(v, schema.field(n).type) for n, v in made.items()]
    return pa.table([*(table.column(n) for n in published), *arrays], schema=schema)


def _read_columns(path: Path) -> tuple[pa.Table, list[int], SchemaVersion]:
    """All columns that a sidecar needs, and the number of rows in each row group."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            version = schema_version(file.schema_arrow, str(path))
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            table = file.read([*published_columns(version), "metadata"], use_threads=False)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        # Arrow raises UnicodeDecodeError for text that is none.
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    return nullable_labels(as_version(table, version)), sizes, version


def _fact_columns(text: Any, kind: Any, version: SchemaVersion) -> tuple[Any, ...]:
    """What the metadata say, in the order of the last columns of a sidecar."""
    try:
        facts = _decode_facts(text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Python's own writer, that of the published rows, spells NaN, which is no JSON.
        facts = msgspec.convert(json.loads(text), _Facts)
    published = _PUBLISHED_ANCHOR.get(SAMPLE_TYPES[kind].name, _EDIT_ANCHOR)
    if version == "v1":
        published = _V1_ANCHOR
    place = (facts.dataset, facts.volume)
    x, y, z = facts.anchor_nm or getattr(facts, published) or (None, None, None)
    roots = [as_id(i) for i in facts.root_ids or facts.segment_ids]
    cluster = None if facts.cluster_id is None else as_id(facts.cluster_id)
    return x, y, z, roots, facts.segment_voxels, cluster, *place, facts.encoding


def open_sidecar(
    content: Path | pa.NativeFile, where: str, version: SchemaVersion
) -> pq.ParquetFile:
    """A sidecar, ours or published, for reading by column.

    Args:
        content: The file, or its path.
        where: Its path, for messages.
        version: Version of the shards' schema.

    Raises:
        ReadFailedError: if it cannot be read.
        SchemaError: if it is neither.
    """
    try:
        file = pq.ParquetFile(content, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise ReadFailedError(f"cannot read {where}", found=str(error), reason="corrupt") from error
    found, ours = set(file.schema_arrow.names), set(sidecar_columns(version).names)
    if not {*published_columns(version), "shard"} <= found <= ours:
        wrong = found ^ ours if _is_ours(found) else found ^ {*published_columns(version), "shard"}
        raise SchemaError(
            f"{where} has other columns than a sidecar of schema {version}",
            found=", ".join(sorted(wrong)) or "other types",
        )
    if _is_ours(found) and found != ours:
        raise SchemaError(f"{where} lacks columns", found=", ".join(sorted(ours - found)))
    return file


def _is_ours(names: set[str]) -> bool:
    return not names.isdisjoint(field.name for field in _OWN_FIELDS[1:])


def read_sidecar(
    file: pq.ParquetFile, where: str, version: SchemaVersion, columns: Sequence[str]
) -> pa.Table:
    """Columns of a sidecar.

    Args:
        file: From `open_sidecar`.
        where: Its path, for messages.
        version: Version of the shards' schema.
        columns: Columns that it has.

    Raises:
        ReadFailedError: if it cannot be read.
        SchemaError: if a column has another type.
    """
    schema = sidecar_columns(version)
    try:
        table = file.read(list(columns), use_threads=False).select(list(columns))
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ReadFailedError(f"cannot read {where}", found=str(error), reason="corrupt") from error
    try:
        return table.cast(pa.schema([schema.field(name) for name in columns]))
    except pa.ArrowException as error:
        raise SchemaError(f"{where} has other types than a sidecar", found=str(error)) from error
