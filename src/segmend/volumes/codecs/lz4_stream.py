"""LZ4 as Java writes it: a stream of checked blocks, which N5 uses.

https://github.com/lz4/lz4-java, class ``LZ4BlockOutputStream``: per block the magic, a token (high
half: method), compressed and decompressed length and a checksum, all little-endian; the checksum is
the xxHash32 of the decompressed block, of which four bits are dropped. A block of length 0 ends it.
"""

from __future__ import annotations

import struct

import numpy as np
import xxhash
from numpy.typing import NDArray

from segmend.volumes.codecs.blocks import decode_lz4
from segmend.volumes.codecs.piece import corrupt

_HEADER = struct.Struct("<8sBiiI")
_MAGIC = b"LZ4Block"
_RAW, _COMPRESSED = 0x10, 0x20
_SEED = 0x9747B28C
_CHECKED_BITS = 0x0FFFFFFF


def decode_lz4_stream(data: bytes, size: int) -> NDArray[np.uint8]:
    """Decompress a stream of blocks that holds ``size`` bytes, checksums verified.

    Raises:
        ReadFailedError: with reason ``corrupt``.
    """
    out = np.empty(size, np.uint8)
    at = done = 0
    while True:
        if len(data) - at < _HEADER.size:
            raise corrupt("lz4: the stream is cut short")
        magic, token, stored, holds, checksum = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        if magic != _MAGIC or stored < 0 or holds < 0 or stored > len(data) - at:
            raise corrupt(f"lz4: no valid block before byte {at}")
        if not holds:
            break
        if holds > size - done:
            raise corrupt(f"lz4: it holds more than the {size} bytes expected")
        block = _block(data[at : at + stored], token & 0xF0, holds)
        if xxhash.xxh32_intdigest(block, _SEED) & _CHECKED_BITS != checksum:
            raise corrupt(f"lz4: wrong checksum of the block that ends at byte {at + stored}")
        out[done : done + holds] = np.frombuffer(block, np.uint8)
        at, done = at + stored, done + holds
    if done != size:
        raise corrupt(f"lz4: it holds {done} bytes, expected {size}")
    return out


def _block(data: bytes, method: int, size: int) -> bytes | memoryview:
    if method == _RAW and len(data) == size:
        return data
    if method == _COMPRESSED:
        # decode_lz4 takes a block behind its size.
        return decode_lz4(size.to_bytes(4, "little") + data, size).data
    raise corrupt(f"lz4: a block of {size} bytes, {len(data)} stored, by method {method:#x}")
