"""Names of the segments of a precomputed volume, as its ``segment_properties`` give them.

The format (neuroglancer, ``src/datasource/precomputed/segment_properties.md``): the volume's
``info`` names a folder, whose ``info`` holds ids as decimal strings and properties of which at most
one has the type ``label``. Strictly parsed: it may come from anywhere.
"""

from __future__ import annotations

import posixpath
from typing import TypeVar

import msgspec

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError
from segmend.core.ids import as_id
from segmend.store.store import Request, Store

T = TypeVar("T")

MAX_BYTES = 2**26
"""Largest file of names that is parsed; that of 100,000 neurons has some megabytes."""


class _Volume(msgspec.Struct):
    segment_properties: str = ""


class _Property(msgspec.Struct):
    id: str
    type: str
    values: list[msgspec.Raw] = []


class _Inline(msgspec.Struct):
    ids: list[str]
    properties: list[_Property]


class _Properties(msgspec.Struct):
    inline: _Inline
    kind: str = msgspec.field(name="@type", default="")


def read_segment_names(store: Store) -> dict[int, str]:
    """Names by segment id.

    Args:
        store: The folder of the volume, which holds ``info``.

    Returns:
        Name by id, in the order of the file; empty if the volume names no segments.

    Raises:
        ReadFailedError: if a file cannot be read, or the one that ``info`` names is missing.
        SchemaError: if the names are not laid out as the format says.
    """
    info = _decode(_read(store, "info"), _Volume, f"{store.url}/info")
    if not info.segment_properties:
        return {}
    key = posixpath.normpath(posixpath.join(info.segment_properties, "info"))
    try:
        Request(key)
    except BadInputError as error:
        raise SchemaError(
            f"{store.url}/info keeps its names outside its own folder",
            found=f"segment_properties is {info.segment_properties!r}",
        ) from error
    where = f"{store.url}/{key}"
    properties = _decode(_read(store, key), _Properties, where)
    if properties.kind != "neuroglancer_segment_properties":
        raise SchemaError(f"{where} holds no segment names", found=f"@type is {properties.kind!r}")
    return _names(properties.inline, where)


def _names(inline: _Inline, where: str) -> dict[int, str]:
    labels = [p for p in inline.properties if p.type == "label"]
    if not labels:
        return {}
    values = [_decode(value, str, where) for value in labels[0].values]
    try:
        names = {as_id(i): name for i, name in zip(inline.ids, values, strict=True)}
    except ValueError as error:
        raise SchemaError(f"{where} cannot be used", found=str(error)) from error
    if len(names) != len(values):
        raise SchemaError(f"{where} names a segment twice")
    return names


def _read(store: Store, key: str) -> bytes:
    data = store.read(key)
    if data is None:
        raise ReadFailedError(
            f"there is no {store.url}/{key}", reason="missing", url=f"{store.url}/{key}"
        )
    if len(data) > MAX_BYTES:
        raise SchemaError(f"{store.url}/{key} is too large", found=f"{len(data)} bytes")
    return data


def _decode(data: bytes | msgspec.Raw, kind: type[T], where: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaError(f"{where} cannot be used", found=str(error)) from error
