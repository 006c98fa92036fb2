"""Which supervoxels belong to which neurite, and label arrays mapped on the fly."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.annotations.columns import Categories, Lists
from segmend.core.errors import BadInputError, SegmentNotFoundError
from segmend.core.ids import Ids, as_id, as_ids

CACHE_BITS = 17
"""Answers that a mapping keeps: 2**17 of 16 bytes stay in the cache of a core, and a box of 512
voxels a side holds fewer supervoxels."""

PART = 2**23
"""Voxels that a core maps at a time."""

TABLE_SPREAD = 16
"""A table may have as many entries as this for every supervoxel: SegEM numbers from 1 without gaps,
and neurites hold a good part of all supervoxels."""

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio, odd: spreads ids over the cache (Knuth, TAOCP 3, 6.4)."""


@dataclass(frozen=True, slots=True, eq=False)
class Agglomeration:
    """Neurites made of supervoxels; no supervoxel belongs to two of them.

    Attributes:
        ids: uint64, ids of the neurites, ascending.
        supervoxels: Sorted ids of the supervoxels of each, uint64.
        classes: Their classes, None if unknown.
        neuron_ids: The neuron each belongs to, 0 for none; None if unknown.
        keys: All supervoxels, sorted.
        owners: The neurite of each of ``keys``, uint64.
        table: The neurite by supervoxel id, 0 for none: uint32, or uint64 where ids need it. Empty
            where the ids of the supervoxels lie too far apart for it.
    """

    ids: Ids
    supervoxels: Lists
    classes: Categories | None
    neuron_ids: Ids | None
    keys: Ids
    owners: Ids
    table: NDArray[np.unsignedinteger]

    @classmethod
    def of_lists(
        cls,
        lists: Lists,
        *,
        ids: Ids | None = None,
        classes: Categories | None = None,
        neuron_ids: Ids | None = None,
    ) -> Agglomeration:
        """Build from the supervoxels of each neurite.

        Args:
            lists: Supervoxels of each, in any order; naming one twice is harmless.
            ids: Ids of the neurites, ascending and not 0; by default 1, 2, ...
            classes: Their classes.
            neuron_ids: Their neurons.

        Raises:
            BadInputError: for ids that do not ascend, a supervoxel 0, a supervoxel of two neurites
                (the message names them), or columns of different lengths.
        """
        numbers = np.arange(1, len(lists) + 1, dtype=np.uint64) if ids is None else as_ids(ids)
        columns = [c for c in (numbers, classes, neuron_ids) if c is not None]
        if any(len(column) != len(lists) for column in columns):
            raise BadInputError("the columns of an agglomeration differ in length")
        if len(numbers) and (numbers[0] == 0 or np.any(numbers[1:] <= numbers[:-1])):
            raise BadInputError("ids of neurites must ascend from at least 1")
        values, rows = as_ids(lists.values), lists.owners
        order = np.lexsort((values, rows))
        values, rows = values[order], rows[order]
        first = np.ones(len(values), np.bool_)
        first[1:] = (values[1:] != values[:-1]) | (rows[1:] != rows[:-1])
        values, rows = values[first], rows[first]
        sizes = np.bincount(rows, minlength=len(lists)).tolist()
        order = np.argsort(values, kind="stable")
        keys, owners = values[order], numbers[rows[order]]
        _check_keys(keys, owners)
        kept = Lists.of_sizes(values, sizes)
        return cls(numbers, kept, classes, neuron_ids, keys, owners, _table(keys, owners))

    def row(self, neurite: int) -> int:
        """Row of a neurite in every column.

        Raises:
            SegmentNotFoundError: if there is no such neurite.
        """
        wanted = np.uint64(as_id(neurite))
        row = int(np.searchsorted(self.ids, wanted))
        if row == len(self.ids) or self.ids[row] != wanted:
            raise SegmentNotFoundError(
                f"there is no neurite {neurite}", found=f"{len(self.ids)} neurites"
            )
        return row

    def supervoxels_of(self, neurite: int) -> Ids:
        """Sorted supervoxels of a neurite."""
        return self.supervoxels[self.row(neurite)]

    def class_of(self, neurite: int) -> str | None:
        """Class of a neurite, None where classes are unknown."""
        row = self.row(neurite)
        return None if self.classes is None else self.classes.name(row)

    def neuron_of(self, neurite: int) -> int:
        """The neuron that a neurite belongs to, 0 for none or unknown."""
        row = self.row(neurite)
        return 0 if self.neuron_ids is None else int(self.neuron_ids[row])

    def neurite_of(self, supervoxels: Any) -> Ids:
        """The neurite of each supervoxel, 0 for those of none; uint64, the same shape."""
        ids = as_ids(supervoxels)
        if not len(self.keys):
            return np.zeros(ids.shape, np.uint64)
        at = np.minimum(np.searchsorted(self.keys, ids), len(self.keys) - 1)
        return np.where(self.keys[at] == ids, self.owners[at], np.uint64(0))

    def relabel(
        self, labels: NDArray[Any], *, keep_others: bool = False, out: Ids | None = None
    ) -> Ids:
        """Map an array of supervoxels to neurites, on all cores.

        Args:
            labels: Integer ids of supervoxels, any shape.
            keep_others: What supervoxels of no neurite become: themselves, or 0.
            out: Where to write, uint64, contiguous, the same shape; by default a new array, of
                which the first touch costs as much time as the mapping.

        Returns:
            uint64, the same shape.

        Raises:
            BadInputError: if the labels are no ids, or ``out`` does not fit them; with
                ``keep_others``, if a supervoxel that stays has the id of a neurite, so that the two
                could not be told apart.
        """
        plain = labels.dtype.kind == "u" and labels.dtype.isnative
        flat = np.ascontiguousarray(labels if plain else as_ids(labels)).reshape(-1)
        if out is None:
            out = np.empty(labels.shape, np.uint64)
        elif out.dtype != np.uint64 or out.shape != labels.shape or not out.flags.c_contiguous:
            raise BadInputError(
                f"labels of shape {labels.shape} cannot be mapped into this array",
                found=f"it is {out.dtype} of shape {out.shape}",
                fix="Pass a contiguous uint64 array of their shape",
            )
        clash = self._map(flat, out.reshape(-1), keep_others=keep_others)
        if clash >= 0:
            raise BadInputError(
                f"supervoxel {flat[clash]} belongs to no neurite and cannot stay as it is",
                found="a neurite has the same id",
                fix="Call relabel on with_lowest_supervoxels(), or without keep_others",
            )
        return out

    def _map(self, labels: NDArray[Any], out: Ids, *, keep_others: bool) -> int:
        """Map in parts, on all cores; the place of a label that may not stay, or -1."""

        def part(start: int) -> int:
            one, to = labels[start : start + PART], out[start : start + PART]
            if len(self.table) and not keep_others:
                _look_up(one, self.table, to)
                return -1
            at = _relabel(one, self.keys, self.owners, self.ids, keep_others, to)
            return at if at < 0 else start + at

        starts = range(0, len(labels), PART)
        if len(starts) <= 1:
            return max(map(part, starts), default=-1)
        with ThreadPoolExecutor(min(len(starts), os.cpu_count() or 1)) as pool:
            return max(pool.map(part, starts))

    def with_lowest_supervoxels(self) -> Agglomeration:
        """The same neurites, each under the id of its lowest supervoxel; empty ones are gone."""
        rows = np.flatnonzero(self.supervoxels.sizes)
        lowest = self.supervoxels.values[self.supervoxels.starts[rows]]
        order = np.argsort(lowest)
        rows = rows[order]
        return Agglomeration.of_lists(
            Lists.of_arrays([self.supervoxels[int(row)] for row in rows]),
            ids=lowest[order],
            classes=None
            if self.classes is None
            else Categories(self.classes.codes[rows], self.classes.names),
            neuron_ids=None if self.neuron_ids is None else self.neuron_ids[rows],
        )

    def __len__(self) -> int:
        return len(self.ids)


