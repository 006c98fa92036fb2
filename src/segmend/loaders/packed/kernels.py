"""Unpacking of a row: compiled, without the interpreter lock, straight into the arrays of a batch.

A mask is its *runs*: lengths of off, on, off, on ... in reading order, which add up to the size of
the picture. Values of the foreground follow pixel by pixel in the same order, in one of three ways
(`RAW`, `PALETTE`, `CHANGES`). Every length is checked before anything is read or written by it.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from segmend.core.sample import (
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_BACKGROUND,
    channel,
    em_channel,
)

Runs = NDArray[np.uint16]
Block = NDArray[np.uint8]

RAW, PALETTE, CHANGES = 0, 1, 2
"""How a channel is packed: its values; 256 values and one byte per pixel; or low bytes as they are
and high bytes only where they change, a bit per pixel telling where."""

PALETTE_BYTES = 512
VIEW_HEAD, MASKS_HEAD = 32, 8
"""Bytes of the head of a view, and of a slice or split mask: lengths, uint32."""

_ONE = np.uint16(0x3C00)  # 1.0 as the bits of a half
_ON = np.uint8(255)
_BYTES = np.uint64(0x0101010101010101)  # 1 in every byte
_SILHOUETTE, _DEPTH = channel("silhouette"), channel("depth")
_A, _B = channel("mask_a"), channel("mask_b")
_EM, _EM_A, _EM_B = em_channel("em"), em_channel("mask_a"), em_channel("mask_b")
_SIDE_A, _SIDE_B = np.uint8(SPLIT_MASK_A), np.uint8(SPLIT_MASK_B)
_NO_SIDE = np.uint8(SPLIT_MASK_BACKGROUND)


@numba.njit(nogil=True, cache=True)
def padded(size: int) -> int:
    """The next multiple of 8: every part of a block begins at one."""
    return (size + 7) // 8 * 8


@numba.njit(nogil=True, cache=True)
def covered(runs: Runs, size: int) -> int:
    """Pixels that are on, or -1 if the runs do not add up to the size of the picture."""
    total, on = 0, 0
    for i in range(runs.size):
        total += runs[i]
        if i % 2:
            on += runs[i]
    return on if total == size else -1


@numba.njit(nogil=True, cache=True)
def _clear(out: NDArray[Any], value: Any) -> None:
    for k in range(out.size):
        out[k] = value


@numba.njit(nogil=True, cache=True)
def _draw(runs: Runs, out: NDArray[Any], on: Any) -> None:
    """Draw a mask whose runs fit over what is there."""
    at = 0
    for i in range(0, runs.size - 1, 2):
        at += int(runs[i])
        length = int(runs[i + 1])
        # Loops over a slice, from 0, become vector instructions; offsets in the index do not.
        part = out[at : at + length]
        for k in range(length):
            part[k] = on
        at += length


@numba.njit(nogil=True, cache=True)
def _draw_sides(
    a: Runs, b: Runs, unite: bool, out_a: NDArray[Any], out_b: NDArray[Any], on: Any
) -> None:
    """Draw masks A and B; or both in A, and B empty."""
    _clear(out_a, 0)
    _clear(out_b, 0)
    _draw(a, out_a, on)
    _draw(b, out_a if unite else out_b, on)


@numba.njit(nogil=True, cache=True)
def _ones(bits: NDArray[np.uint64]) -> int:
    """How many bits are set."""
    total = np.uint64(0)
    for i in range(bits.size):
        x = bits[i]
        x -= (x >> np.uint64(1)) & np.uint64(0x5555555555555555)
        x = (x & np.uint64(0x3333333333333333)) + (
            (x >> np.uint64(2)) & np.uint64(0x3333333333333333)
        )
        x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
        total += (x * _BYTES) >> np.uint64(56)
    return int(total)


@numba.njit(nogil=True, cache=True)
def _spread_raw(runs: Runs, values: NDArray[np.uint16], out: NDArray[np.uint16]) -> None:
    # Clearing all and then writing what is drawn is faster than either by turns.
    _clear(out, 0)
    at, taken = 0, 0
    for i in range(0, runs.size - 1, 2):
        at += int(runs[i])
        length = int(runs[i + 1])
        part, source = out[at : at + length], values[taken : taken + length]
        for k in range(length):
            part[k] = source[k]
        at, taken = at + length, taken + length


@numba.njit(nogil=True, cache=True)
def _spread_palette(
    runs: Runs, palette: NDArray[np.uint16], index: Block, out: NDArray[np.uint16]
) -> None:
    _clear(out, 0)
    at, taken = 0, 0
    for i in range(0, runs.size - 1, 2):
        at += int(runs[i])
        length = int(runs[i + 1])
        part, source = out[at : at + length], index[taken : taken + length]
        for k in range(length):
            part[k] = palette[source[k]]
        at, taken = at + length, taken + length


@numba.njit(nogil=True, cache=True)
def _join_changes(bits: Block, low: Block, high: Block, out: NDArray[np.uint16]) -> None:
    """Values from low bytes, and high bytes where they change: eight pixels at a time."""
    change = np.uint64(0)
    for j in range(np.uint64(bits.size)):
        # One byte for each bit, then running sums of the bytes by one multiplication.
        spread = np.uint64(bits[j]) * _BYTES & np.uint64(0x8040201008040201)
        ones = (spread + np.uint64(0x7F7F7F7F7F7F7F7F)) >> np.uint64(7) & _BYTES
        sums, first = ones * _BYTES, np.uint64(8) * np.uint64(j)
        for i in range(np.uint64(8)):
            at = first + np.uint64(i)
            one = change + (sums >> (np.uint64(8) * np.uint64(i)) & np.uint64(255))
            out[at] = np.uint16(low[at]) | np.uint16(high[one]) << np.uint16(8)
        change += sums >> np.uint64(56)


@numba.njit(nogil=True, cache=True)
def _spread(mode: int, part: Block, runs: Runs, count: int, out: NDArray[np.uint16]) -> bool:
    """Spread the values of ``count`` foreground pixels over a channel, 0 elsewhere.

    Returns:
        False, and nothing written, if lengths do not fit.
    """
    if mode == RAW and part.size == 2 * count:
        _spread_raw(runs, part.view(np.uint16), out)
        return True
    if mode == PALETTE and part.size == PALETTE_BYTES + count:
        _spread_palette(runs, part[:PALETTE_BYTES].view(np.uint16), part[PALETTE_BYTES:], out)
        return True
    # Bits in whole bytes, low bytes padded to as many: eight pixels are joined at a time.
    used = (count + 7) // 8
    begin = padded(used)
    end = begin + padded(count)
    if mode != CHANGES or part.size <= end:
        return False
    if _ones(part[:begin].view(np.uint64)) >= part.size - end:
        return False
    values = np.empty(8 * used, np.uint16)
    _join_changes(part[:used], part[begin:end], part[end:], values)
    _spread_raw(runs, values, out)
    return True


@numba.njit(nogil=True, cache=True)
def unpack_view(block: Block, unite: bool, out: NDArray[np.uint16]) -> bool:
    """Unpack a view.

    Args:
        block: Its block, at an address that is a multiple of 8.
        unite: Whether both masks are drawn in A, and none in B.
        out: (channels, pixels); undefined if this fails.

    Returns:
        Whether the block is one.
    """
    if block.size < VIEW_HEAD:
        return False
    size, head = out.shape[1], block[:VIEW_HEAD].view(np.uint32)
    begin = VIEW_HEAD
    ends = np.empty(7, np.int64)
    for i in range(7):
        # three masks, then four channels; the fourth number tells how those are packed
        length = 2 * int(head[i]) if i < 3 else int(head[i + 1])
        ends[i] = begin + length
        begin += padded(length)
    if begin != block.size:
        return False
    drawn = block[VIEW_HEAD : ends[0]].view(np.uint16)
    a = block[padded(ends[0]) : ends[1]].view(np.uint16)
    b = block[padded(ends[1]) : ends[2]].view(np.uint16)
    count = covered(drawn, size)
    if count < 0 or covered(a, size) < 0 or covered(b, size) < 0:
        return False
    for i in range(4):
        mode = (int(head[3]) >> (8 * i)) & 255
        part = block[padded(ends[2 + i]) : ends[3 + i]]
        if not _spread(mode, part, drawn, count, out[_DEPTH + i]):
            return False
    _clear(out[_SILHOUETTE], 0)
    _draw(drawn, out[_SILHOUETTE], _ONE)
    _draw_sides(a, b, unite, out[_A], out[_B], _ONE)
    return True


@numba.njit(nogil=True, cache=True)
def unpack_plane(block: Block, unite: bool, out: NDArray[np.uint8]) -> bool:
    """Unpack an EM slice; as `unpack_view`."""
    size = out.shape[1]
    if block.size < MASKS_HEAD:
        return False
    head = block[:MASKS_HEAD].view(np.uint32)
    end_a = MASKS_HEAD + 2 * int(head[0])
    end_b = padded(end_a) + 2 * int(head[1])
    if padded(end_b) + padded(size) != block.size:
        return False
    a = block[MASKS_HEAD:end_a].view(np.uint16)
    b = block[padded(end_a) : end_b].view(np.uint16)
    if covered(a, size) < 0 or covered(b, size) < 0:
        return False
    grey, source = out[_EM], block[padded(end_b) :]
    for k in range(size):
        grey[k] = source[k]
    _draw_sides(a, b, unite, out[_EM_A], out[_EM_B], _ON)
    return True


@numba.njit(nogil=True, cache=True)
def unpack_sides(block: Block, out: NDArray[np.uint8]) -> bool:
    """Unpack a split mask; as `unpack_view`."""
    if block.size < MASKS_HEAD:
        return False
    head = block[:MASKS_HEAD].view(np.uint32)
    end_a = MASKS_HEAD + 2 * int(head[0])
    end_b = padded(end_a) + 2 * int(head[1])
    if padded(end_b) != block.size:
        return False
    a = block[MASKS_HEAD:end_a].view(np.uint16)
    b = block[padded(end_a) : end_b].view(np.uint16)
    if covered(a, out.size) < 0 or covered(b, out.size) < 0:
        return False
    _clear(out, _NO_SIDE)
    _draw(a, out, _SIDE_A)
    _draw(b, out, _SIDE_B)
    return True


@numba.njit(nogil=True, cache=True)
def unpack_row(
    content: Block,
    spans: NDArray[np.int64],
    unite: bool,
    geometry: NDArray[np.uint16],
    em: NDArray[np.uint8],
    sides: NDArray[np.uint8],
) -> int:
    """Unpack the pictures of a row.

    Args:
        content: Blocks of a row.
        spans: (pictures, 2): begin and end of each in ``content``; of views, then planes, then
            split masks. What begins below 0 is left out.
        unite: As for `unpack_view`.
        geometry: (views, channels, pixels).
        em: (planes, channels, pixels).
        sides: (views, pixels).

    Returns:
        -1, or the number of the first picture whose block is none.
    """
    for i in range(len(spans)):
        begin, end = spans[i]
        if begin < 0:
            continue
        block = content[begin:end]
        if i < len(geometry):
            fits = unpack_view(block, unite, geometry[i])
        elif i < len(geometry) + len(em):
            fits = unpack_plane(block, unite, em[i - len(geometry)])
        else:
            fits = unpack_sides(block, sides[i - len(geometry) - len(em)])
        if not fits:
            return i
    return -1
