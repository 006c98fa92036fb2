"""Stand-ins for published rows: sound rows with the faults of the published pipeline put in.

Layout, codecs and faults follow `reference/connectomebench2.md`, sections 1.6 to 1.9.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from segmend.core.sample import (
    EM_COLUMNS,
    PLANES,
    ROW_SCHEMA_V1,
    SAMPLE_TYPES,
    SPLIT_FOLDERS,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_COLUMNS,
    SchemaVersion,
    Split,
    channel,
    em_column,
    image_columns,
)
from segmend.shards.arrow import arrow_schema
from segmend.shards.checks import IMAGE_COLUMNS
from segmend.shards.layout import shard_path, sidecar_path
from segmend.shards.rows import Row, decode_row
from segmend.shards.sidecar import published_columns, sidecar_columns
from segmend.store.atomic import sha256_file

VIEW_EXTENT_NM = 7_500.0
"""The middle of the range for mouse, which every published mouse row names as its own."""

_ANCHORS = ("edit_point_nm", "interface_point_nm", "synapse_ctr_pt_nm")
_OURS = ("encoding", "dataset", "volume", "segment_voxels", "cluster_id")


def as_published(row: Row, *, native: int = 180) -> Row:
    """A row as the published pipeline would have written it.

    Args:
        row: A sound row in the encoding ``metric``, as stored.
        native: Pixels of an EM slice before it was resized.
    """
    decoded = decode_row(row, IMAGE_COLUMNS)
    kind = SAMPLE_TYPES[row["sample_type"]]
    metadata = json.loads(row["metadata"])
    for key in _OURS:
        metadata.pop(key, None)
    faulty = published_geometry(decoded["geometry"], dual=kind.dual)
    new = dict(row) | {
        "metadata": json.dumps(metadata | {"view_extent_nm": VIEW_EXTENT_NM}),
        "geometry": _npz(faulty),
    }
    for column in EM_COLUMNS:
        if decoded[column] is not None:
            new[column] = _png(resized(decoded[column], native))
    for column in SPLIT_MASK_COLUMNS:
        if decoded[column] is not None:
            new[column] = _png(decoded[column])
    return new


def as_v1(row: Row) -> Row:
    """A published row of v2 as v1 would have had it.

    Two segments are drawn in ``geometry``, one in ``geometry_single``; a ``split_edit`` without
    split masks lacks the former, a ``junction_control`` always does.

    Args:
        row: What `as_published` made.
    """
    kind = SAMPLE_TYPES[row["sample_type"]]
    decoded = decode_row(row, ("geometry", *SPLIT_MASK_COLUMNS))
    single = united(decoded["geometry"])
    dual = decoded["geometry"] if kind.dual else _sides(decoded)
    new = {name: row[name] for name in ROW_SCHEMA_V1.names if name in row}
    new |= {em_column(plane, "v1"): row[em_column(plane)] for plane in PLANES}
    new |= {
        "geometry": None if dual is None else _npz(dual),
        "geometry_single": _npz(single),
        "has_dual_mask": dual is not None,
        "has_single_mask": True,
        "false_split_correction_label": kind.same_neuron,
        "false_merge_identification_label": not kind.same_neuron,
    }
    routing = ["false_split_correction"] if kind.dual and dual is not None else []
    routing += [] if kind.dual else ["false_merge_identification"]
    routing += ["split_mask_generation"] if kind.name == "split_edit" else []
    slots = sorted(name for name in image_columns("v1") if new[name] is not None)
    metadata = json.loads(row["metadata"])
    point = next(metadata[k] for k in _ANCHORS if metadata.get(k) is not None)
    new |= {"task_routing": routing, "present_slots": slots}
    new["metadata"] = json.dumps(metadata | {"interface_point_nm": point})
    return {name: new[name] for name in ROW_SCHEMA_V1.names}


def united(geometry: NDArray[np.float16]) -> NDArray[np.float16]:
    """The same views with both segments as one: mask A is their union, B is empty."""
    out = np.array(geometry)
    out[:, channel("mask_a")] = np.maximum(out[:, channel("mask_a")], out[:, channel("mask_b")])
    out[:, channel("mask_b")] = 0
    return out


def _sides(decoded: Mapping[str, Any]) -> NDArray[np.float16] | None:
    """The views with masks A and B as the split masks say; None if there are none."""
    if any(decoded[column] is None for column in SPLIT_MASK_COLUMNS):
        return None
    out = np.array(decoded["geometry"])
    sides = np.stack([decoded[column] for column in SPLIT_MASK_COLUMNS])
    out[:, channel("mask_a")] = sides == SPLIT_MASK_A
    out[:, channel("mask_b")] = sides == SPLIT_MASK_B
    return out


def published_geometry(geometry: NDArray[np.float16], *, dual: bool) -> NDArray[np.float16]:
    """Depth stretched over each segment's foreground, normals through an 8-bit sRGB buffer."""
    out = np.array(geometry, np.float64)
    normals = out[:, channel("normal_x") : channel("mask_a")]
    for view, drawn in zip(out, out[:, channel("silhouette")] > 0, strict=True):
        b = view[channel("mask_b")] > 0
        for seen in (drawn & ~b, drawn & b) if dual else (drawn,):
            if seen.any():
                plane = view[channel("depth")]
                low, high = plane[seen].min(), plane[seen].max()
                plane[seen] = (plane[seen] - low) / max(high - low, 1e-9)
    light = (normals + 1) / 2
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    drawn = out[:, None, channel("silhouette")] > 0
    normals[:] = np.where(drawn, 2 * np.round(255 * curve) / 255 - 1, 0)
    return out.astype(np.float16)