def stack(parts: Sequence[Agglomeration]) -> Agglomeration:
    """Several agglomerations as one: ids of the second follow those of the first, and so on.

    Classes and neurons, which mean different things in each, are left behind.

    Raises:
        BadInputError: if two of them share a supervoxel.
    """
    ids, base = [np.empty(0, np.uint64)], np.uint64(0)
    for part in parts:
        ids.append(part.ids + base)
        base = ids[-1][-1] if len(part) else base
    values = [np.empty(0, np.uint64), *(part.supervoxels.values for part in parts)]
    sizes = [np.empty(0, np.int64), *(part.supervoxels.sizes for part in parts)]
    lists = Lists.of_sizes(np.concatenate(values), np.concatenate(sizes))
    return Agglomeration.of_lists(lists, ids=np.concatenate(ids))


def _table(keys: Ids, owners: Ids) -> NDArray[np.unsignedinteger]:
    """Owners by key, where keys are dense enough."""
    size = int(keys[-1]) + 1 if len(keys) else 0
    if size > TABLE_SPREAD * len(keys) + 2**16:
        return np.empty(0, np.uint32)
    small = not len(owners) or int(owners.max()) < 2**32
    table: NDArray[Any] = np.zeros(size, np.uint32 if small else np.uint64)
    table[keys] = owners
    return table


