"""Which neurite a point belongs to: the edge with the smallest distance to its surface.

An additively weighted Voronoi diagram of tapered capsules (Aurenhammer, "Voronoi diagrams", 1991):
thick and thin neurites pack without gaps, and the lead of the nearest over the second nearest
neurite is the distance to their common membrane.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.synthetic.marks import REACH as MARK_REACH
from segmend.synthetic.marks import distance_to_mark
from segmend.synthetic.noise import value_noise

DEEP = 72.0
"""Distance to a membrane beyond which nobody needs to know more, nm."""

REACH = 260.0
"""Edges whose surface is further than this from the centre of a cell do not matter in it, nm."""

RAGGED, RAGGED_PITCH = 20.0, 140.0
"""Amplitude and period of the ragged border between two fragments of a neurite, nm.

The period exceeds the width of a neck: a shorter one shreds the border into specks that no
watershed would make, and a model could tell a false split by them alone."""

Lists = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
Point = tuple[float, float, float]


class Owner(NamedTuple):
    """What holds a point.

    Attributes:
        neuron: Number of the neuron.
        fragment: Number of the fragment of it.
        other: Neuron on the other side of the nearest membrane; -1 if it is further than `DEEP`.
        depth: Distance to that membrane's middle, nm, at most `DEEP`.
        edge: Nearest edge.
        inside: Distance to the surface of the nearest edge, negative inside, nm.
        tilt: Component along z of the membrane's unit normal.
    """

    neuron: int
    fragment: int
    other: int
    depth: float
    edge: int
    inside: float
    tilt: float


@njit(cache=True, nogil=True)
def surface_distance(capsule: NDArray[np.float64], e: int, z: float, y: float, x: float) -> float:
    """Distance from a point to the surface of an edge's tapered capsule, nm."""
    z, y, x = z - capsule[e, 0], y - capsule[e, 1], x - capsule[e, 2]
    a, b, c = capsule[e, 3], capsule[e, 4], capsule[e, 5]
    t = min(1.0, max(0.0, (z * a + y * b + x * c) * capsule[e, 6]))
    z, y, x = z - t * a, y - t * b, x - t * c
    return np.sqrt(z * z + y * y + x * x) - capsule[e, 7] - t * capsule[e, 8]


@njit(cache=True, nogil=True)
def edge_lists(capsule: NDArray[np.float64], centres: NDArray[np.float64], half: float) -> Lists:
    """Edges that matter anywhere in each cell of voxels, nearest first.

    Args:
        capsule: Of the edges near the block.
        centres: Layout positions of the cells' centres, ``(n, 3)`` nm.
        half: Largest distance of a cell's points from its centre in layout space, nm.

    Returns:
        Starts ``(n + 1,)``, rows, and the distance of each row's surface from the centre, nm.
    """
    count = len(centres)
    start = np.zeros(count + 1, np.int64)
    rows, near = np.empty(count * 32 + 64, np.int64), np.empty(count * 32 + 64)
    distance = np.empty(len(capsule))
    for n in range(count):
        z, y, x = centres[n]
        least = np.inf
        for e in range(len(distance)):
            distance[e] = surface_distance(capsule, e, z, y, x)
            least = min(least, distance[e])
        # Both distances change by at most the half width, towards each other at worst.
        found = np.flatnonzero(distance <= min(REACH, least + 2.0 * half + 2.0 * DEEP))
        found = found[np.argsort(distance[found], kind="mergesort")]
        if len(found) == 0:
            raise ValueError("synthetic tissue: a cell has no neurite within reach")
        total = start[n] + len(found)
        while total > len(rows):
            rows, near = np.concatenate((rows, rows)), np.concatenate((near, near))
        rows[start[n] : total], near[start[n] : total] = found, distance[found]
        start[n + 1] = total
    return start, rows, near


@njit(cache=True, nogil=True)
def mark_lists(shape: NDArray[np.float64], centres: NDArray[np.float64], half: float) -> Lists:
    """Marks that may reach a voxel of each cell, in table order; see `edge_lists`."""
    count = len(centres)
    start = np.zeros(count + 1, np.int64)
    rows, near = np.empty(count * 4 + 64, np.int64), np.empty(count * 4 + 64)
    for n in range(count):
        z, y, x = centres[n]
        total = start[n]
        for m in range(len(shape)):
            distance = distance_to_mark(shape, m, z, y, x)
            if distance <= shape[m, MARK_REACH] + half:
                if total == len(rows):
                    rows, near = np.concatenate((rows, rows)), np.concatenate((near, near))
                rows[total], near[total] = m, distance
                total += 1
        start[n + 1] = total
    return start, rows, near


