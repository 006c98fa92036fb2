"""Metadata files of chunked formats: JSON that others wrote, read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError
from segmend.store.store import Request, Store

MAX_BYTES = 2**26
"""Larger metadata are refused; consolidated ones of thousands of arrays take a few megabytes."""

Extent = Annotated[int, msgspec.Meta(ge=1, le=2**48)]
"""Elements along an axis."""

Extents = Annotated[list[Extent], msgspec.Meta(min_length=1, max_length=8)]
"""A shape."""

T = TypeVar("T")


def read_json(store: Store, keys: Sequence[str]) -> list[dict[str, Any] | None]:
    """Read JSON objects, several at a time; None for one that is certified absent.

    Raises:
        ReadFailedError: if one cannot be read.
        SchemaError: if one is not a JSON object, or a name leaves the store.
    """
    documents: list[dict[str, Any] | None] = [None] * len(keys)
    for position, data in store.read_many([Request(key) for key in keys]):
        if data is not None:
            documents[position] = parse_json(data, f"{store.url}/{keys[position]}")
    return documents


def probe_json(store: Store, keys: Sequence[str]) -> tuple[int, dict[str, Any]] | None:
    """The first JSON object that exists, and its place in ``keys``.

    Some buckets answer *forbidden* for what does not exist, so that another name may still work.

    Raises:
        ReadFailedError: if none exists and one was refused; or any other failure.
        SchemaError: if it is not a JSON object.
    """
    refused = None
    for position, key in enumerate(keys):
        try:
            (document,) = read_json(store, [key])
        except ReadFailedError as error:
            if error.reason != "forbidden":
                raise
            refused = refused or error
            continue
        if document is not None:
            return position, document
    if refused is not None:
        raise refused
    return None


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """Parse one JSON object.

    Attributes that users wrote may hold NaN, which JSON proper has not; the fields that segmend
    uses are checked one by one.

    Raises:
        SchemaError: if it is not one.
    """
    if len(data) > MAX_BYTES:
        raise SchemaError(f"{where} is too large for metadata", found=f"{len(data)} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        found = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise SchemaError(f"{where} is not valid JSON", found=found) from error
    if not isinstance(document, dict):
        raise SchemaError(f"{where} is not a JSON object", found=type(document).__name__)
    return document


def convert(document: Any, kind: type[T], where: str) -> T:
    """Check a document against a `msgspec.Struct`.

    Raises:
        SchemaError: naming the field and what is wrong with it.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise SchemaError(f"{where} has unusable metadata", found=str(error)) from error


def join(*parts: str) -> str:
    """A key below the store's root; empty parts are left out."""
    return "/".join(part for part in parts if part)


def check_path(store: Store, path: str) -> None:
    """Check that a path of the caller's stays below the store's root.

    Raises:
        BadInputError: if it does not.
    """
    if path:
        try:
            Request(path)
        except BadInputError as error:
            raise BadInputError(f"'{path}' cannot lie in {store.url}", found=str(error)) from error


def canonical(documents: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Metadata as bytes that depend on nothing but their content: what the cache is keyed by."""
    return [json.dumps(document, sort_keys=True).encode() for document in documents]
