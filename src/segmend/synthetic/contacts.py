"""Where two neurites touch: rays from the axis of one to the nearest other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.random import keyed_generator
from segmend.synthetic.edges import EdgeGrid
from segmend.synthetic.marks import GLIA, REACH, STRENGTH, Marks
from segmend.synthetic.nearest import surface_distance
from segmend.synthetic.spec import TissueSpec

TILE = 640.0
"""Rays are cast tile by tile, nm."""

RAYS = 5
STRIDE = 10.0
"""Rays per node and their step, nm."""

BEYOND = 70.0
"""A ray looks this far beyond the surface it starts in, and must find the neighbour this deep."""


class Contacts(NamedTuple):
    """One row per contact.

    ``point`` lies on the common membrane, ``within`` on the axis of the first neurite (layout
    space, nm); ``first`` and ``second`` are rows of the edge table.
    """

    point: NDArray[np.float64]
    within: NDArray[np.float64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]


def find_contacts(spec: TissueSpec, grid: EdgeGrid, marks: Marks) -> Contacts:
    """Contacts of every third edge inside the volume, none under a glial sheet, shuffled."""
    rng = keyed_generator("synthetic", spec.seed, "contacts")
    edges, extent = grid.edges, np.array(spec.extent)
    ends = edges.capsule[:, :3] + edges.capsule[:, 3:6]
    usable = np.all((ends > 90) & (ends < extent - 90), axis=1) & (edges.capsule[:, 6] > 0)
    rows = np.flatnonzero(usable & (rng.random(len(ends)) < 0.35))
    tile = np.floor(ends[rows] / TILE).astype(np.int64)
    found: list[Contacts] = []
    for corner in np.unique(tile, axis=0):
        mine = rows[np.all(tile == corner, axis=1)]
        low, high = corner * TILE, (corner + 1) * TILE
        near = grid.rows_near(low, high, 2 * BEYOND + 250.0)
        rays = rng.standard_normal((len(mine), RAYS, 3))
        point, first, second = _cast(
            edges.capsule[near], edges.neuron[near], ends[mine], edges.neuron[mine], rays
        )
        found.append(Contacts(point, ends[mine[first]], mine[first], near[second]))
    if not found:
        return Contacts(np.empty((0, 3)), np.empty((0, 3)), np.empty(0, int), np.empty(0, int))
    every = Contacts._make(np.concatenate(column) for column in zip(*found, strict=True))
    keep = np.flatnonzero(_bare(every.point, marks))
    keep = rng.permutation(keep)
    return Contacts._make(column[keep] for column in every)


def _bare(points: NDArray[np.float64], marks: Marks) -> NDArray[np.bool_]:
    """Which points no glial sheet can cover."""
    bare = np.ones(len(points), bool)
    for mark in marks.of_kind(GLIA):
        share = np.linalg.norm(points - mark[:3], axis=1) / mark[REACH]
        bare &= mark[STRENGTH] * 1.2 * (1.0 - share**2) < 5.0
    return bare


@njit(cache=True, nogil=True)
def _holder(
    capsule: NDArray[np.float64], local: NDArray[np.int64], point: NDArray[np.float64]
) -> int:
    best, found = np.inf, -1
    for n in range(len(local)):
        s = surface_distance(capsule, local[n], point[0], point[1], point[2])
        if s < best:
            best, found = s, local[n]
    return found


@njit(cache=True, nogil=True)
def _cast(
    capsule: NDArray[np.float64],
    neuron: NDArray[np.int64],
    origins: NDArray[np.float64],
    own: NDArray[np.int64],
    rays: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Contact points, and for each the origin's number and the edge that was hit."""
    limit = len(origins) * RAYS
    points, first, second = (
        np.empty((limit, 3)),
        np.empty(limit, np.int64),
        np.empty(limit, np.int64),
    )
    distance, count = np.empty(len(capsule)), 0
    for n in range(len(origins)):
        z, y, x = origins[n]
        for e in range(len(capsule)):
            distance[e] = surface_distance(capsule, e, z, y, x)
        local = np.flatnonzero(distance < 250.0 + BEYOND)
        for k in range(rays.shape[1]):
            ray = rays[n, k] / np.sqrt((rays[n, k] ** 2).sum())
            for step in range(2, 40):
                at = origins[n] + step * STRIDE * ray
                hit = _holder(capsule, local, at)
                if hit < 0:
                    break
                if neuron[hit] != own[n]:
                    deeper = _holder(capsule, local, at + BEYOND * ray)
                    if deeper >= 0 and neuron[deeper] == neuron[hit]:
                        points[count] = at - 0.5 * STRIDE * ray
                        first[count], second[count] = n, hit
                        count += 1
                    break
    return points[:count], first[:count], second[:count]
