"""One row of a benchmark, made from pictures and facts, and decoded again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError
from segmend.core.sample import (
    ROW_SCHEMA,
    ROW_SCHEMAS,
    Split,
    combined_hash,
    em_column,
    sample_type,
    split_mask_column,
)
from segmend.core.schema import Field
from segmend.shards.checks import column_problems, derived_columns, pixel_problems
from segmend.shards.codecs import decode_geometry, decode_png, encode_geometry, encode_png

# Above this a JSON number is no longer exact in readers that know only float64.
_MAX_JSON_INTEGER = 2**53

Row = dict[str, Any]
"""A row as `pyarrow` takes it: column name to value, images as ``{"bytes", "path"}``."""


@dataclass(frozen=True, slots=True)
class RowIdentity:
    """What a row is about.

    Attributes:
        archive: Column ``source_archive``.
        sample_hash: Column ``source_archive_sample_hash``.
        kind: Name of the sample type.
        split: ``train``, ``validation`` or ``test``.
        species: Animal, or ``synthetic``.
    """

    archive: str
    sample_hash: str
    kind: str
    split: Split
    species: str


def make_row(
    identity: RowIdentity,
    *,
    geometry: NDArray[np.float16],
    em: Mapping[str, NDArray[np.uint8]],
    split_masks: Mapping[str, NDArray[np.uint8]],
    metadata: Mapping[str, Any],
) -> Row:
    """Encode a full row; labels, routing, flags and slots follow from the sample type.

    Args:
        identity: What the row is about.
        geometry: float16, `GEOMETRY_SHAPE`.
        em: EM slices by plane, uint8 ``(224, 224, 3)``; any subset of the planes, or none.
        split_masks: Split masks by view, uint8 ``(224, 224)``; all views of a ``split_edit`` whose
            state after the edit is known, else none.
        metadata: Provenance for the column ``metadata``, as JSON values; ids as decimal strings.

    Returns:
        Every column of `ROW_SCHEMA`.

    Raises:
        SchemaError: if an array has another shape, dtype or range than the schema.
        BadInputError: if the metadata cannot be written as exact JSON, or a name is unknown.
    """
    kind = sample_type(identity.kind)
    images = {em_column(plane): image for plane, image in em.items()}
    masks = {split_mask_column(view): mask for view, mask in split_masks.items()}
    _check_images({**images, **masks})
    problems = pixel_problems(kind, geometry=geometry, em=images, split_masks=masks)
    present = ("geometry", *images, *masks)
    row = {
        "combined_sample_hash": combined_hash(identity.archive, identity.sample_hash),
        "source_archive_sample_hash": identity.sample_hash,
        "source_archive": identity.archive,
        "split": identity.split,
        "species": identity.species,
        "metadata": json_text(metadata),
        **derived_columns(kind, present),
    }
    problems += column_problems(row, present)
    if problems:
        raise SchemaError(f"row {row['combined_sample_hash']} is wrong", found="; ".join(problems))
    row["geometry"] = encode_geometry(geometry)
    for column, image in {**images, **masks}.items():
        row[column] = {"bytes": encode_png(image), "path": None}
    return {name: row.get(name) for name in ROW_SCHEMA.names}


def json_text(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON text: sorted keys, no NaN, no integer that a reader could round.

    Raises:
        BadInputError: naming the value that cannot be written exactly.
    """
    _check_integers(metadata, "metadata")
    try:
        return json.dumps(metadata, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise BadInputError("metadata cannot be written as JSON", found=str(error)) from error


def _check_integers(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_integers(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_integers(item, where)
    elif isinstance(value, int) and abs(value) > _MAX_JSON_INTEGER:
        raise BadInputError(
            f"{where} holds the integer {value}",
            found="JSON readers round integers above 2**53",
            fix="Write ids as decimal strings",
        )


def _check_images(images: Mapping[str, NDArray[np.uint8]]) -> None:
    for column, image in images.items():
        if image.dtype != np.uint8 or image.shape != ROW_SCHEMA[column].shape:
            raise SchemaError(
                f"{column} has another shape or dtype than the schema",
                found=f"{image.dtype} {image.shape}",
                fix=f"Give uint8 {ROW_SCHEMA[column].shape}",
            )


def decode_row(row: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """Decode the named columns of a row.

    Args:
        row: At least those columns, as stored.
        columns: Columns to decode.

    Returns:
        Column to value: arrays for geometry (float16) and images (uint8), None for a
        null image, other values as they are.

    Raises:
        ReadFailedError: if bytes are damaged.
        SchemaError: if they hold something else than the schema says.
    """
    return {name: _decoded(name, row[name]) for name in columns}


def _decoded(column: str, value: Any) -> Any:
    field = _field(column)
    if value is None or not field.shape:
        return value
    try:
        if field.dtype == "png":
            return decode_png(_image_bytes(value), field.shape)
        return decode_geometry(value)
    except (ReadFailedError, SchemaError) as error:
        error.asked = f"{column}: {error.asked}"
        raise


@cache
def _field(column: str) -> Field:
    """A column of any version; one of both is decoded alike."""
    known = (schema for schema in ROW_SCHEMAS.values() if column in schema.names)
    return next(known, ROW_SCHEMA)[column]


def _image_bytes(value: Mapping[str, Any]) -> bytes | memoryview:
    if value["bytes"] is None:
        raise ReadFailedError("an image has no bytes", found=f"path {value['path']!r}")
    content: bytes | memoryview = value["bytes"]
    return content
