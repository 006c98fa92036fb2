"""What must hold within one row: used before a row is written and when a shard is verified.

Every function returns the problems it found as short sentences, none meaning that all is well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import SchemaError, SegmendError
from segmend.core.sample import (
    EM_COLUMNS,
    GEOMETRY_SHAPE,
    PLANES,
    ROW_SCHEMAS,
    SAMPLE_TYPES,
    SCHEMA_VERSION,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_BACKGROUND,
    SPLIT_MASK_COLUMNS,
    SPLITS,
    SampleType,
    SchemaVersion,
    channel,
    combined_hash,
    em_channel,
    em_column,
)

IMAGE_COLUMNS = ("geometry", *EM_COLUMNS, *SPLIT_MASK_COLUMNS)
"""Columns that hold pixels, the ones ``present_slots`` counts."""

LABEL_COLUMNS = ("false_split_correction_label", "false_merge_identification_label")

Origin = Literal["metric", "published", "foreign"]
"""Who made a row: us, in one of two encodings, or others."""

# Bit patterns of float16: comparing them is several times faster than comparing halfs.
_ONE = np.uint16(0x3C00)
_MAGNITUDE = np.uint16(0x7FFF)
_EXPONENT = np.uint16(0x7C00)


def derived_columns(
    kind: SampleType, present: tuple[str, ...], version: SchemaVersion = SCHEMA_VERSION
) -> dict[str, Any]:
    """The columns of a row that follow from its sample type and from what it holds.

    Args:
        kind: Sample type.
        present: Image columns that are not null.
        version: Version of its schema.
    """
    always = {
        "sample_type": kind.name,
        "same_neuron": kind.same_neuron,
        "has_em": any(em_column(plane, version) in present for plane in PLANES),
        "present_slots": sorted(present),
    }
    if version == "v1":
        return always | _derived_v1(kind, present)
    masks = any(column in present for column in SPLIT_MASK_COLUMNS)
    return always | {
        "task_routing": list(kind.tasks(has_after_mask=masks)),
        **{
            column: kind.label if column == f"{kind.label_task}_label" else None
            for column in LABEL_COLUMNS
        },
        "has_after_mask": masks,
    }


def _derived_v1(kind: SampleType, present: tuple[str, ...]) -> dict[str, Any]:
    """As "Task routing & labels" of the card of the smoke-test set: labels say what type it is."""
    dual, single = "geometry" in present, "geometry_single" in present
    shown = dual if kind.dual else single
    routing = [kind.label_task] if shown else []
    routing += ["split_mask_generation"] if kind.name == "split_edit" and single else []
    return {
        "task_routing": routing,
        "false_split_correction_label": kind.same_neuron,
        "false_merge_identification_label": not kind.same_neuron,
        "has_dual_mask": dual,
        "has_single_mask": single,
    }


def column_problems(
    row: Mapping[str, Any], present: tuple[str, ...], version: SchemaVersion = SCHEMA_VERSION
) -> list[str]:
    """Problems of all columns but the pixels.

    Args:
        row: All columns of one row except, possibly, those that hold pixels.
        present: Image columns of the row that are not null.
        version: Version of its schema.
    """
    kind = SAMPLE_TYPES.get(row["sample_type"])
    if kind is None:
        return [f"sample_type is {row['sample_type']!r}"]
    problems = _nullability_problems(row, present, version)
    if problems:
        return problems
    masks = [c for c in SPLIT_MASK_COLUMNS if c in present]
    if masks and (kind.name != "split_edit" or len(masks) != len(SPLIT_MASK_COLUMNS)):
        problems.append(f"a {kind.name} row holds {', '.join(masks)}")
    for column, value in derived_columns(kind, present, version).items():
        if row[column] != value:
            problems.append(f"{column} is {row[column]!r}, a {kind.name} row must have {value!r}")
    return problems + _identity_problems(row)


def _nullability_problems(
    row: Mapping[str, Any], present: tuple[str, ...], version: SchemaVersion
) -> list[str]:
    problems = []
    for field in ROW_SCHEMAS[version]:
        null = field.name not in present if field.shape else row[field.name] is None
        if null and not field.nullable:
            problems.append(f"{field.name} is null")
    return problems


def _identity_problems(row: Mapping[str, Any]) -> list[str]:
    problems = []
    try:
        expected = combined_hash(row["source_archive"], row["source_archive_sample_hash"])
    except SegmendError as error:
        return [str(error)]
    if row["combined_sample_hash"] != expected:
        problems.append(
            f"combined_sample_hash is {row['combined_sample_hash']}, "
            f"md5 of archive|sample hash is {expected}"
        )
    if row["split"] not in SPLITS:
        problems.append(f"split is {row['split']!r}")
    try:
        row_origin(row["metadata"])
    except SchemaError as error:
        problems.append(str(error))
    return problems


def row_origin(metadata_text: str) -> Origin:
    """Who made a row, by what its metadata declare.

    Args:
        metadata_text: Its column ``metadata``.

    Returns:
        ``metric``, ``published``: ours, in that encoding; ``foreign``: as published by others,
        whose metadata know neither an encoding nor a schema version.

    Raises:
        SchemaError: if they are no JSON object, a row of ours declares no encoding, or
            one that does not exist.
    """
    metadata = parsed_metadata(metadata_text)
    encoding = metadata.get("encoding")
    if encoding is None and "schema_version" in metadata:
        raise SchemaError("a row of ours declares no encoding")
    return origin_of(encoding)


def origin_of(encoding: object) -> Origin:
    """Who made a row, by the encoding its metadata or its sidecar declare, None if they do not.

    Raises:
        SchemaError: if there is no such encoding.
    """
    if encoding is None:
        return "foreign"
    for known in get_args(Origin):
        if encoding == known != "foreign":
            origin: Origin = known
            return origin
    raise SchemaError("a row declares an unknown encoding", found=f"encoding is {encoding!r}")


def parsed_metadata(text: str) -> dict[str, Any]:
    """The metadata of a row.

    Raises:
        SchemaError: if they are no JSON object.
    """
    try:
        metadata = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise SchemaError("metadata is no JSON", found=str(error)) from error
    if not isinstance(metadata, dict):
        raise SchemaError("metadata is no JSON object", found=text[:80])
    return metadata


def pixel_problems(
    kind: SampleType,
    *,
    geometry: NDArray[np.float16],
    em: Mapping[str, NDArray[np.uint8]],
    split_masks: Mapping[str, NDArray[np.uint8]],
) -> list[str]:
    """Problems of the decoded pixels.

    Args:
        kind: Sample type of the row.
        geometry: float16, `GEOMETRY_SHAPE`.
        em: EM slices by any name, uint8, ``(rows, columns, 3)``.
        split_masks: Split masks by any name, uint8, ``(rows, columns)``.
    """
    return geometry_problems(geometry, dual=kind.dual) + slice_problems(
        kind, em=em, split_masks=split_masks
    )


def slice_problems(
    kind: SampleType,
    *,
    em: Mapping[str, NDArray[np.uint8]],
    split_masks: Mapping[str, NDArray[np.uint8]],
) -> list[str]:
    """Problems of the decoded EM slices and split masks; arguments as `pixel_problems`."""
    problems: list[str] = []
    mask_a, mask_b = em_channel("mask_a"), em_channel("mask_b")
    for name, image in em.items():
        masks = image[..., [mask_a, mask_b]]
        if not ((masks == 0) | (masks == 255)).all():
            problems.append(f"{name}: a mask holds values other than 0 and 255")
        elif kind.name == "junction_control" and image[..., mask_b].any():
            problems.append(f"{name}: mask B of a junction_control row is not empty")
    allowed = (SPLIT_MASK_A, SPLIT_MASK_B, SPLIT_MASK_BACKGROUND)
    for name, mask in split_masks.items():
        if not np.isin(mask, allowed).all():
            problems.append(f"{name}: values other than {allowed}")
    return problems


def geometry_problems(geometry: NDArray[np.float16], *, dual: bool) -> list[str]:
    """Problems of a geometry array.

    Args:
        geometry: float16, `GEOMETRY_SHAPE`.
        dual: Whether two segments are drawn; with one, mask B must be empty.
    """
    if geometry.shape != GEOMETRY_SHAPE or geometry.dtype != np.float16:
        return [f"geometry is {geometry.dtype} {geometry.shape}"]
    bits = np.ascontiguousarray(geometry).view(np.uint16)
    if ((bits & _EXPONENT) == _EXPONENT).any():
        return ["geometry holds NaN or infinity"]
    silhouette, mask_a, mask_b = (
        bits[:, channel(name)] for name in ("silhouette", "mask_a", "mask_b")
    )
    for name, plane in (("silhouette", silhouette), ("mask_a", mask_a), ("mask_b", mask_b)):
        if not ((plane == 0) | (plane == _ONE)).all():
            return [f"geometry: {name} holds values other than 0 and 1"]
    problems = []
    if not np.array_equal(silhouette, mask_a | mask_b):
        problems.append("geometry: the silhouette is not the union of masks A and B")
    if not dual and mask_b.any():
        problems.append("geometry: mask B of a single-segment row is not empty")
    # depth and normals: at most 1 in magnitude, and 0 where nothing is drawn
    drawn = bits[:, channel("depth") : channel("normal_z") + 1] & _MAGNITUDE
    if (drawn > _ONE).any() or (bits[:, channel("depth")] & ~_MAGNITUDE).any():
        problems.append("geometry: depth outside [0, 1] or a normal outside [-1, 1]")
    if (drawn * (silhouette == 0)[:, None]).any():
        problems.append("geometry: the background is not 0")
    return problems
