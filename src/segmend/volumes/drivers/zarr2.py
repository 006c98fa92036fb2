"""Zarr version 2: ``.zarray`` and ``.zattrs``.

https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from segmend.core.errors import SchemaError
from segmend.volumes.codecs.chain import (
    COMPRESSORS,
    ByteCodec,
    Compressor,
    Crc32c,
    Filter,
    checked_chain,
)
from segmend.volumes.drivers.zarr_array import StoredArray
from segmend.volumes.metadata import Extents, convert
from segmend.volumes.stated import stored_dtype


class Zarray(msgspec.Struct, frozen=True):
    """The file ``.zarray``."""

    zarr_format: Literal[2]
    shape: Extents
    chunks: Extents
    dtype: str
    order: Literal["C", "F"]
    compressor: dict[str, Any] | None
    fill_value: Any
    filters: list[dict[str, Any]] | None = None
    dimension_separator: Literal[".", "/"] = "."


def parse_zarray(
    document: dict[str, Any], attributes: dict[str, Any], *, path: str, where: str
) -> StoredArray:
    """Check the metadata of a Zarr v2 array.

    Args:
        document: Content of ``.zarray``.
        attributes: Content of ``.zattrs``.
        path: The array within its store.
        where: Store and path, for messages.

    Raises:
        SchemaError: for what is not valid or not supported; objects and pickles are refused.
    """
    zarray = convert(document, Zarray, where)
    dtype = parse_dtype(zarray.dtype, where)
    axes = range(len(zarray.shape))
    codecs: list[ByteCodec] = [parse_filter(c, where) for c in zarray.filters or ()]
    if zarray.compressor is not None:
        codecs.append(parse_compressor(zarray.compressor, where))
    return StoredArray(
        where=where,
        path=path,
        shape=tuple(zarray.shape),
        chunk_shape=tuple(zarray.chunks),
        dtype=dtype,
        order=tuple(axes if zarray.order == "C" else reversed(axes)),
        codecs=checked_chain(codecs, where),
        key_prefix="",
        separator=zarray.dimension_separator,
        fill_value=zarray.fill_value,
        names=xarray_names(attributes, where),
        attributes=attributes,
    )


_DTYPE = re.compile(r"[<>|][biuf]\d{1,2}")

_CHECKSUM_BYTES = 4
"""What crc32, adler32 and fletcher32 of numcodecs add."""


def parse_dtype(name: str, where: str) -> np.dtype[Any]:
    """A NumPy dtype string of numbers or bool; never objects, strings or structures.

    Raises:
        SchemaError: for anything else.
    """
    try:
        dtype = np.dtype(name) if _DTYPE.fullmatch(name) else None
    except TypeError:
        dtype = None
    if dtype is None:
        raise SchemaError(
            f"{where} cannot be a volume",
            found=f"its dtype is {name!r}",
            fix="A volume holds integers, or float32 for predictions",
        )
    if dtype != np.bool_:
        stored_dtype(where, dtype)
    return dtype


def parse_compressor(config: Mapping[str, Any], where: str) -> ByteCodec:
    """One of `COMPRESSORS`, by its numcodecs configuration.

    Raises:
        SchemaError: for any other.
    """
    name = config.get("id")
    # Raw LZMA (format 3) has neither header nor checksum.
    if name not in COMPRESSORS or (name == "lzma" and config.get("format", 1) not in (1, 2)):
        raise SchemaError(
            f"{where} is compressed in a way that segmend does not read",
            found=repr(dict(config))[:200],
            fix=f"Known: {', '.join(COMPRESSORS)}, or null",
        )
    return Compressor(str(name))


def parse_filter(config: Mapping[str, Any], where: str) -> ByteCodec:
    """A filter of numcodecs that is a pure function of numbers; never pickles or objects.

    Raises:
        SchemaError: for any other.
    """
    match dict(config):
        case {"id": "shuffle", "elementsize": int(size), **rest} if 0 < size <= 16 and not rest:
            return Filter((("id", "shuffle"), ("elementsize", size)))
        case {"id": "delta", "dtype": str(dtype), **rest} if rest.keys() <= {"astype"}:
            stored = str(rest.get("astype", dtype))
            plain, wide = parse_dtype(dtype, where), parse_dtype(stored, where)
            pairs = (("id", "delta"), ("dtype", dtype), ("astype", stored))
            return Filter(pairs, numerator=wide.itemsize, denominator=plain.itemsize)
        case {"id": "crc32c", **rest} if rest.get("location", "end") == "end":
            return Crc32c()
        case {"id": "crc32" | "adler32" | "fletcher32" as name, **rest} if rest.keys() <= {
            "location"
        } and rest.get("location", "start") in ("start", "end"):
            return Filter((("id", name), *rest.items()), extra=_CHECKSUM_BYTES)
    raise SchemaError(
        f"{where} has a filter that segmend does not read",
        found=repr(dict(config))[:200],
        fix="Known: shuffle, delta, crc32, crc32c, adler32, fletcher32",
    )


def xarray_names(attributes: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
    """Names of the axes as xarray writes them to Zarr v2.

    Raises:
        SchemaError: if they are not names.
    """
    names = attributes.get("_ARRAY_DIMENSIONS")
    if names is None:
        return None
    return tuple(convert(names, list[str], f"'_ARRAY_DIMENSIONS' of {where}"))
