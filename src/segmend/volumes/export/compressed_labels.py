"""Labels in Neuroglancer's ``compressed_segmentation``.

The format (neuroglancer, ``src/sliceview/compressed_segmentation/README.md``) is told in
`segmend.volumes.codecs.compressed_segmentation`, which decodes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

BLOCK = 8
"""Voxels along each edge of a block."""

_VOXELS = BLOCK**3
_LABEL_WORDS = {4: 1, 8: 2}


def encode_labels(labels: NDArray[Any]) -> bytes:
    """Encode one chunk of one channel.

    Args:
        labels: uint32 or uint64 ``(z, y, x)``, at most 128 voxels along each axis: a table's place
            has 24 bits.

    Returns:
        The chunk, block size 8 x 8 x 8.
    """
    assert max(labels.shape) <= 128
    words_per_label = _LABEL_WORDS[labels.dtype.itemsize]
    blocks = tuple(-(-n // BLOCK) for n in labels.shape)
    # At worst every voxel of a block has its own label: a table of them, 16 bits per voxel.
    worst = int(np.prod(blocks)) * (2 + _VOXELS * words_per_label + _VOXELS // 2)
    words = np.zeros(worst, np.uint32)
    used = _encode(np.ascontiguousarray(labels.astype(np.uint64)), blocks, words_per_label, words)
    return b"\1\0\0\0" + words[:used].astype("<u4").tobytes()


@njit(cache=True, nogil=True)
def _encode(labels, blocks, words_per_label, words):  # type: ignore[no-untyped-def]
    """Fill ``words``, whose first is the channel's; how many were used."""
    values = np.empty(_VOXELS, np.uint64)
    at = 2 * blocks[0] * blocks[1] * blocks[2]
    number = 0
    for z in range(0, labels.shape[0], BLOCK):
        for y in range(0, labels.shape[1], BLOCK):
            for x in range(0, labels.shape[2], BLOCK):
                block = labels[z : z + BLOCK, y : y + BLOCK, x : x + BLOCK]
                table = _table(block, values)
                bits = _bits(table)
                _pack(block, values[:table], bits, words[at:])
                words[2 * number + 1] = at
                at += bits * _VOXELS // 32
                words[2 * number] = at | bits << 24
                for i in range(table):
                    words[at] = values[i] & 0xFFFFFFFF
                    if words_per_label == 2:
                        words[at + 1] = values[i] >> np.uint64(32)
                    at += words_per_label
                number += 1
    return at


@njit(cache=True, nogil=True)
def _table(block, values):  # type: ignore[no-untyped-def]
    """Put the labels of a block into ``values``, ascending, each once; how many there are."""
    depth, height, width = block.shape
    first, uniform, n = block[0, 0, 0], True, 0
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                values[n] = block[z, y, x]
                uniform &= values[n] == first
                n += 1
    if uniform:
        return 1
    values[:n].sort()
    kept = 1
    for i in range(1, n):
        if values[i] != values[kept - 1]:
            values[kept] = values[i]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _bits(labels):  # type: ignore[no-untyped-def]
    """Bits per voxel that tell so many labels apart, of those the format allows."""
    if labels == 1:
        return 0
    bits = 1
    while 1 << bits < labels:
        bits *= 2
    return bits


@njit(cache=True, nogil=True)
def _pack(block, table, bits, words):  # type: ignore[no-untyped-def]
    """Write for each voxel the place of its label in the table; padding is 0."""
    if bits == 0:
        return
    for z in range(block.shape[0]):
        for y in range(block.shape[1]):
            for x in range(block.shape[2]):
                bit = ((z * BLOCK + y) * BLOCK + x) * bits
                place = np.searchsorted(table, block[z, y, x])
                words[bit // 32] |= np.uint32(place << (bit % 32))
