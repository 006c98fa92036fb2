"""Correcting published rows on reading, and saying what was done and what cannot be done."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import SchemaError
from segmend.core.sample import (
    PLANES,
    ROW_SCHEMAS,
    SAMPLE_TYPES,
    SCHEMA_VERSION,
    SPLIT_MASK_COLUMNS,
    SampleType,
    SchemaVersion,
    channel,
    draws_pair,
    em_channel,
    em_column,
)
from segmend.shards.checks import LABEL_COLUMNS, Origin, parsed_metadata, row_origin
from segmend.shards.compiled import kernels
from segmend.shards.rows import Row, decode_row

NEEDED = ("sample_type", "metadata")
"""Columns that `repaired_row` needs beside those it is asked for."""

_GEOMETRIES = ("geometry", "geometry_single")
_SLICES = {em_column(plane, version) for plane in PLANES for version in ROW_SCHEMAS}
_ONE = np.float16(1).view(np.uint16)
_SMALLEST_DEPTH = np.float16(2.0**-11).view(np.uint16)  # design, section 3
_NORMALS = slice(channel("normal_x"), channel("normal_z") + 1)
_EM = em_channel("em")
_MASKS = [em_channel("mask_a"), em_channel("mask_b")]
# Half floats are up to 0.03 codes away from the code they stand for.
_CODE_TOLERANCE = 0.1
# How far from 1 lengths may be on average. Rounding to codes moves them by 0.015 at most; measured
# on the published renderer is a mean of 0.998, but 0.83 and 1.14 with the curve (reference 1.6).
_LENGTH_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """A defect met in a column of a row.

    Attributes:
        defect: Its name in `DEFECTS`.
        column: Where.
        count: How many pixels or values it concerns, where that can be counted, else 0.
    """

    defect: str
    column: str
    count: int = 0


def repaired_row(
    row: Mapping[str, Any], columns: Iterable[str], version: SchemaVersion = SCHEMA_VERSION
) -> tuple[Row, tuple[Finding, ...]]:
    """Decode columns of a row and correct what its origin is known to get wrong.

    Args:
        row: As stored: those columns and `NEEDED`.
        columns: Columns to decode.
        version: Version of its schema.

    Returns:
        As `repair`, for those columns.

    Raises:
        ReadFailedError: if bytes are damaged.
        SchemaError: if a column holds something else than the schema says, or the origin of the
            row cannot be told.
    """
    kind = SAMPLE_TYPES.get(row["sample_type"])
    if kind is None:
        raise SchemaError(f"sample_type is {row['sample_type']!r}")
    origin = row_origin(row["metadata"])
    return repair(decode_row(row, columns), origin, kind=kind, version=version, in_place=True)


def repair(
    decoded: Mapping[str, Any],
    origin: Origin,
    *,
    kind: SampleType | None = None,
    version: SchemaVersion = SCHEMA_VERSION,
    in_place: bool = False,
) -> tuple[Row, tuple[Finding, ...]]:
    """Correct what rows of an origin are known to get wrong.

    Args:
        decoded: Any columns of a row as `decode_row` gives them.
        origin: What `row_origin` says of it.
        kind: Its sample type. Pictures are repaired alike without it, for it gives answers away;
            defects of pairs are then not named, nor labels freed of those of other tasks.
        version: Version of its schema: ``geometry`` of v1 always shows two segments.
        in_place: Whether the pictures given may be changed: memory for new ones takes time.

    Returns:
        The same columns, corrected; and every defect met in them, also those that cannot be
        repaired (`DEFECTS` tells which). Rows of the origin ``metric`` have none.
    """
    found: list[Finding] = []
    repaired = dict(decoded)
    for column, value in decoded.items():
        if value is not None and origin != "metric":
            changed = column in _GEOMETRIES or (origin == "foreign" and column in _SLICES)
            own = value.copy() if changed and not (in_place and value.flags.writeable) else value
            repaired[column], findings = _repaired(column, own, origin, kind, version)
            found += findings
    return repaired, tuple(found)


def _repaired(
    column: str, value: Any, origin: Origin, kind: SampleType | None, version: SchemaVersion
) -> tuple[Any, list[Finding]]:
    dual = kind is not None and kind.dual
    if column in _GEOMETRIES:
        pair = kind is not None and draws_pair(column, kind, version)
        return _repaired_geometry(value, column, origin, dual=pair)
    if origin != "foreign":
        return value, []
    if column in _SLICES:
        return _repaired_slice(value, column, dual=dual)
    if column in SPLIT_MASK_COLUMNS:
        return value, [Finding("split_mask_occlusion", column)]
    if column in LABEL_COLUMNS:
        return _repaired_label(value, column, kind)
    if column == "metadata":
        return _repaired_metadata(value)
    return value, []


def _repaired_geometry(
    geometry: NDArray[np.float16], column: str, origin: Origin, *, dual: bool
) -> tuple[NDArray[np.float16], list[Finding]]:
    bits = geometry.view(np.uint16)
    views = bits.reshape(*bits.shape[:2], -1)
    met = _repair_views(views, foreign=origin == "foreign")
    found = [Finding("depth_stretched", column)]
    if origin == "foreign":
        found += [Finding("background_drawn", column, met.background)] if met.background else []
        found.append(Finding("sampled_off_centre", column))
    if origin == "foreign" and dual:
        found.append(Finding("depth_per_segment", column))
        found += [Finding("occlusion_guessed", column, met.both)] if met.both else []
    if met.raised:
        found.append(Finding("depth_front_zero", column, met.raised))
    if met.drawn:
        name = "normals_srgb" if met.coded else "normals_unknown"
        found.append(Finding(name, column, met.drawn))
    return bits.view(np.float16), found


@dataclass(frozen=True, slots=True)
class _Views:
    """What was met in the views of a row.

    Attributes:
        background: Pixels of the background that were not 0.
        both: Pixels of both masks.
        raised: Drawn pixels whose depth was that of the background.
        drawn: Drawn pixels.
        coded: Whether the normals were sRGB-coded, and are linear now.
    """

    background: int
    both: int
    raised: int
    drawn: int
    coded: bool


def _repair_views(views: NDArray[np.uint16], *, foreign: bool) -> _Views:
    """Correct the bits of views ``(views, channels, pixels)``, in place."""
    compiled = kernels()
    if compiled is None:
        return _repair_by_numpy(views, foreign=foreign)
    halves, singles = _linear_of_coded()
    planes, masks = views[:, : _NORMALS.stop], views[:, channel("mask_a") :]
    met = compiled.repair_drawn(planes, masks, _SMALLEST_DEPTH, singles, foreign)
    background, both, raised, drawn, off = met
    # A component that is no code is NaN, and so is the sum.
    coded = bool(off <= _LENGTH_TOLERANCE * drawn) and drawn > 0
    if coded:
        compiled.straighten(planes, halves)
    return _Views(background, both, raised, drawn, coded)


def _repair_by_numpy(views: NDArray[np.uint16], *, foreign: bool) -> _Views:
    seen = views[:, channel("silhouette")] == _ONE
    background = _clear_background(views, seen) if foreign else 0
    both = views[:, channel("mask_a")] & views[:, channel("mask_b")]
    depth = views[:, channel("depth")]
    front = seen & (depth < _SMALLEST_DEPTH)
    depth[front] = _SMALLEST_DEPTH
    drawn, coded = int(np.count_nonzero(seen)), _undo_srgb(views[:, _NORMALS], seen)
    return _Views(background, int(np.count_nonzero(both)), int(front.sum()), drawn, coded)


def _clear_background(views: NDArray[np.uint16], seen: NDArray[np.bool_]) -> int:
    planes = views[:, channel("depth") : _NORMALS.stop]
    wrong = np.bitwise_or.reduce(planes, axis=1).astype(np.bool_) & ~seen
    planes *= seen[:, None]
    return int(np.count_nonzero(wrong))


def _undo_srgb(normals: NDArray[np.uint16], seen: NDArray[np.bool_]) -> bool:
    """Make the bits of sRGB-coded normals linear, in place, if that is what they are."""
    halves, singles = _linear_of_coded()
    pixels = [np.flatnonzero(drawn) for drawn in seen]
    count = sum(map(len, pixels))
    # Pixels first, then the table: most of a view is background.
    coded = [plane[:, at] for plane, at in zip(normals, pixels, strict=True)]
    off = sum(_off_length(singles.take(bits)) for bits in coded)
    # A component that is no code is NaN, and so is the sum.
    if not count or not off <= _LENGTH_TOLERANCE * count:
        return False
    for plane, at, bits in zip(normals, pixels, coded, strict=True):
        plane[:, at] = halves.take(bits)
    return True


def _off_length(vectors: NDArray[np.float32]) -> float:
    """How far the lengths of vectors ``(3, n)`` are from 1, summed up."""
    lengths = np.sqrt((vectors * vectors).sum(axis=0))
    return float(np.abs(lengths - 1).sum(dtype=np.float64))


@cache
def _linear_of_coded() -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """For the bits of a coded component the linear one, as bits of a half and as float32.

    NaN where no code is near.

    Coded is ``2 c - 1`` for one of 256 levels c of the curve of IEC 61966-2-1.
    """
    with np.errstate(invalid="ignore"):
        values = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)
        level = 255 * (values + 1) / 2
        code = np.rint(level)
        known = (abs(level - code) <= _CODE_TOLERANCE) & (code >= 0) & (code <= 255)
    curve = np.where(known, code, 0) / 255
    light = np.where(curve <= 0.04045, curve / 12.92, ((curve + 0.055) / 1.055) ** 2.4)
    linear = np.where(known, 2 * light - 1, np.nan)
    return linear.astype(np.float16).view(np.uint16), linear.astype(np.float32)


def _repaired_slice(
    image: NDArray[np.uint8], column: str, *, dual: bool
) -> tuple[NDArray[np.uint8], list[Finding]]:
    found = [Finding("em_pixel_size_unknown", column)]
    if dual:
        found.append(Finding("em_center_isotropic", column))
    binary, grey, seen = _cut_masks(image)
    if grey:
        found.append(Finding("em_masks_grey", column, grey))
    # One segment may lie on one side of its split altogether; two segments must both be seen.
    empty = 2 - sum(seen) if dual else int(not any(seen))
    if empty:
        found.append(Finding("em_mask_empty", column, empty))
    return binary, found


def _cut_masks(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int, tuple[bool, bool]]:
    """A slice with its masks cut at half, pixels changed, and whether A and B are seen."""
    compiled = kernels()
    if compiled is not None and image.flags.c_contiguous:
        grey, *seen = compiled.cut_masks(image.reshape(len(image), -1))
        return image, int(grey), (bool(seen[0]), bool(seen[1]))
    out = np.where(image >= 128, np.uint8(255), np.uint8(0))
    out[..., _EM] = image[..., _EM]
    a, b = out.max(axis=0).any(axis=0)[_MASKS]  # by rows first: they are contiguous
    return out, int(np.count_nonzero(out != image)), (bool(a), bool(b))


def upright(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An EM slice as it is usually shown: x (of ``em_yz``: y) to the right, the other axis down.

    Args:
        image: A stored slice, ``(rows, columns, 3)``.
    """
    return np.swapaxes(image, 0, 1)


def _repaired_label(
    value: bool | float, column: str, kind: SampleType | None
) -> tuple[float | None, list[Finding]]:
    if math.isnan(value):
        return None, [Finding("label_nan", column, 1)]
    own = kind is None or column == f"{kind.label_task}_label"
    if own and not isinstance(value, bool):
        return value, []
    return float(value) if own else None, [Finding("label_of_other_task", column, 1)]


def _repaired_metadata(text: str) -> tuple[str, list[Finding]]:
    metadata = parsed_metadata(text)
    if metadata.get("view_extent_nm") is None:
        return text, []
    metadata["view_extent_midpoint_nm"] = metadata.pop("view_extent_nm")
    # As published: other values must survive to the digit, whatever they are.
    return json.dumps(metadata), [Finding("view_extent_midpoint", "metadata", 1)]


def defect_names(findings: Iterable[Finding]) -> Iterator[str]:
    """Names of the defects of one row, each once, in order."""
    yield from dict.fromkeys(finding.defect for finding in findings)