@njit(cache=True, nogil=True)
def _direction(capsule: NDArray[np.float64], e: int, point: Point) -> Point:
    """Unit vector from an edge's axis to a point."""
    z, y, x = point
    z, y, x = z - capsule[e, 0], y - capsule[e, 1], x - capsule[e, 2]
    a, b, c = capsule[e, 3], capsule[e, 4], capsule[e, 5]
    t = min(1.0, max(0.0, (z * a + y * b + x * c) * capsule[e, 6]))
    z, y, x = z - t * a, y - t * b, x - t * c
    norm = np.sqrt(z * z + y * y + x * x) + 1e-9
    return z / norm, y / norm, x / norm


@njit(cache=True, nogil=True)
def _two_nearest(
    capsule: NDArray[np.float64],
    neuron: NDArray[np.int64],
    rows: NDArray[np.int64],
    near: NDArray[np.float64],
    off: float,
    point: Point,
    scratch: NDArray[np.float64],
) -> tuple[float, int, float, int, int]:
    """Distance and edge of the nearest and second nearest neuron, and how many edges counted."""
    z, y, x = point
    best, second = np.inf, np.inf
    best_edge, second_edge, holder = -1, -1, -1
    for n in range(len(rows)):
        # No later edge can come nearer than this.
        if near[n] - off > min(best + 2.0 * DEEP, max(second, best + RAGGED)):
            return best, best_edge, second, second_edge, n
        e = rows[n]
        s = surface_distance(capsule, e, z, y, x)
        scratch[n] = s
        if s < best:
            if neuron[e] != holder:
                second, second_edge, holder = best, best_edge, neuron[e]
            best, best_edge = s, e
        elif s < second and neuron[e] != holder:
            second, second_edge = s, e
    return best, best_edge, second, second_edge, len(rows)


@njit(cache=True, nogil=True)
def find_owner(
    capsule: NDArray[np.float64],
    neuron: NDArray[np.int64],
    piece: NDArray[np.int64],
    rows: NDArray[np.int64],
    near: NDArray[np.float64],
    off: float,
    point: Point,
    seed: np.uint64,
    scratch: NDArray[np.float64],
) -> Owner:
    """The neurite that holds a point of layout space.

    Args:
        capsule: Of each edge.
        neuron: Of each edge.
        piece: Fragment of each edge.
        rows: The edges that matter in the point's cell, nearest to its centre first.
        near: Their distances from the centre, nm.
        off: Distance of the point from the centre, nm.
        point: Layout position, nm.
        seed: Key of the ragged borders between fragments.
        scratch: At least as long as ``rows``.
    """
    best, best_edge, second, second_edge, looked = _two_nearest(
        capsule, neuron, rows, near, off, point, scratch
    )
    fragment = _ragged_fragment(neuron, piece, rows, scratch, looked, best_edge, point, seed)
    other, depth, tilt = (-1), DEEP, 0.0
    if second - best < 2.0 * DEEP:
        a, b, c = _direction(capsule, best_edge, point)
        u, v, w = _direction(capsule, second_edge, point)
        slope = np.sqrt((a - u) ** 2 + (b - v) ** 2 + (c - w) ** 2)
        lead = (second - best) / max(slope, 0.75)
        if lead < DEEP:
            other, depth = int(neuron[second_edge]), lead
            tilt = (a - u) / max(slope, 1e-6)
    return Owner(int(neuron[best_edge]), fragment, other, depth, best_edge, best, tilt)


@njit(cache=True, nogil=True)
def _ragged_fragment(
    neuron: NDArray[np.int64],
    fragment: NDArray[np.int64],
    rows: NDArray[np.int64],
    distances: NDArray[np.float64],
    looked: int,
    best_edge: int,
    point: Point,
    seed: np.uint64,
) -> int:
    """The fragment of the nearest edge, or, close to a cut, its neighbour where noise says so."""
    holder, held = neuron[best_edge], int(fragment[best_edge])
    best, least, rival = np.inf, np.inf, (-1)
    for n in range(looked):
        e = rows[n]
        if neuron[e] == holder:
            if fragment[e] == held:
                best = min(best, distances[n])
            elif distances[n] < least:
                least, rival = distances[n], int(fragment[e])
    if rival < 0 or least - best > RAGGED:
        return held
    # One noise for both sides: where it is negative the lower number gains ground.
    z, y, x = point
    push = RAGGED * value_noise(seed, z / RAGGED_PITCH, y / RAGGED_PITCH, x / RAGGED_PITCH)
    gained = push if held > rival else -push
    return rival if least - best < -gained else held
