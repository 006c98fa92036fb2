"""Sidecars: what one wants to know about rows without reading a picture.

``metadata/{train,val,test}.parquet`` hold the thirteen published columns and, behind them, ours:
where the row lies in its shard, its site and its segments. All of it derives from the shards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
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
    ]
)
"""Columns of a sidecar. ``row`` counts within its row group; what the metadata of a row lack is
null."""

# Ours is always the site itself. Published rows have none; there it is the point that decides the
# split (card of ConnectomeBench2 v2, "Train/val/test split").
_ANCHOR = "anchor_nm"
_PUBLISHED_ANCHOR = {
    "junction_control": "interface_point_nm",
    "synapse_control": "synapse_ctr_pt_nm",
}
_EDIT_ANCHOR = "edit_point_nm"


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
    rows = [
        _sidecar_row(row, shard, row_group=i, row_number=j)
        for i, group in enumerate(_read_groups(folder / shard))
        for j, row in enumerate(group)
    ]
    try:
        return pa.Table.from_pylist(rows, schema=SIDECAR_SCHEMA)
    except (pa.ArrowException, OverflowError) as error:
        raise VerificationError(f"{shard}: its metadata are wrong", found=str(error)) from error


def _read_groups(path: Path) -> list[list[dict[str, Any]]]:
    columns = [*PUBLISHED, "metadata"]
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if file.schema_arrow.equals(_ROW):
                return [
                    file.read_row_group(i, columns=columns, use_threads=False).to_pylist()
                    for i in range(file.num_row_groups)
                ]
    # Arrow raises UnicodeDecodeError for text that is none.
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    raise SchemaError(f"{path} has other columns than the schema")


def _sidecar_row(
    row: Mapping[str, Any], shard: str, *, row_group: int, row_number: int
) -> dict[str, Any]:
    kept = {name: row[name] for name in PUBLISHED}
    place = {"shard": shard, "row_group": row_group, "row": row_number}
    try:
        return {**kept, **place, **_facts(row)}
    except (BadInputError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise VerificationError(
            f"{shard} row group {row_group} row {row_number}: its metadata are wrong",
            found=f"{type(error).__name__}: {error}",
        ) from error


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    metadata = json.loads(row["metadata"])
    if not isinstance(metadata, dict):
        raise TypeError("they are no JSON object")
    kind = SAMPLE_TYPES[row["sample_type"]].name
    site = metadata.get(_ANCHOR) or metadata.get(_PUBLISHED_ANCHOR.get(kind, _EDIT_ANCHOR))
    x, y, z = _point(site)
    cluster = metadata.get("cluster_id")
    voxels = metadata.get("segment_voxels")
    return {
        "anchor_x_nm": x,
        "anchor_y_nm": y,
        "anchor_z_nm": z,
        "root_ids": [as_id(i) for i in metadata.get("root_ids") or ()],
        "segment_voxels": None if voxels is None else [int(n) for n in voxels],
        "cluster_id": None if cluster is None else as_id(cluster),
        "dataset": metadata.get("dataset"),
        "volume": metadata.get("volume"),
    }


def _point(value: Sequence[float] | None) -> tuple[float | None, float | None, float | None]:
    if value is None:
        return (None, None, None)
    x, y, z = value
    return (float(x), float(y), float(z))
