"""A row of one version of the schema as a row of the other; every lossy step has a name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.sample import (
    PLANES,
    ROW_SCHEMAS,
    SAMPLE_TYPES,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_BACKGROUND,
    SPLIT_MASK_COLUMNS,
    SampleType,
    SchemaVersion,
    channel,
    combined_hash,
    em_column,
    image_columns,
    source_archive,
)
from segmend.shards.checks import derived_columns, parsed_metadata
from segmend.shards.codecs import decode_geometry, decode_png, encode_geometry, encode_png
from segmend.shards.rows import Row

LOSSES = {
    "no_render": "the row has no render of what v2 shows of its type, and cannot be a row of v2",
    "render_united": "the single render is the dual one with masks A and B united: its seam stays",
    "render_from_masks": "the dual render is the single one within the split masks, its masks A "
    "and B; overlaps and third sides are gone",
    "render_missing": "the row has no dual render: nothing says where A ends and B begins",
    "masks_from_render": "split masks are masks A and B of the dual render; overlaps are lost",
    "masks_dropped": "split masks have no column in v1",
    "dual_render_dropped": "the dual render of a row that shows one segment has no column in v2",
    "single_render_dropped": "the single render of a row that shows two has no column in v2",
    "archive_renamed": "archive and primary key are those of v2; the old ones are in the metadata",
    "archive_kept": "archive and primary key stay those of v2: nothing says what v1 called them",
    "split_kept": "the split stays that of the version it comes from: its cubes and shares",
    "label_of_other_task": "labels of tasks that the row does not serve are dropped",
}
"""What a migration changes beyond names and types of columns."""

OLD_ARCHIVE, OLD_KEY = "v1_source_archive", "v1_combined_sample_hash"
"""Keys of the metadata that keep what v1 called a row."""

_MASK_SHAPE = ROW_SCHEMAS["v2"][SPLIT_MASK_COLUMNS[0]].shape
_A, _B = channel("mask_a"), channel("mask_b")

Geometry = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Converted:
    """A row in another version.

    Attributes:
        row: The row; None if it cannot be one.
        losses: Names in `LOSSES`.
    """

    row: Row | None
    losses: tuple[str, ...]


def as_v2(row: Mapping[str, Any]) -> Converted:
    """A row of v1 as one of v2; pictures stay as they are stored, published faults included."""
    kind = SAMPLE_TYPES[row["sample_type"]]
    geometry, losses = _geometry_v2(row, kind)
    if geometry is None:
        return Converted(None, tuple(losses))
    new: Row = {name: row.get(name) for name in ROW_SCHEMAS["v2"].names}
    new["geometry"] = geometry
    new |= {em_column(plane): row[em_column(plane, "v1")] for plane in PLANES}
    if kind.name == "split_edit" and row["geometry"] is not None:
        sides = _split_masks(decode_geometry(row["geometry"]))
        pngs = ({"bytes": encode_png(side), "path": None} for side in sides)
        new |= dict(zip(SPLIT_MASK_COLUMNS, pngs, strict=True))
        losses.append("masks_from_render")
    return Converted(_named_v2(row, new, kind), (*losses, "archive_renamed", *_ALWAYS))


_ALWAYS = ("split_kept", "label_of_other_task")


def _geometry_v2(row: Mapping[str, Any], kind: SampleType) -> tuple[Any, list[str]]:
    dual, single = row["geometry"], row["geometry_single"]
    if kind.dual:
        if dual is None:
            return None, ["no_render"]
        return dual, [] if single is None else ["single_render_dropped"]
    if single is not None:
        return single, [] if dual is None else ["dual_render_dropped"]
    if dual is None:
        return None, ["no_render"]
    return encode_geometry(united(decode_geometry(dual))), ["render_united"]


def _named_v2(row: Mapping[str, Any], new: Row, kind: SampleType) -> Row:
    archive = source_archive(row["species"], kind.name)
    metadata = parsed_metadata(row["metadata"])
    metadata |= {
        OLD_ARCHIVE: row["source_archive"],
        OLD_KEY: row["combined_sample_hash"],
        "is_merge": kind.dual,
    }
    new["source_archive"] = archive
    new["combined_sample_hash"] = combined_hash(archive, row["source_archive_sample_hash"])
    return _completed(new, metadata, kind, "v2")


def as_v1(row: Mapping[str, Any]) -> Converted:
    """A row of v2 as one of v1; pictures stay as they are stored."""
    kind = SAMPLE_TYPES[row["sample_type"]]
    new: Row = {name: row.get(name) for name in ROW_SCHEMAS["v1"].names}
    new |= {em_column(plane, "v1"): row[em_column(plane)] for plane in PLANES}
    losses = ["split_kept"]
    if kind.dual:
        new["geometry_single"] = encode_geometry(united(decode_geometry(row["geometry"])))
        losses.append("render_united")
    else:
        new["geometry_single"], new["geometry"] = row["geometry"], None
        masks = [row[column] for column in SPLIT_MASK_COLUMNS]
        if None not in masks:
            sides = [
                decode_png(m["bytes"], ROW_SCHEMAS["v2"][SPLIT_MASK_COLUMNS[0]].shape)
                for m in masks
            ]
            new["geometry"] = encode_geometry(_parted(decode_geometry(row["geometry"]), sides))
            losses += ["render_from_masks", "masks_dropped"]
        elif kind.name == "split_edit":
            losses.append("render_missing")
    return Converted(_named_v1(row, new, kind, losses), tuple(losses))


def _named_v1(row: Mapping[str, Any], new: Row, kind: SampleType, losses: list[str]) -> Row:
    metadata = parsed_metadata(row["metadata"])
    archive = metadata.pop(OLD_ARCHIVE, None)
    old = metadata.pop(OLD_KEY, None)
    if archive is None:
        losses.append("archive_kept")
    else:
        new["source_archive"], new["combined_sample_hash"] = archive, old
    return _completed(new, metadata, kind, "v1")


def _completed(new: Row, metadata: dict[str, Any], kind: SampleType, version: SchemaVersion) -> Row:
    if "schema_version" in metadata:
        metadata["schema_version"] = version
    # Published metadata may hold NaN, which stays.
    new["metadata"] = json.dumps(metadata, sort_keys=True, ensure_ascii=False)
    present = tuple(name for name in image_columns(version) if new[name] is not None)
    return new | derived_columns(kind, present, version)


def united(geometry: Geometry) -> Geometry:
    """The same views with both segments as one: mask A is their union, B is empty."""
    out = np.array(geometry)
    np.maximum(out[:, _A], out[:, _B], out=out[:, _A])
    out[:, _B] = 0
    return out


def _parted(geometry: Geometry, sides: list[NDArray[np.uint8]]) -> Geometry:
    out = np.array(geometry)
    stacked = np.stack(sides)
    out[:, _A], out[:, _B] = stacked == SPLIT_MASK_A, stacked == SPLIT_MASK_B
    # A dual render shows its two segments and nothing else: a third side is not drawn.
    return np.where((stacked == SPLIT_MASK_BACKGROUND)[:, None], np.float16(0), out)


def _split_masks(geometry: Geometry) -> NDArray[np.uint8]:
    a, b = geometry[:, _A] > 0, geometry[:, _B] > 0
    sides = np.full(a.shape, SPLIT_MASK_BACKGROUND, np.uint8)
    sides[a & ~b], sides[b & ~a] = SPLIT_MASK_A, SPLIT_MASK_B
    return sides
