"""How near rows of two splits lie, against what their views show."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.sample import VIEW_CUBE

_PAIRS = 4_000_000  # compared at once

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Nearness:
    """Rows of one split beside those of another.

    Attributes:
        rows: Rows of the second split that could be placed.
        distance_nm: From each to the nearest row of the first, between their view centres;
            infinity where none is nearer than one view.
        overlapping: Whether its view cube meets one of the first split.
        nearest: The row of the first split that is nearest; -1 where none is near.
    """

    rows: Rows
    distance_nm: Floats
    overlapping: NDArray[np.bool_]
    nearest: Rows


def nearness(
    centers: Floats, extents: Floats, volumes: Rows, *, one: Rows, other: Rows
) -> Nearness:
    """Find for each row of a split the nearest of another in the same volume.

    Space is cut into cells as wide as the largest pair of views that can meet, and rows are
    compared with those in the 27 cells around theirs.

    Args:
        centers: Centre of the views of each row, nm, (rows, 3); NaN where unknown.
        extents: Half-width of its views, nm.
        volumes: Number of the volume of each row.
        one: Rows of the first split.
        other: Rows of the second.
    """
    one, other = (
        r[np.isfinite(centers[r]).all(axis=1) & np.isfinite(extents[r])] for r in (one, other)
    )
    distance = np.full(len(other), np.inf)
    overlapping = np.zeros(len(other), bool)
    nearest = np.full(len(other), -1, np.int64)
    if len(one) and len(other):
        half = VIEW_CUBE * extents
        cell = half[one].max() + half[other].max()
        places = np.column_stack([volumes, np.floor(centers / cell)]).astype(np.float64)
        for here, there in _neighbours(places[other], places[one]):
            a, b = other[here], one[there]
            gap = np.abs(centers[a] - centers[b])
            meets = (gap < (half[a] + half[b])[:, None]).all(axis=1)
            np.logical_or.at(overlapping, here, meets)
            length = np.linalg.norm(gap, axis=1)
            order = np.lexsort((b, length, here))
            first = order[np.r_[True, np.diff(here[order]) > 0]]
            better = first[length[first] < distance[here[first]]]
            distance[here[better]], nearest[here[better]] = length[better], b[better]
        distance[distance > cell] = np.inf
    return Nearness(other, distance, overlapping, nearest)


def _neighbours(ours: Floats, theirs: Floats) -> Iterator[tuple[Rows, Rows]]:
    """Pairs (row of ours, row of theirs) in the same or neighbouring cells, some at a time."""
    cells, inverse = np.unique(theirs, axis=0, return_inverse=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    counts = np.bincount(inverse.reshape(-1), minlength=len(cells))
    starts = np.concatenate([[0], np.cumsum(counts)])
    number = {tuple(cell): i for i, cell in enumerate(cells.tolist())}
    wanted, of = np.unique(ours, axis=0, return_inverse=True)
    rows_of = np.argsort(of.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(of.reshape(-1), minlength=len(wanted)))
    for i, (volume, *at) in enumerate(wanted.tolist()):
        here = rows_of[ends[i - 1] if i else 0 : ends[i]]
        found = [
            number.get((volume, *(a + s for a, s in zip(at, step, strict=True))))
            for step in itertools.product((-1.0, 0.0, 1.0), repeat=3)
        ]
        near = [order[starts[k] : starts[k + 1]] for k in found if k is not None]
        there = np.concatenate(near) if near else np.zeros(0, np.int64)
        size = max(1, _PAIRS // max(len(there), 1))
        for start in range(0, len(here) if len(there) else 0, size):
            part = here[start : start + size]
            yield np.repeat(part, len(there)), np.tile(there, len(part))