def resized(image: NDArray[np.uint8], native: int) -> NDArray[np.uint8]:
    """An EM slice drawn at ``native`` pixels and brought to its size by a Lanczos filter."""
    size = (image.shape[1], image.shape[0])
    small = Image.fromarray(image).resize((native, native), Image.Resampling.NEAREST)
    return np.asarray(small.resize(size, Image.Resampling.LANCZOS))


def published_benchmark(
    folder: Path,
    rows: Mapping[Split, Sequence[Row]],
    *,
    shard: int = 20,
    version: SchemaVersion = "v2",
) -> Path:
    """Write rows in the published layout: their shards, sidecars, card and list.

    Args:
        folder: Where; made if need be.
        rows: What `as_published`, or `as_v1` of it, made, by split.
        shard: Rows per shard.
        version: Version of the schema of the rows.

    Returns:
        The folder.
    """
    listed: list[tuple[Any, ...]] = []
    everything: list[Row] = []
    for split, of_split in rows.items():
        sidecar = []
        for number, start in enumerate(range(0, len(of_split), shard)):
            part = of_split[start : start + shard]
            path = shard_path(split, number)
            _write(folder / path, part, version)
            size = (folder / path).stat().st_size
            listed.append((path, split, number, len(part), size, sha256_file(folder / path)))
            sidecar += [
                {c: row[c] for c in published_columns(version)} | {"shard": path} for row in part
            ]
            everything += part
        write_sidecar(folder / sidecar_path(split), sidecar, version)
    _write(folder / "demo.parquet", everything[:4], version)
    with (folder / "shards.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("path", "split", "shard_id", "n_samples", "size_bytes", "sha256"), *listed]
        )
    (folder / "README.md").write_text(_card(rows), encoding="utf-8")
    return folder


def write_sidecar(path: Path, rows: list[Row], version: SchemaVersion = "v2") -> None:
    """Write the published columns of rows as a sidecar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    named = [*published_columns(version), "shard"]
    schema = pa.schema([sidecar_columns(version).field(name) for name in named])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _write(path: Path, rows: Sequence[Row], version: SchemaVersion) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows), schema=arrow_schema(version))
    pq.write_table(table, path, row_group_size=10, write_page_index=True, compression="snappy")


def _card(splits: Iterable[str]) -> str:
    files = "\n".join(f"  - {{split: {s}, path: {SPLIT_FOLDERS[s]}/*.parquet}}" for s in splits)
    head = "license: other\nconfigs:\n- config_name: default\n  data_files:"
    return f"---\n{head}\n{files}\n---\n# ConnectomeBench2\n"


def _npz(geometry: NDArray[np.float16]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, geometry)
    return file.getvalue()


def _png(image: NDArray[np.uint8]) -> dict[str, bytes | None]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}
