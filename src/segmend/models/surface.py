"""The surface that the views of a site show, as a graph: what lies beside what, and how firmly.

Nodes are the pixels of all views at a quarter of the resolution, where there is a body. Neighbours
in a view hold together, weakly over a step in depth and weakly in a groove, where two convex bodies
meet; pixels of two views that show one place of the surface hold together too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from segmend.core.sample import IMAGE_SIZE, channel
from segmend.models.views import world_positions

Values = NDArray[np.float64]
Numbers = NDArray[np.int64]
Edges = tuple[Numbers, Numbers, Values]
"""First node, second node, weight in (0, 1]."""

STEP = 4
"""Pixels of a view along the side of a node."""

_PIXEL = 2 * STEP / IMAGE_SIZE
"""Width of a node, half-widths of the view."""

# The numbers below were chosen on 120 training rows of synthetic tissue (docs/models.md).
_LEVEL = 1.5
"""Distance of neighbours, in nodes, that is no step yet: a surface seen at 45 degrees has 1.4."""
_STEEP = 1.0
"""A step of so many nodes more weakens an edge by a factor of e."""
_GROOVE = 0.1
"""A bend inwards by so much (difference of normals along the edge) weakens one by a factor of e."""
_NEAR = 2.0
"""Nodes of two views that lie closer than this, in nodes, may show one place."""
_LOOSE = 1e-3
"""Least weight of an edge: neighbours never part for nothing."""
_MIDDLE, _LEAST = 0.5, 0.15
"""The site lies at the centre of its views, give or take the jitter: edges this close to it, in
half-widths, are cheaper to cut, at the centre itself down to this share of their weight."""


@dataclass(frozen=True, slots=True)
class Surface:
    """What the views of one site show.

    Attributes:
        shown: Where there is a body, bool (views, rows, columns), at a quarter of the resolution.
        points: Place of each node (x, y, z) relative to the centre, half-widths, (nodes, 3).
        normals: Unit normal of each node (x, y, z), (nodes, 3).
    """

    shown: NDArray[np.bool_]
    points: Values
    normals: Values


def surface_of(geometry: NDArray[np.floating], views: Sequence[str]) -> Surface:
    """The surface that geometry views show.

    Args:
        geometry: (views, channels, 224, 224), channels as `CHANNELS`.
        views: Names of the views.
    """
    side = IMAGE_SIZE // STEP
    blocks = geometry.astype(np.float32).reshape(len(views), -1, side, STEP, side, STEP)
    body = blocks[:, channel("silhouette")] > 0
    count = body.sum(axis=(2, 4))
    shown = count > 0

    def mean(name: str) -> NDArray[np.float32]:
        total = np.where(body, blocks[:, channel(name)], 0).sum(axis=(2, 4))
        return np.asarray(total / np.maximum(count, 1), np.float32)

    depth = mean("depth")
    normals = np.stack([mean(f"normal_{axis}") for axis in "xyz"], axis=-1)[shown].astype(float)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    places = [world_positions(view, image) for view, image in zip(views, depth, strict=True)]
    return Surface(shown, np.moveaxis(np.stack(places), 1, -1)[shown].astype(float), normals)


def graph_of(surface: Surface) -> sparse.csr_array:
    """How firmly every two nodes hold together, symmetric, connected, (nodes, nodes)."""
    first, second, weight = _joined(_beside(surface), _across(surface))
    middle = np.linalg.norm(surface.points[first] + surface.points[second], axis=1) / 2
    weight = weight * (np.minimum(middle / _MIDDLE, 1) + _LEAST) + _LOOSE
    graph = _symmetric((first, second, weight), len(surface.points))
    bridges = _bridges(graph, surface.points)
    return graph if bridges is None else graph + _symmetric(bridges, len(surface.points))


def _beside(surface: Surface) -> Edges:
    """Neighbours along the rows and columns of a view."""
    number = np.full(surface.shown.shape, -1, np.int64)
    number[surface.shown] = np.arange(len(surface.points))
    pairs = ((number[:, :-1], number[:, 1:]), (number[:, :, :-1], number[:, :, 1:]))
    both = [(a >= 0) & (b >= 0) for a, b in pairs]
    first = np.concatenate([a[held] for (a, _), held in zip(pairs, both, strict=True)])
    second = np.concatenate([b[held] for (_, b), held in zip(pairs, both, strict=True)])
    way = surface.points[second] - surface.points[first]
    length = np.linalg.norm(way, axis=1)
    turn = surface.normals[second] - surface.normals[first]
    groove = -(turn * way).sum(axis=1) / np.maximum(length, 1e-6)
    weight = np.exp(-np.maximum(length / _PIXEL - _LEVEL, 0) / _STEEP)
    return first, second, weight * np.exp(-np.maximum(groove, 0) / _GROOVE)


def _across(surface: Surface) -> Edges:
    """For each node of a view the nearest of another, if it is near and faces the same way."""
    view = np.nonzero(surface.shown)[0]
    edges = []
    for one, other in combinations(range(len(surface.shown)), 2):
        ours, theirs = np.flatnonzero(view == one), np.flatnonzero(view == other)
        if not len(ours) or not len(theirs):
            continue
        tree = cKDTree(surface.points[theirs])
        away, found = tree.query(surface.points[ours], distance_upper_bound=_NEAR * _PIXEL)
        first, second = ours[np.isfinite(away)], theirs[found[np.isfinite(away)]]
        facing = (surface.normals[first] * surface.normals[second]).sum(axis=1) > 0
        edges.append((first[facing], second[facing], np.ones(int(facing.sum()))))
    return _joined(*edges)


def _bridges(graph: sparse.csr_array, points: Values) -> Edges | None:
    """One edge from each loose part to the nearest node of the largest, None without any.

    A part that no view shows in contact is cut off cheaply, more cheaply the smaller it is.
    """
    count, part = connected_components(graph, directed=False)
    if count < 2:
        return None
    sizes = np.bincount(part)
    largest = np.flatnonzero(part == sizes.argmax())
    tree = cKDTree(points[largest])
    edges = []
    for loose in np.flatnonzero(np.arange(count) != sizes.argmax()):
        nodes = np.flatnonzero(part == loose)
        away, found = tree.query(points[nodes])
        nearest = int(away.argmin())
        weight = 0.2 * np.sqrt(len(nodes))
        edges.append((nodes[[nearest]], largest[found[[nearest]]], np.array([weight])))
    return _joined(*edges)


def _joined(*edges: Edges) -> Edges:
    if not edges:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    first, second, weight = (np.concatenate(parts) for parts in zip(*edges, strict=True))
    return first, second, weight


def _symmetric(edges: Edges, nodes: int) -> sparse.csr_array:
    first, second, weight = edges
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    both = np.concatenate([weight, weight])
    return sparse.coo_array((both, (rows, columns)), shape=(nodes, nodes)).tocsr()
