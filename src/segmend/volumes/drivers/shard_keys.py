"""Keys of sharded volumes: the hash that spreads them, and the ids of chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from segmend.core.ids import Ids


def murmurhash3_x86_128(keys: Ids) -> Ids:
    """The low 8 bytes of MurmurHash3_x86_128, seed 0, of keys as 8 little-endian bytes.

    Source: A. Appleby, ``MurmurHash3.cpp`` (public domain), for a tail of 8 bytes and no block.
    """
    low, high = keys.astype(np.uint32), (keys >> np.uint64(32)).astype(np.uint32)
    c1, c2, c3 = np.uint32(0x239B961B), np.uint32(0xAB0E9789), np.uint32(0x38B34AE5)
    h1 = _rotate(low * c1, 15) * c2 ^ np.uint32(8)
    h2 = _rotate(high * c2, 16) * c3 ^ np.uint32(8)
    # The third and the fourth quarter are equal throughout: no byte of the key reaches them.
    h3 = np.full_like(h1, 8)
    h1 = h1 + h2 + h3 + h3
    h2, h3 = _mixed(h2 + h1), _mixed(h3 + h1)
    h1 = _mixed(h1) + h2 + h3 + h3
    return h1.astype(np.uint64) | (h2 + h1).astype(np.uint64) << np.uint64(32)


def _mixed(h: NDArray[np.uint32]) -> NDArray[np.uint32]:
    h = (h ^ h >> np.uint32(16)) * np.uint32(0x85EBCA6B)
    h = (h ^ h >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    return h ^ h >> np.uint32(16)


def _rotate(h: NDArray[np.uint32], by: int) -> NDArray[np.uint32]:
    return h << np.uint32(by) | h >> np.uint32(32 - by)


def morton_codes(cells: NDArray[np.int64], grid: Sequence[int]) -> Ids:
    """Compressed Morton codes of chunks: bits of x, y, z in turn, leaving out those that are 0.

    Args:
        cells: Indices in the chunk grid ``(n, 3)``, order ``(x, y, z)``.
        grid: Chunks per axis, the same order; `morton_bits` of it at most 64.
    """
    codes = np.zeros(len(cells), np.uint64)
    cells = cells.astype(np.uint64)
    for position, (axis, bit) in enumerate(morton_bits(grid)):
        codes |= (cells[:, axis] >> np.uint64(bit) & np.uint64(1)) << np.uint64(position)
    return codes


def morton_bits(grid: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Axis and bit of each bit of a compressed Morton code, lowest first."""
    for bit in range(max(grid).bit_length()):
        for axis, cells in enumerate(grid):
            if 1 << bit < cells:
                yield axis, bit
