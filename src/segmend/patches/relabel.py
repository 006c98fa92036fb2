"""Ids of any size to small ones and back, without ever passing through floats."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from segmend.core.ids import Ids, unsigned


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """Labels whose ids are 0, 1, 2, ... in the order in which they first occur.

    Attributes:
        labels: int32 ``(z, y, x)``; 0 stays 0.
        ids: The inverse table, uint64: ``ids[labels]`` are the ids that came in; ``ids[0]`` is 0.
    """

    labels: NDArray[np.int32]
    ids: Ids


def dense(labels: NDArray[Any], nothing: Collection[int] = ()) -> Dense:
    """Relabel densely, in the width in which the ids are stored.

    Args:
        labels: Ids, any integer dtype, ``(z, y, x)``; 0 is background.
        nothing: Other values that stand for no segment; they become 0.

    Raises:
        BadInputError: if they are no ids (floats, negative numbers).
    """
    ids = np.ascontiguousarray(unsigned(labels))
    small = np.empty(ids.shape, np.int32)
    table = _number(ids.ravel(), np.array([*nothing], np.uint64), small.ravel())
    return Dense(small, table)


@numba.njit(cache=True, nogil=True)
def _number(ids, nothing, small):  # type: ignore[no-untyped-def]
    size = 1024
    slots = np.zeros(size, np.int32)  # positions in the table; 0: free
    table = np.zeros(512, np.uint64)
    count = 1
    i = 0
    while i < ids.size:
        value = np.uint64(ids[i])
        number = np.int32(0)
        if value != 0 and not _within(nothing, value):
            at = _slot(slots, table, value)
            if slots[at] == 0:
                if count == table.size:
                    table = _doubled(table)
                    size *= 2
                    slots = np.zeros(size, np.int32)
                    for k in range(1, count):
                        slots[_slot(slots, table, table[k])] = k
                    at = _slot(slots, table, value)
                table[count] = value
                slots[at] = count
                count += 1
            number = slots[at]
        first = i
        while i < ids.size and ids[i] == value:  # a run of one id costs one look-up
            i += 1
        for k in range(first, i):
            small[k] = number
    return table[:count].copy()


@numba.njit(cache=True, nogil=True)
def _within(few, value):  # type: ignore[no-untyped-def]
    for other in few:  # noqa: SIM110  numba compiles no any() of a generator
        if other == value:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _slot(slots, table, value):  # type: ignore[no-untyped-def]
    # Fibonacci hashing: neighbouring ids land far apart.
    mask = np.uint64(slots.size - 1)
    at = ((value * np.uint64(11400714819323198485)) >> np.uint64(32)) & mask
    while slots[at] != 0 and table[slots[at]] != value:
        at = (at + np.uint64(1)) & mask
    return at


@numba.njit(cache=True, nogil=True)
def _doubled(table):  # type: ignore[no-untyped-def]
    larger = np.zeros(2 * table.size, table.dtype)
    larger[: table.size] = table
    return larger