def _check_keys(keys: Ids, owners: Ids) -> None:
    if keys.size and keys[0] == 0:
        raise BadInputError(f"neurite {owners[0]} names supervoxel 0", found="0 is none")
    shared = np.flatnonzero(keys[1:] == keys[:-1])
    if shared.size:
        at = int(shared[0])
        raise BadInputError(
            f"supervoxel {keys[at]} belongs to neurites {owners[at]} and {owners[at + 1]}",
            found=f"{shared.size} supervoxels belong to more than one neurite",
            fix="Map with the agglomerations one at a time",
        )


@njit(cache=True, nogil=True)
def _look_up(
    labels: NDArray[Any], table: NDArray[np.unsignedinteger], out: NDArray[np.uint64]
) -> None:
    """Map labels by a table; those beyond it have no neurite."""
    size = np.uint64(len(table))
    for i in range(len(labels)):
        label = np.uint64(labels[i])
        out[i] = table[label] if label < size else 0


@njit(cache=True, nogil=True)
def _find(keys: NDArray[np.uint64], wanted: np.uint64) -> int:
    """Place of an id in a sorted array, -1 if it is not there."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < len(keys) and keys[low] == wanted else -1


@njit(cache=True, nogil=True)
def _relabel(
    labels: NDArray[Any],
    keys: NDArray[np.uint64],
    owners: NDArray[np.uint64],
    ids: NDArray[np.uint64],
    keep_others: bool,
    out: NDArray[np.uint64],
) -> int:
    """Map labels; the place of a label that may not be kept, or -1.

    Neighbouring voxels mostly share a label, and a box has few: most answers are the last one, most
    others are cached, and only the rest is searched for.
    """
    cached = np.zeros(1 << CACHE_BITS, np.uint64)
    answers = np.zeros(1 << CACHE_BITS, np.uint64)
    shift = np.uint64(64 - CACHE_BITS)
    last, answer = np.uint64(0), np.uint64(0)  # 0 is no supervoxel: it stays 0
    for i in range(len(labels)):
        label = np.uint64(labels[i])
        if label != last:
            last = label
            slot = (label * GOLDEN) >> shift
            if cached[slot] != label:
                at = _find(keys, label)
                if at < 0 and keep_others and _find(ids, label) >= 0:
                    return i
                cached[slot] = label
                answers[slot] = owners[at] if at >= 0 else label if keep_others else np.uint64(0)
            answer = answers[slot]
        out[i] = answer
    return -1
