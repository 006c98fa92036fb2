"""Zarr version 3: ``zarr.json``.

https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from segmend.core.errors import SchemaError
from segmend.volumes.codecs.chain import ByteCodec, Compressor, Crc32c, checked_chain
from segmend.volumes.drivers.zarr2 import parse_dtype
from segmend.volumes.drivers.zarr_array import Inner, StoredArray
from segmend.volumes.metadata import Extents, convert

Permutation = Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=7)]], msgspec.Meta(max_length=8)]


class Named(msgspec.Struct, frozen=True):
    """An extension point: a name and its configuration."""

    name: str
    configuration: dict[str, Any] = {}


class RegularGrid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of the chunk grid ``regular``."""

    chunk_shape: Extents


class KeyEncoding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of a chunk key encoding."""

    separator: Literal[".", "/"] | None = None


class Sharding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Configuration of the codec ``sharding_indexed``."""

    chunk_shape: Extents
    codecs: list[Named | str]
    index_codecs: list[Named | str]
    index_location: Literal["start", "end"] = "end"


class ZarrJson(msgspec.Struct, frozen=True):
    """The file ``zarr.json`` of an array."""

    zarr_format: Literal[3]
    node_type: Literal["array"]
    shape: Extents
    data_type: str
    chunk_grid: Named
    chunk_key_encoding: Named
    fill_value: Any
    codecs: list[Named | str]
    attributes: dict[str, Any] = {}
    dimension_names: list[str | None] | None = None
    storage_transformers: list[Any] = []


DTYPES = {
    "bool": "|b1", "uint8": "|u1", "int8": "|i1",
    "uint16": "<u2", "uint32": "<u4", "uint64": "<u8",
    "int16": "<i2", "int32": "<i4", "int64": "<i8", "float32": "<f4",
}  # fmt: skip

COMPRESSOR_NAMES = ("gzip", "zstd", "blosc")
"""Those that Zarr v3 names as we do."""


@dataclass(frozen=True, slots=True)
class _Codecs:
    """A list of codecs, taken apart."""

    order: tuple[int, ...]
    endian: str
    byte_codecs: tuple[ByteCodec, ...]
    sharding: Sharding | None


def parse_zarr_json(document: dict[str, Any], *, path: str, where: str) -> StoredArray:
    """Check the metadata of a Zarr v3 array.

    Args:
        document: Content of ``zarr.json``.
        path: The array within its store.
        where: Store and path, for messages.

    Raises:
        SchemaError: for what is not valid or not supported.
    """
    zarr = convert(document, ZarrJson, where)
    _check_understood(document, where)
    if zarr.data_type not in DTYPES:
        raise _unsupported("a data type", zarr.data_type, tuple(DTYPES), where)
    if zarr.chunk_grid.name != "regular":
        raise _unsupported("a chunk grid", zarr.chunk_grid.name, ("regular",), where)
    stored = tuple(convert(zarr.chunk_grid.configuration, RegularGrid, where).chunk_shape)
    codecs = _take_apart(zarr.codecs, len(zarr.shape), where)
    inner = None if codecs.sharding is None else _inner(codecs, stored, where)
    if codecs.sharding is not None:
        chunk_shape = tuple(codecs.sharding.chunk_shape)
        codecs = _take_apart(codecs.sharding.codecs, len(zarr.shape), f"a shard of {where}")
        if codecs.sharding is not None:
            raise SchemaError(f"{where} has shards within shards", fix="Rewrite it with one level")
    else:
        chunk_shape = stored
    prefix, separator = _key_encoding(zarr.chunk_key_encoding, where)
    dtype = parse_dtype(DTYPES[zarr.data_type], where)
    return StoredArray(
        where=where,
        path=path,
        shape=tuple(zarr.shape),
        chunk_shape=chunk_shape,
        dtype=dtype.newbyteorder(">") if codecs.endian == "big" else dtype,
        order=codecs.order,
        codecs=codecs.byte_codecs,
        key_prefix=prefix,
        separator=separator,
        fill_value=zarr.fill_value,
        names=_names(zarr, where),
        attributes=zarr.attributes,
        inner=inner,
    )


