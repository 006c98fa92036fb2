"""Compressors that work on whole blocks: blosc, Zstandard, LZ4, through imagecodecs and numcodecs.

They trust sizes in headers where no output buffer is given, and leave the rest of a larger buffer
as it was; so headers are read here first, and the output buffer has the size expected.
"""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
from numcodecs import lz4, zstd
from numpy.typing import NDArray

from segmend.volumes.codecs.piece import corrupt

_BLOSC_HEADER = 16
"""Bytes of a Blosc 1 header: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst."""

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""RFC 8878, section 3.1.1."""


def decode_blosc(data: bytes, size: int) -> NDArray[np.uint8]:
    """Decompress a Blosc 1 chunk of ``size`` bytes.

    Raises:
        ReadFailedError: with reason ``corrupt``.
    """
    if len(data) < _BLOSC_HEADER:
        raise corrupt(f"blosc: {len(data)} bytes are less than its header")
    holds = int.from_bytes(data[4:8], "little")
    stored = int.from_bytes(data[12:16], "little")
    if stored != len(data):
        raise corrupt(f"blosc: its header says {stored} bytes, there are {len(data)}")
    return _into(_unblosc, "blosc", data, holds, size)


def _unblosc(data: bytes, out: NDArray[np.uint8]) -> None:
    # One thread: the engine has its own. numcodecs starts some when the main thread decodes.
    imagecodecs.blosc_decode(data, numthreads=1, out=out.data)


def decode_zstd(data: bytes, size: int) -> NDArray[np.uint8]:
    """Decompress one Zstandard frame of ``size`` bytes, whether or not it states its size.

    Raises:
        ReadFailedError: with reason ``corrupt``.
    """
    stated = zstd_content_size(data)
    return _into(zstd.decompress, "zstd", data, size if stated is None else stated, size)


def decode_lz4(data: bytes, size: int) -> NDArray[np.uint8]:
    """Decompress an LZ4 block behind its size, four bytes little-endian, as numcodecs writes it.

    Raises:
        ReadFailedError: with reason ``corrupt``.
    """
    if len(data) < 5:
        raise corrupt(f"lz4: {len(data)} bytes are less than a block")
    return _into(lz4.decompress, "lz4", data, int.from_bytes(data[:4], "little"), size)


def zstd_content_size(data: bytes) -> int | None:
    """Decompressed size that a Zstandard frame states, None where it states none.

    Frame header: RFC 8878, section 3.1.1.1.

    Raises:
        ReadFailedError: with reason ``corrupt``, if ``data`` does not start with a frame.
    """
    if len(data) < 6 or data[:4] != _ZSTD_MAGIC:
        raise corrupt("zstd: the data do not start with a frame")
    flags = data[4]
    single = bool(flags & 0x20)
    width = (1 if single else 0, 2, 4, 8)[flags >> 6]
    if not width:
        return None
    start = 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3]
    if len(data) < start + width:
        raise corrupt("zstd: the frame header is cut short")
    stated = int.from_bytes(data[start : start + width], "little")
    return stated + 256 if width == 2 else stated


def _into(decompress: Any, name: str, data: bytes, holds: int, size: int) -> NDArray[np.uint8]:
    if holds != size:
        raise corrupt(f"{name}: it holds {holds} bytes, expected {size}")
    out = np.empty(size, np.uint8)
    try:
        decompress(data, out)
    except (RuntimeError, ValueError) as error:
        raise corrupt(f"{name}: {error}") from error
    return out
