"""Ids of any size to small ones and back, without ever passing through floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from segmend.core.ids import Ids, unsigned

SHORT = 32
"""Shorter rows are taken several at a time: any distance between like voxels would do."""


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """Labels whose ids are 0, 1, 2, ... in the order in which they first occur.

    Attributes:
        labels: int32 ``(z, y, x)``; 0 stays 0.
        ids: The inverse table, uint64: ``ids[labels]`` are the ids that came in; ``ids[0]`` is 0.
    """

    labels: NDArray[np.int32]
    ids: Ids


def dense(labels: NDArray[Any]) -> Dense:
    """Relabel densely, in the width in which the ids are stored.

    Args:
        labels: Ids, any integer dtype, ``(z, y, x)``; 0 is background.

    Raises:
        BadInputError: if they are no ids (floats, negative numbers).
    """
    ids = np.ascontiguousarray(unsigned(labels))
    small = np.empty(ids.shape, np.int32)
    width = max(1, ids.shape[-1])
    step = -(-SHORT // width) * width
    differs = np.zeros(-(-step // 8), np.uint64)
    return Dense(small, _number(ids.ravel(), step, differs, small.ravel()))


@numba.njit(cache=True, nogil=True)
def _number(ids, width, differs, small):  # type: ignore[no-untyped-def]
    """Row by row: most voxels have the id of the row before, and its number is copied.

    Args:
        ids: Flat, unsigned.
        width: Voxels of a row; the last may have fewer.
        differs: Zeros, one bit of eight for each voxel of a row.
        small: int32, as long as ids; written wholly.
    """
    slots = np.zeros(1024, np.int32)  # positions in the table; 0: free
    table = np.zeros(512, np.uint64)
    count = 1
    flags = differs.view(np.uint8)
    for start in range(0, ids.size, width):
        row, out = ids[start : start + width], small[start : start + width]
        flags[row.size :] = 0
        if start:
            above, numbers = ids[start - width : start], small[start - width : start]
            for x in range(row.size):
                out[x] = numbers[x]
            for x in range(row.size):
                flags[x] = row[x] != above[x]
        else:
            flags[: row.size] = 1
        while count + width > table.size:
            slots, table = _grown(slots, table, count)
        for word in range(differs.size):  # 8 flags at a time: most words are empty
            if differs[word]:
                for x in range(8 * word, min(8 * word + 8, row.size)):
                    if flags[x]:
                        same = x > 0 and row[x] == row[x - 1]
                        out[x] = out[x - 1] if same else _number_of(slots, table, count, row[x])
                        count = max(count, out[x] + 1)
    return table[:count].copy()


@numba.njit(cache=True, nogil=True)
def _number_of(slots, table, count, value):  # type: ignore[no-untyped-def]
    """The number of an id: its own, 0 for 0, or the next one, which it then has."""
    if value == 0:
        return np.int32(0)
    at = _slot(slots, table, np.uint64(value))
    if slots[at] == 0:
        slots[at] = count
        table[count] = value
    return slots[at]


@numba.njit(cache=True, nogil=True)
def _slot(slots, table, value):  # type: ignore[no-untyped-def]
    # Fibonacci hashing: neighbouring ids land far apart.
    mask = np.uint64(slots.size - 1)
    at = ((value * np.uint64(11400714819323198485)) >> np.uint64(32)) & mask
    while slots[at] != 0 and table[slots[at]] != value:
        at = (at + np.uint64(1)) & mask
    return at


@numba.njit(cache=True, nogil=True)
def _grown(slots, table, count):  # type: ignore[no-untyped-def]
    """Room for twice as many ids."""
    larger = np.zeros(2 * table.size, table.dtype)
    larger[: table.size] = table
    slots = np.zeros(2 * slots.size, np.int32)
    for k in range(1, count):
        slots[_slot(slots, larger, larger[k])] = k
    return slots, larger
