"""Rows of a table as Python values, pictures as views of the memory that Arrow read them into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa


def stored_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table one by one, like `Table.to_pylist` does it.

    Bytes, in columns of their own or in images, are not copied: they are a `memoryview`, which
    keeps the table's memory.

    Args:
        table: Columns of a shard, of the types of its schema.
    """
    columns = [_values(column) for column in table.columns]
    for values in zip(*columns, strict=True):
        yield dict(zip(table.column_names, values, strict=True))


def _values(column: pa.ChunkedArray[Any]) -> list[Any]:
    if pa.types.is_binary(column.type):
        return [view for chunk in column.chunks for view in _views(chunk)]
    if pa.types.is_struct(column.type) and pa.types.is_binary(column.type.field("bytes").type):
        return [image for chunk in column.chunks for image in _images(chunk)]
    return column.to_pylist()


def _views(array: Any) -> list[memoryview | None]:
    """Each value of an array of bytes."""
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1].tolist()
    content = memoryview(data).cast("B") if data is not None else memoryview(b"")
    valid = array.is_valid().to_pylist()
    return [
        content[begin:end] if there else None
        for begin, end, there in zip(ends[:-1], ends[1:], valid, strict=True)
    ]


def _images(array: Any) -> list[dict[str, Any] | None]:
    """Each value of an array of images: bytes and path."""
    parts = zip(
        array.is_valid().to_pylist(),
        _views(array.field("bytes")),
        array.field("path").to_pylist(),
        strict=True,
    )
    return [{"bytes": view, "path": path} if there else None for there, view, path in parts]
