"""Undone edits: an opposite edit that follows soon, near by, on the same roots."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Point

UNKNOWN = -1
NOWHERE = (np.nan, np.nan, np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Undone:
    """What became of operations, in the order they were added.

    Attributes:
        surely: bool: an operation that is known undoes it.
        perhaps: int64: number of a failed operation that may undo it, 0: there is none.
    """

    surely: NDArray[np.bool_]
    perhaps: NDArray[np.int64]


class Chains:
    """Finds, for every operation, whether one of the opposite kind undoes it.

    The published pipeline drops an operation if, walking forward at most two steps through the
    root ids, an operation of the opposite kind lies within 2,500 nm. Of a merge, a split and the
    same merge again, the last is kept.

    An operation that failed is a step of the way too, as far as its roots are known. Whether it
    undoes another is not known: it may, unless its kind or its place says that it cannot.

    Memory: about 110 bytes per operation.
    """

    def __init__(self) -> None:
        self._numbers, self._failed = array("q"), array("b")
        self._merge, self._points = array("b"), array("d")
        self._before, self._before_of = array("Q"), array("q")
        self._after, self._after_ends = array("Q"), array("q")

    def add(
        self,
        number: int,
        *,
        merge: bool | None,
        point_nm: Point | None,
        before: tuple[int, ...],
        after: tuple[int, ...],
        failed: bool = False,
    ) -> None:
        """Add the next operation; of one that failed, kind and place may be unknown."""
        for root in before:
            self._before.append(root)
            self._before_of.append(len(self._merge))
        self._after.extend(after)
        self._after_ends.append(len(self._after))
        self._merge.append(UNKNOWN if merge is None else merge)
        self._points.extend(NOWHERE if point_nm is None else point_nm)
        self._numbers.append(number)
        self._failed.append(failed)

    def undone(self, *, hops: int, within_nm: float) -> Undone:
        """Whether each operation, in the order they were added, is undone."""
        merge, failed = np.array(self._merge), np.array(self._failed, bool)
        points = np.array(self._points, np.float64).reshape(-1, 3)
        numbers = np.array(self._numbers, np.int64)
        surely, perhaps = np.zeros(len(merge), bool), np.zeros(len(merge), np.int64)
        origin = reached = np.arange(len(merge))
        for _ in range(hops):
            step, reached = self._steps(reached)
            origin = origin[step]
            # What is nowhere is not far: comparisons with NaN are false.
            far = ((points[origin] - points[reached]) ** 2).sum(axis=1) > within_nm**2
            hit = (merge[origin] != merge[reached]) & ~far
            known = hit & ~failed[reached]
            surely[origin[known]] = True
            unsure = np.flatnonzero(hit & failed[reached])[::-1]
            perhaps[origin[unsure]] = numbers[reached[unsure]]
        return Undone(surely, perhaps)

    def _steps(self, operations: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The operations that act on the new roots of some, each with its place in the input."""
        before, of = np.array(self._before, np.uint64), np.array(self._before_of, np.int64)
        order = np.argsort(before, kind="stable")
        before, of = before[order], of[order]
        ends = np.array(self._after_ends, np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(ends)]
        place, at = _ranges(starts[operations], ends[operations])
        roots = np.array(self._after, np.uint64)[at]
        step, found = _ranges(
            np.searchsorted(before, roots, "left"), np.searchsorted(before, roots, "right")
        )
        return place[step], of[found]


def _ranges(
    low: NDArray[np.int64], high: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The members of half-open ranges, each with the place of its range."""
    counts = high - low
    place = np.repeat(np.arange(len(low)), counts)
    within = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
    return place, low[place] + within