def _take_apart(listed: Sequence[Named | str], rank: int, where: str) -> _Codecs:
    """Array to array, array to bytes, bytes to bytes: in this order, one of the second kind."""
    named = [Named(codec) if isinstance(codec, str) else codec for codec in listed]
    order = tuple(range(rank))
    while named and named[0].name == "transpose":
        order = _transposed(order, named.pop(0), where)
    if not named or named[0].name not in ("bytes", "sharding_indexed"):
        found = named[0].name if named else "none"
        raise _unsupported("a codec", found, ("transpose", "bytes", "sharding_indexed"), where)
    first, *rest = named
    if first.name == "bytes":
        endian = _endian(first, where)
        return _Codecs(
            order, endian, checked_chain([_byte_codec(c, where) for c in rest], where), None
        )
    if rest or order != tuple(range(rank)):
        raise SchemaError(
            f"{where} encodes whole shards further",
            found=", ".join(codec.name if isinstance(codec, Named) else codec for codec in listed),
            fix="Chunks within such shards cannot be read one by one: put codecs into the shards",
        )
    return _Codecs(order, "little", (), convert(first.configuration, Sharding, where))


def _transposed(order: tuple[int, ...], codec: Named, where: str) -> tuple[int, ...]:
    by = codec.configuration.get("order")
    if by in ("C", "F"):  # of early drafts of the specification
        return order if by == "C" else order[::-1]
    axes = convert(by, Permutation, f"codec 'transpose' of {where}")
    if sorted(axes) != list(range(len(order))):
        raise SchemaError(f"{where} has an unusable codec 'transpose'", found=f"order {axes}")
    return tuple(order[axis] for axis in axes)


def _endian(codec: Named, where: str) -> str:
    endian = codec.configuration.get("endian", "little")
    if endian not in ("little", "big"):
        raise SchemaError(f"{where} has an unusable codec 'bytes'", found=f"endian {endian!r}")
    return str(endian)


def _byte_codec(codec: Named, where: str) -> ByteCodec:
    if codec.name == "crc32c":
        return Crc32c()
    if codec.name in COMPRESSOR_NAMES:
        return Compressor(codec.name)
    raise _unsupported("a codec", codec.name, (*COMPRESSOR_NAMES, "crc32c"), where)


def _inner(codecs: _Codecs, shard_shape: tuple[int, ...], where: str) -> Inner:
    sharding = codecs.sharding
    assert sharding is not None
    pairs = zip(shard_shape, sharding.chunk_shape, strict=False)
    fits = len(shard_shape) == len(sharding.chunk_shape) and not any(s % c for s, c in pairs)
    index = _take_apart(sharding.index_codecs, len(shard_shape) + 1, f"the shard index of {where}")
    plain = index.sharding is None and index.order == tuple(range(len(shard_shape) + 1))
    if not fits or not plain or index.endian != "little":
        raise SchemaError(
            f"{where} has an unusable codec 'sharding_indexed'",
            found=f"shards {shard_shape} of chunks {tuple(sharding.chunk_shape)}, index codecs "
            f"{[c if isinstance(c, str) else c.name for c in sharding.index_codecs]}",
            fix="Shards hold whole chunks; their index is little-endian, with crc32c or without",
        )
    return Inner(shard_shape, sharding.index_location == "start", index.byte_codecs)


def _key_encoding(encoding: Named, where: str) -> tuple[str, str]:
    """What a chunk's key starts with, and its separator."""
    if encoding.name not in ("default", "v2"):
        raise _unsupported("a chunk key encoding", encoding.name, ("default", "v2"), where)
    asked = convert(encoding.configuration, KeyEncoding, where).separator
    if encoding.name == "v2":
        return "", asked or "."
    return f"c{asked or '/'}", asked or "/"


def _names(zarr: ZarrJson, where: str) -> tuple[str, ...] | None:
    names = zarr.dimension_names
    if names is None or not any(names):
        return None
    if len(names) != len(zarr.shape):
        raise SchemaError(f"{where} does not name each of its axes once", found=repr(names))
    return tuple(name or f"axis{axis}" for axis, name in enumerate(names))


def _check_understood(document: Mapping[str, Any], where: str) -> None:
    """What is unknown must say that it may be ignored (core specification, extensions)."""
    known = set(ZarrJson.__struct_fields__) | {"consolidated_metadata"}
    for name in document.keys() - known:
        value = document[name]
        if not (isinstance(value, dict) and value.get("must_understand") is False):
            raise SchemaError(f"{where} needs an extension that segmend does not know", found=name)
    if document.get("storage_transformers"):
        raise SchemaError(f"{where} has storage transformers", fix="Rewrite it without them")


def _unsupported(what: str, found: str, known: Sequence[str], where: str) -> SchemaError:
    return SchemaError(
        f"{where} has {what} that segmend does not read",
        found=found[:100],
        fix=f"Known: {', '.join(known)}",
    )
