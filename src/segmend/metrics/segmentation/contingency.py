"""How many voxels every pair of a segment and a true segment shares: all that VI and Rand need.

Tables of blocks add up to the table of the volume, so that no metric needs a volume in memory, and
ids are keys of a hash, so that none needs an array as long as its largest id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.core.ids import Ids
from segmend.core.settings import settings

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Contingency:
    """Pairs of ids with the voxels they share, each pair once, ascending by truth and segment.

    Attributes:
        segments: Id in the segmentation, uint64 ``(n,)``.
        truth: Id in the ground truth, uint64 ``(n,)``.
        voxels: Voxels that carry both, int64 ``(n,)``, at least 1.
    """

    segments: Ids
    truth: Ids
    voxels: Counts

    @property
    def total(self) -> int:
        """Voxels of all pairs."""
        return int(self.voxels.sum())

    def without(
        self, *, segments: Collection[int] = (), truth: Collection[int] = ()
    ) -> Contingency:
        """The pairs that hold none of these ids."""
        kept = np.ones(len(self.voxels), np.bool_)
        for ids, left_out in ((self.segments, segments), (self.truth, truth)):
            kept &= ~np.isin(ids, np.array(list(left_out), np.uint64))
        return Contingency(self.segments[kept], self.truth[kept], self.voxels[kept])

    def by_segment(self) -> tuple[Ids, Counts]:
        """Every id of the segmentation, ascending, and its voxels."""
        return _sums(self.segments, self.voxels)

    def by_truth(self) -> tuple[Ids, Counts]:
        """Every id of the ground truth, ascending, and its voxels."""
        return _sums(self.truth, self.voxels)


def contingency(segmentation: NDArray[Any], truth: NDArray[Any]) -> Contingency:
    """Count the voxels that segments share with true segments.

    Args:
        segmentation: Ids, any integer dtype and shape.
        truth: Ids, any integer dtype, the same shape.

    Raises:
        BadInputError: for other dtypes, negative ids or unequal shapes.
    """
    if segmentation.shape != truth.shape:
        raise BadInputError(
            "a segmentation is scored against ground truth of its own shape",
            found=f"{segmentation.shape} against {truth.shape}",
        )
    a, b = (_unsigned(array) for array in (segmentation, truth))
    parts = _flat_parts(a, b)
    with ThreadPoolExecutor(settings().workers) as threads:  # the kernel lets go of the GIL
        tables = [*threads.map(_count_part, parts)]
    rows = np.concatenate([np.empty((0, 4), np.uint64), *tables])
    return _table(rows[:, 0], rows[:, 1], rows[:, 2].view(np.int64))


def merged(tables: Iterable[Contingency]) -> Contingency:
    """The table of all blocks from the tables of disjoint blocks."""
    parts = [*tables]
    none = np.empty(0, np.uint64)
    return _table(
        np.concatenate([none, *(part.segments for part in parts)]),
        np.concatenate([none, *(part.truth for part in parts)]),
        np.concatenate([np.empty(0, np.int64), *(part.voxels for part in parts)]),
    )


def _table(segments: Ids, truth: Ids, voxels: Counts) -> Contingency:
    """Sorted, every pair once."""
    order = np.lexsort((segments, truth))
    segments, truth, voxels = segments[order], truth[order], voxels[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (segments[1:] != segments[:-1]) | (truth[1:] != truth[:-1])
    starts = np.flatnonzero(first)
    sums = np.add.reduceat(voxels, starts) if len(starts) else voxels
    return Contingency(segments[starts], truth[starts], sums)


def _sums(ids: Ids, voxels: Counts) -> tuple[Ids, Counts]:
    unique, which = np.unique(ids, return_inverse=True)
    sums = np.zeros(len(unique), np.int64)
    np.add.at(sums, which, voxels)
    return unique, sums


def _unsigned(labels: NDArray[Any]) -> NDArray[Any]:
    """The same bytes as unsigned ids."""
    if labels.dtype.kind not in "iu":
        raise BadInputError(
            f"segment ids must be integers, got an array of {labels.dtype}",
            fix="Read the labels in their stored integer type; floats lose ids above 2**53",
        )
    if labels.dtype.kind == "u":
        return labels
    if labels.size and labels.min() < 0:
        raise BadInputError(f"segment ids must not be negative, got {labels.min()}")
    return labels.view(labels.dtype.str.replace("i", "u"))


PART = 2**25
"""Voxels that a thread counts at a time at most."""

SMALL_PART = 2**20
"""Fewer voxels are not worth another thread, nor adding up its table."""


def _flat_parts(a: NDArray[Any], b: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Views that one thread counts: rows of voxels, or sections where they are not contiguous."""
    if a.flags.f_contiguous and b.flags.f_contiguous:
        a, b = a.T, b.T
    if a.flags.c_contiguous and b.flags.c_contiguous:
        a, b = a.reshape(-1), b.reshape(-1)
        size = min(PART, max(SMALL_PART, -(-a.size // settings().workers)))
        for start in range(0, a.size, size):
            yield a[start : start + size], b[start : start + size]
    elif a.ndim == 1:
        yield a, b
    else:
        yield from zip(a, b, strict=True)


def _count_part(part: tuple[NDArray[Any], NDArray[Any]]) -> NDArray[np.uint64]:
    # Where a copy is needed, only the parts in work are copied. Two kernels do for all dtypes.
    width = np.uint32 if max(array.itemsize for array in part) <= 4 else np.uint64
    return _count_runs(*(np.ascontiguousarray(array, width).reshape(-1) for array in part))


SPAN = 4096
"""Voxels that are looked through at a time for where a run of one pair ends."""

FIRST_SLOTS = 2**14
"""More than twice `SPAN`: a span never fills the table."""

BITS = 0x0102040810204080
"""Times 8 bytes of 0 or 1, it has them as the bits of its highest byte, first to last."""

ORDER = 0x03F79D71B4CB0A89
"""A de Bruijn sequence: every shift of it has other 6 highest bits."""

PLACES = np.argsort([((ORDER << bit) % 2**64) >> 58 for bit in range(64)])
"""By those, how far it is shifted."""


@njit(cache=True, nogil=True)
def _count_runs(a, b):  # type: ignore[no-untyped-def]
    """Pairs of two rows of ids, each once, and their voxels: one look into the hash per run.

    A slot of the hash is a line of four words, so that a look costs one line of memory: both ids,
    the voxels, one word not used.
    """
    table = np.zeros((FIRST_SLOTS, 4), np.uint64)
    ends = np.zeros(SPAN, np.uint8)
    used, start, n = 0, 0, a.size
    for first in range(1, n, SPAN):
        added, start = _count_span(table, ends, a, b, first, min(SPAN, n - first), start)
        used += added
        if 2 * (used + SPAN) > table.shape[0]:
            table = _grown(table)
    if n:
        _add(table, np.uint64(a[start]), np.uint64(b[start]), np.uint64(n - start))
    return table[table[:, 2] > 0]


@njit(cache=True, nogil=True)
def _count_span(table, ends, a, b, first, length, start):  # type: ignore[no-untyped-def]
    """Add all runs that end in a span; how many pairs are new, and where the open run started."""
    if length < SPAN:
        ends[:] = 0
    # One pass of vector instructions says where runs end ...
    here_a, here_b = a[first - 1 : first + length], b[first - 1 : first + length]
    for k in range(length):
        ends[k] = (here_a[k] != here_a[k + 1]) | (here_b[k] != here_b[k + 1])
    words, added = ends.view(np.uint64), 0
    for w in range(0, words.size, 8):
        # ... 64 voxels to a word: how many a word has is all that a processor cannot foresee.
        found = np.uint64(0)
        for k in range(8):
            eight = (words[w + k] * np.uint64(BITS)) >> np.uint64(56)
            found |= eight << np.uint64(8 * k)
        while found:
            end = first + 8 * w + _lowest_bit(found)
            x, y = np.uint64(a[start]), np.uint64(b[start])
            added += _add(table, x, y, np.uint64(end - start))
            start = end
            found &= found - np.uint64(1)
    return added, start


@njit(cache=True, nogil=True, inline="always")
def _lowest_bit(word):  # type: ignore[no-untyped-def]
    """Position of the lowest bit of a word that is set, without a branch."""
    lowest = word & (~word + np.uint64(1))
    return PLACES[(lowest * np.uint64(ORDER)) >> np.uint64(58)]


@njit(cache=True, nogil=True, inline="always")
def _add(table, x, y, voxels):  # type: ignore[no-untyped-def]
    """Count voxels of a pair; whether it is new."""
    slot = _slot(table, x, y)
    new = table[slot, 2] == 0
    if new:
        table[slot, 0], table[slot, 1] = x, y
    table[slot, 2] += voxels
    return new


@njit(cache=True, nogil=True)
def _slot(table, x, y):  # type: ignore[no-untyped-def]
    """Where a pair is, or where it belongs; a slot without voxels is free."""
    mask = np.uint64(table.shape[0] - 1)
    # Odd numbers near 2**64 times the golden ratio and its like spread both ids over all bits.
    mixed = x * np.uint64(0x9E3779B97F4A7C15) ^ (y * np.uint64(0xC2B2AE3D27D4EB4F))
    slot = (mixed ^ (mixed >> np.uint64(29))) & mask
    while table[slot, 2] and (table[slot, 0] != x or table[slot, 1] != y):
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True, nogil=True)
def _grown(table):  # type: ignore[no-untyped-def]
    """The same table with four times the slots."""
    larger = np.zeros((4 * table.shape[0], 4), np.uint64)
    for old in range(table.shape[0]):
        if table[old, 2]:
            larger[_slot(larger, table[old, 0], table[old, 1])] = table[old]
    return larger
