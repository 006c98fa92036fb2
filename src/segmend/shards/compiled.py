"""What makes decoding faster where it is installed, and what takes its place where it is not."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from segmend.shards.memory import Pool

_MEMORY = Pool(at_most=8)
"""Of inflated pictures: 2.1 MB for a geometry, which the allocator would give back each time."""

# isal's own type stubs declare it an instance.
_IsalError: type[Exception] = isal_zlib.error  # type: ignore[assignment]


@cache
def kernels() -> Any:
    """`segmend.shards.kernels`, or None where numba is not installed."""
    return None if find_spec("numba") is None else import_module("segmend.shards.kernels")


class InflateError(Exception):
    """Deflated data that are damaged, or not of the size that was said."""


def inflate(data: bytes | memoryview, size: int, *, raw: bool) -> NDArray[np.uint8]:
    """Inflate data of a known size: by libdeflate, or ISA-L where imagecodecs is not installed.

    On views, which are mostly background, libdeflate is twice as fast.

    Args:
        data: A whole deflate stream.
        size: Bytes it must inflate to; never is more written.
        raw: Whether the stream is bare or in zlib's wrapping, whose checksum is checked.

    Returns:
        uint8 of that size.

    Raises:
        InflateError: if it is damaged, or inflates to another size.
    """
    library = _libdeflate()
    if library is None:
        return _inflate_isal(data, size, raw=raw)
    out = _MEMORY.empty((size,), np.uint8)
    try:
        found = library.deflate_decode(data, raw=raw, out=out)
    except library.DeflateError as error:
        raise InflateError(_wrong_size(size) if "SPACE" in str(error) else str(error)) from error
    if len(found) != size:
        raise InflateError(_wrong_size(size))
    return out


@cache
def _libdeflate() -> Any:
    return None if find_spec("imagecodecs") is None else import_module("imagecodecs")


def _inflate_isal(data: bytes | memoryview, size: int, *, raw: bool) -> NDArray[np.uint8]:
    inflater = isal_zlib.decompressobj(wbits=-15 if raw else 15)
    try:
        # One byte more than said: enough to notice a stream that goes on.
        inflated = inflater.decompress(data, size + 1)
    except _IsalError as error:
        raise InflateError(str(error)) from error
    if len(inflated) != size or not inflater.eof:
        raise InflateError(_wrong_size(size))
    return np.frombuffer(inflated, np.uint8)


def _wrong_size(size: int) -> str:
    return f"its data do not inflate to the declared {size} bytes"
