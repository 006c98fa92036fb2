"""Unpacking of runs and foreground values: compiled, without the interpreter lock.

A mask is its *runs*: lengths of off, on, off, on ... in reading order, which add up to the size of
the picture. Every kernel checks them before it writes.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Runs = NDArray[np.uint16]


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
def fill_mask(runs: Runs, out: NDArray[Any], off: Any, on: Any) -> bool:
    """Draw a mask into a flat picture; False, and nothing drawn, if the runs do not fit."""
    if covered(runs, out.size) < 0:
        return False
    at = 0
    for i in range(runs.size):
        length = int(runs[i])
        # Loops over a slice, from 0, become vector instructions; offsets in the index do not.
        part = out[at : at + length]
        if i % 2:
            for k in range(length):
                part[k] = on
        else:
            for k in range(length):
                part[k] = off
        at += length
    return True


@numba.njit(nogil=True, cache=True)
def fill_foreground(
    runs: Runs, low: NDArray[np.uint8], high: NDArray[np.uint8], out: NDArray[np.uint16]
) -> bool:
    """Spread the 16-bit values of foreground pixels over flat channels, 0 elsewhere.

    Args:
        runs: Of the foreground, which all channels share.
        low: Low bytes, channel after channel.
        high: High bytes, likewise.
        out: (channels, pixels).

    Returns:
        False, and nothing written, if lengths do not fit.
    """
    channels, size = out.shape
    count = covered(runs, size)
    if count < 0 or low.size != channels * count or high.size != channels * count:
        return False
    taken = 0
    for c in range(channels):
        at = 0
        for i in range(runs.size):
            length = int(runs[i])
            part = out[c, at : at + length]
            if i % 2:
                lows, highs = low[taken : taken + length], high[taken : taken + length]
                for k in range(length):
                    part[k] = np.uint16(lows[k]) | (np.uint16(highs[k]) << 8)
                taken += length
            else:
                for k in range(length):
                    part[k] = 0
            at += length
    return True
