"""From samples of EM to greys: percentiles and the stretch between them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

STRETCH = (0.01, 0.99)
"""Shares of a slice's covered pixels that lie below the values that become 0 and 255."""

NO_CONTRAST = 128
"""Grey of a slice whose two values are equal."""

_BINS = 1 << 16
_SIGN = np.uint32(1 << 31)
_ALL = np.uint32(0xFFFFFFFF)
_LOW_BITS = np.uint32(16)


def stretch_limits(
    em: NDArray[np.float32], covered: NDArray[np.bool_]
) -> tuple[np.float32, np.float32]:
    """The two percentiles between which a slice is stretched; 0 and 0 if nothing is covered.

    The same numbers as ``numpy.percentile`` (method ``linear``, rounded to float32), which
    sorts more than it needs to.

    Args:
        em: float32 ``(row, column)``, finite.
        covered: bool, the same shape: which pixels count.
    """
    low, high = _percentiles(em.reshape(-1), covered.reshape(-1), np.array(STRETCH))
    return np.float32(low), np.float32(high)


@njit(cache=True, nogil=True)
def _percentiles(values, counts, shares):  # type: ignore[no-untyped-def]
    """Values below which these shares of the values that count lie, interpolated linearly."""
    found = np.zeros(shares.shape[0])
    bins = np.zeros(_BINS, np.int64)
    total = 0
    for i in range(values.shape[0]):
        bins[_bin(values[i])] += counts[i]
        total += counts[i]
    if total == 0:
        return found
    near = np.empty(total, np.float32)
    for s in range(shares.shape[0]):
        place = shares[s] * (total - 1)
        rank = int(place)
        low, before = _bin_of(bins, 0, 0, rank)
        high, _ = _bin_of(bins, low, before, min(rank + 1, total - 1))
        held = 0
        for i in range(values.shape[0]):
            if counts[i] and low <= _bin(values[i]) <= high:
                near[held] = values[i]
                held += 1
        ordered = np.sort(near[:held])
        first, second = ordered[rank - before], ordered[min(rank + 1, total - 1) - before]
        found[s] = _between(first, second, place - rank)
    return found


@njit(cache=True, nogil=True, inline="always")
def _bin(value):  # type: ignore[no-untyped-def]
    """The upper half of a float32's bits, turned so that bins order like values."""
    bits = np.float32(value).view(np.uint32)
    return np.int64((bits ^ (_ALL if bits & _SIGN else _SIGN)) >> _LOW_BITS)


@njit(cache=True, nogil=True)
def _bin_of(bins, start, before, rank):  # type: ignore[no-untyped-def]
    """The bin that holds the value of a rank, and how many values lie before that bin."""
    while before + bins[start] <= rank:
        before += bins[start]
        start += 1
    return start, before


@njit(cache=True, nogil=True)
def _between(first, second, share):  # type: ignore[no-untyped-def]
    # From the nearer end, as NumPy does: both ends are met exactly.
    step = np.float64(np.float32(second - first))
    if share < 0.5:
        return first + step * share
    return second - step * (1 - share)


@njit(cache=True, nogil=True)
def write_image(cut, limits, out):  # type: ignore[no-untyped-def]
    """Write the three channels of a slice.

    Args:
        cut: float32 EM, bool whether it is covered, uint8 sides (bit 0 A, bit 1 B), each
            ``(row, column)``.
        limits: float32: the values that become 0 and 255.
        out: uint8 ``(row, column, 3)``, overwritten: grey (0 where nothing is covered), mask A,
            mask B.
    """
    em, covered, sides = cut
    low, high = limits
    scale = np.float32(255) / np.float32(high - low) if high > low else np.float32(0)
    for y in range(em.shape[0]):
        for x in range(em.shape[1]):
            grey = np.float32(np.float32(em[y, x] - low) * scale)
            grey = np.rint(min(max(grey, np.float32(0)), np.float32(255)))
            if not high > low:
                grey = np.float32(NO_CONTRAST)
            out[y, x, 0] = np.uint8(grey) if covered[y, x] else np.uint8(0)
            out[y, x, 1] = (sides[y, x] & 1) * 255
            out[y, x, 2] = (sides[y, x] >> 1 & 1) * 255
