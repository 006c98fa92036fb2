"""Streams that inflate step by step: zlib, bzip2, xz. A bomb stops at the expected size."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from typing import Any, Literal, cast

from isal import igzip_lib

from segmend.volumes.codecs.piece import corrupt

StreamName = Literal["zlib", "bz2", "lzma"]

XZ_MEMORY = 2**28
"""Bytes an xz stream may ask for its dictionary; the strongest preset, 9, needs 65 MiB."""

MAX_MEMBERS = 4096
"""Streams that may follow one another in a chunk: many empty ones would cost time for nothing."""

_DAMAGED = (
    cast("type[Exception]", igzip_lib.error),  # which its stub takes for an instance
    OSError,
    lzma.LZMAError,
    EOFError,
    ValueError,
)

_OPEN: dict[StreamName, Callable[[], Any]] = {
    "zlib": lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_ZLIB),
    "bz2": bz2.BZ2Decompressor,
    "lzma": lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY),
}


def inflate(name: StreamName, data: bytes, size: int) -> bytes:
    """Decompress a chunk of one or more streams, one after the other.

    Args:
        name: The format.
        data: The streams, without anything after them but zeros.
        size: Bytes that they must give together.

    Raises:
        ReadFailedError: with reason ``corrupt``, for other bytes, a wrong checksum, or more or
            fewer than ``size`` bytes.
    """
    parts: list[bytes] = []
    room = size
    for _ in range(MAX_MEMBERS):
        stream = _OPEN[name]()
        part = _inflate_one(name, stream, data, room)
        parts.append(part)
        room -= len(part)
        data = stream.unused_data
        if not data.strip(b"\0"):
            break
    else:
        raise corrupt(f"{name}: more than {MAX_MEMBERS} streams in one chunk")
    if room:
        raise corrupt(f"{name}: it holds {size - room} bytes, expected {size}")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _inflate_one(name: StreamName, stream: Any, data: bytes, room: int) -> bytes:
    """One stream to its end; one byte more than there is room for proves a bomb."""
    parts: list[bytes] = []
    have = 0
    while not stream.eof:
        try:
            part = stream.decompress(data, room + 1 - have)
        except _DAMAGED as error:
            raise corrupt(f"{name}: {error}") from error
        parts.append(part)
        have += len(part)
        if have > room:
            raise corrupt(f"{name}: it inflates to more than the bytes expected")
        if not part and not stream.eof:
            raise corrupt(f"{name}: the stream is cut short")
        data = b""
    return parts[0] if len(parts) == 1 else b"".join(parts)
