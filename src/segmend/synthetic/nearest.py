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

from segmend.synthetic.edges import Edges
from segmend.synthetic.marks import Marks, distance_to_mark
from segmend.synthetic.noise import value_noise

DEEP = 150.0
"""Distance to a membrane beyond which nobody needs to know more, nm."""

REACH = 260.0
"""Edges whose surface is further than this from the centre of a cell do not matter in it, nm."""

RAGGED, RAGGED_PITCH = 20.0, 38.0
"""Amplitude and period of the ragged border between two fragments of a neurite, nm."""

Lists = tuple[NDArray[np.int64], NDArray[np.int64]]
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
def surface_distance(edges: Edges, e: int, point: Point) -> float:
    """Distance from a point to the surface of an edge's tapered capsule, nm."""
    z, y, x = point
    z, y, x = z - edges.start[e, 0], y - edges.start[e, 1], x - edges.start[e, 2]
    a, b, c = edges.delta[e]
    t = min(1.0, max(0.0, (z * a + y * b + x * c) * edges.inverse[e]))
    z, y, x = z - t * a, y - t * b, x - t * c
    return np.sqrt(z * z + y * y + x * x) - edges.radius[e] - t * edges.swell[e]


@njit(cache=True, nogil=True)
def cell_lists(
    edges: Edges, marks: Marks, centres: NDArray[np.float64], half: float
) -> tuple[Lists, Lists]:
    """Edges and marks that matter anywhere in each cell of voxels.

    Args:
        edges: Edges near the block.
        marks: Marks near the block.
        centres: Layout positions of the cells' centres, ``(n, 3)`` nm.
        half: Largest distance of a cell's points from its centre in layout space, nm.

    Returns:
        For edges and for marks: starts ``(n + 1,)`` and rows.
    """
    count = len(centres)
    edge_start, mark_start = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    edge_rows, mark_rows = np.empty(count * 24 + 64, np.int64), np.empty(count * 4 + 64, np.int64)
    distance = np.empty(len(edges.radius))
    for n in range(count):
        point = (centres[n, 0], centres[n, 1], centres[n, 2])
        least = np.inf
        for e in range(len(distance)):
            distance[e] = surface_distance(edges, e, point)
            least = min(least, distance[e])
        total = edge_start[n]
        for e in range(len(distance)):
            # Twice the cell's half width, and the lead that still counts as near a membrane.
            if distance[e] <= min(REACH, least + 2.0 * half + DEEP):
                edge_rows = _room(edge_rows, total)
                edge_rows[total] = e
                total += 1
        edge_start[n + 1] = total
        total = mark_start[n]
        for m in range(len(marks.kind)):
            if distance_to_mark(marks, m, point) <= marks.reach[m] + half:
                mark_rows = _room(mark_rows, total)
                mark_rows[total] = m
                total += 1
        mark_start[n + 1] = total
    return (edge_start, edge_rows), (mark_start, mark_rows)


@njit(cache=True, nogil=True)
def _room(rows: NDArray[np.int64], used: int) -> NDArray[np.int64]:
    if used < len(rows):
        return rows
    larger = np.empty(2 * len(rows), np.int64)
    larger[:used] = rows
    return larger


@njit(cache=True, nogil=True)
def _direction(edges: Edges, e: int, point: Point) -> Point:
    """Unit vector from an edge's axis to a point."""
    z, y, x = point
    z, y, x = z - edges.start[e, 0], y - edges.start[e, 1], x - edges.start[e, 2]
    a, b, c = edges.delta[e]
    t = min(1.0, max(0.0, (z * a + y * b + x * c) * edges.inverse[e]))
    z, y, x = z - t * a, y - t * b, x - t * c
    norm = np.sqrt(z * z + y * y + x * x) + 1e-9
    return z / norm, y / norm, x / norm


@njit(cache=True, nogil=True)
def find_owner(
    edges: Edges,
    rows: NDArray[np.int64],
    point: Point,
    seed: np.uint64,
    scratch: NDArray[np.float64],
) -> Owner:
    """The neurite that holds a point of layout space.

    Args:
        edges: Edge table.
        rows: The edges that matter here.
        point: Layout position, nm.
        seed: Key of the ragged borders between fragments.
        scratch: At least as long as ``rows``.
    """
    best, second = np.inf, np.inf
    best_edge, second_edge = -1, -1
    for n in range(len(rows)):
        e = rows[n]
        s = surface_distance(edges, e, point)
        scratch[n] = s
        if s < best:
            if best_edge >= 0 and edges.neuron[e] != edges.neuron[best_edge]:
                second, second_edge = best, best_edge
            best, best_edge = s, e
        elif s < second and edges.neuron[e] != edges.neuron[best_edge]:
            second, second_edge = s, e
    neuron = np.int64(edges.neuron[best_edge])
    fragment = _ragged_fragment(edges, rows, scratch, best_edge, point, seed)
    other, depth, tilt = np.int64(-1), DEEP, 0.0
    if second_edge >= 0:
        (a, b, c), (u, v, w) = (
            _direction(edges, best_edge, point),
            _direction(edges, second_edge, point),
        )
        slope = np.sqrt((a - u) ** 2 + (b - v) ** 2 + (c - w) ** 2)
        lead = (second - best) / max(slope, 0.75)
        if lead < DEEP:
            other, depth, tilt = np.int64(edges.neuron[second_edge]), lead, (a - u) / max(slope, 1e-6)
    return Owner(neuron, fragment, other, depth, best_edge, best, tilt)


@njit(cache=True, nogil=True)
def _ragged_fragment(
    edges: Edges,
    rows: NDArray[np.int64],
    distances: NDArray[np.float64],
    best_edge: int,
    point: Point,
    seed: np.uint64,
) -> int:
    """The fragment of the nearest edge, or, close to a cut, its neighbour where noise says so."""
    neuron, fragment = edges.neuron[best_edge], edges.fragment[best_edge]
    rival, least = -1, np.inf
    best = np.inf
    for n in range(len(rows)):
        e = rows[n]
        if edges.neuron[e] == neuron:
            if edges.fragment[e] == fragment:
                best = min(best, distances[n])
            elif distances[n] < least:
                least, rival = distances[n], edges.fragment[e]
    if rival < 0 or least - best > RAGGED:
        return np.int64(fragment)
    # One noise for both sides: positive pushes the border towards the lower number.
    z, y, x = point
    push = RAGGED * value_noise(seed, z / RAGGED_PITCH, y / RAGGED_PITCH, x / RAGGED_PITCH)
    if fragment > rival:
        push = -push
    return np.int64(rival if least - best < -push else fragment)
