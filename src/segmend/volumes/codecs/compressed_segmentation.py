"""Neuroglancer's ``compressed_segmentation``, decoded strictly and only where it is wanted.

The format (neuroglancer, ``src/sliceview/compressed_segmentation/README.md``): per channel, blocks
of labels, x fastest; per block a header of two words (24 bits: where its table of labels starts, 8
bits: bits per voxel; 32 bits: where its indices into the table start), all offsets in words of 32
bits from the start of the channel.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.box import Triple
from segmend.volumes.codecs.piece import Piece, corrupt

BLOCK = 8
"""The block edge that nearly every volume uses; the kernel has a faster path for it."""

_BAD_BITS, _BAD_VALUES, _BAD_TABLE, _BAD_INDEX = 1, 2, 3, 4

_FAULTS = {
    _BAD_BITS: "a number of bits per voxel that is none of 0, 1, 2, 4, 8, 16 and 32",
    _BAD_VALUES: "indices that reach past the end",
    _BAD_TABLE: "a table of labels that starts past the end",
    _BAD_INDEX: "an index past the end of the data",
}


def decode_compressed_segmentation(
    data: bytes, piece: Piece, out: NDArray[np.uint32] | NDArray[np.uint64], *, block: Triple
) -> None:
    """Decode a part of one channel.

    Args:
        data: The chunk.
        piece: What is wanted of it.
        out: uint32 or uint64 ``(z, y, x)``, as large as the part; any strides.
        block: Voxels per block, ``(z, y, x)``.

    Raises:
        ReadFailedError: with reason ``corrupt``, if an offset points outside the data.
    """
    if len(data) % 4:
        raise corrupt(f"compressed_segmentation of {len(data)} bytes, which is no number of words")
    words = np.frombuffer(data, "<u4")
    blocks = tuple(-(-n // b) for n, b in zip(piece.shape, block, strict=True))
    first = int(words[piece.channel]) if piece.channel < len(words) else -1
    if first < piece.channels or first + 2 * blocks[0] * blocks[1] * blocks[2] > len(words):
        raise corrupt(f"compressed_segmentation of {len(data)} bytes has no room for its headers")
    low = tuple(part.start for part in piece.part)
    fault, at = _decode(words[first:], blocks, block, low, out)
    if fault:
        raise corrupt(f"block {at} of the compressed_segmentation has {_FAULTS[fault]}")


@njit(cache=True, nogil=True)
def _decode(words, blocks, size, low, out):  # type: ignore[no-untyped-def]
    """Decode the blocks that ``out`` touches; a fault and its block, or (0, 0)."""
    depth, height, width = out.shape
    labels = np.empty(16, out.dtype)
    for bz in range(low[0] // size[0], (low[0] + depth - 1) // size[0] + 1):
        z0, z1 = max(bz * size[0], low[0]), min((bz + 1) * size[0], low[0] + depth)
        for by in range(low[1] // size[1], (low[1] + height - 1) // size[1] + 1):
            y0, y1 = max(by * size[1], low[1]), min((by + 1) * size[1], low[1] + height)
            for bx in range(low[2] // size[2], (low[2] + width - 1) // size[2] + 1):
                x0, x1 = max(bx * size[2], low[2]), min((bx + 1) * size[2], low[2] + width)
                at = (bz * blocks[1] + by) * blocks[2] + bx
                inside = (z0 - bz * size[0], y0 - by * size[1], x0 - bx * size[2])
                part = out[
                    z0 - low[0] : z1 - low[0], y0 - low[1] : y1 - low[1], x0 - low[2] : x1 - low[2]
                ]
                fault = _decode_block(words, at, size, inside, labels, part)
                if fault:
                    return fault, at
    return 0, 0


@njit(cache=True, nogil=True)
def _decode_block(words, at, size, inside, labels, out):  # type: ignore[no-untyped-def]
    """Decode the part of one block that starts ``inside`` it; 0 or a fault."""
    header = np.int64(words[2 * at])
    table, bits = header & 0xFFFFFF, header >> 24
    values = np.int64(words[2 * at + 1])
    wide = out.itemsize // 4
    total = len(words)
    if table + wide > total:
        return _BAD_TABLE
    if bits == 0:
        out[:, :, :] = _label(words, table, wide)
        return 0
    if bits > 32 or bits & (bits - 1):
        return _BAD_BITS
    depth, height, width = out.shape
    start = (inside[0] * size[1] + inside[1]) * size[2] + inside[2]
    last = start + ((depth - 1) * size[1] + height - 1) * size[2] + width - 1
    if values + (last * bits >> 5) >= total:
        return _BAD_VALUES
    entries = (total - table) // wide
    if bits <= 4 and (1 << bits) <= entries and width == size[2] == BLOCK:
        for i in range(1 << bits):
            labels[i] = _label(words, table + i * wide, wide)
        # With a literal number of bits the compiler unrolls the row.
        if bits == 1:
            _decode_rows(words, values, start, size[1], labels, np.int64(1), out)
        elif bits == 2:
            _decode_rows(words, values, start, size[1], labels, np.int64(2), out)
        else:
            _decode_rows(words, values, start, size[1], labels, np.int64(4), out)
        return 0
    mask = (np.int64(1) << bits) - 1
    for z in range(depth):
        for y in range(height):
            bit = (start + (z * size[1] + y) * size[2]) * bits
            for x in range(width):
                index = np.int64(words[values + (bit >> 5)]) >> (bit & 31) & mask
                if index >= entries:
                    return _BAD_INDEX
                out[z, y, x] = _label(words, table + index * wide, wide)
                bit += bits
    return 0


@njit(cache=True, nogil=True, inline="always")
def _decode_rows(words, values, start, height, labels, bits, out):  # type: ignore[no-untyped-def]
    """Decode whole rows of a block whose rows have 8 voxels and at most one word."""
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            bit = (start + (z * height + y) * BLOCK) * bits
            row = np.int64(words[values + (bit >> 5)]) >> (bit & 31)
            for x in range(BLOCK):
                out[z, y, x] = labels[row >> (x * bits) & ((1 << bits) - 1)]


@njit(cache=True, nogil=True, inline="always")
def _label(words, at, wide):  # type: ignore[no-untyped-def]
    low = np.uint64(words[at])
    if wide == 1:
        return low
    return low | np.uint64(words[at + 1]) << np.uint64(32)
