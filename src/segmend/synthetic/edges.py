"""The table of edges that voxels are assigned to, and the grid that finds the ones near a box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segmend.synthetic.anatomy import Forest
from segmend.synthetic.spec import TissueSpec

BUCKET = 640.0
"""Edge of a bucket of the grid, nm."""

BIG = 260.0
"""Edges thicker than this (somata) are looked at everywhere, nm."""

GRAZE = 30.0
"""Neurites that leave the volume by less than this stay one neuron, nm."""


class Edges(NamedTuple):
    """One row per edge; all lengths nm, all positions in layout space ``(z, y, x)``.

    ``heading``, ``side`` and ``up`` are an orthonormal frame carried along each path without
    twist, and ``arc`` the length from the path's start: texture is drawn in these coordinates.
    """

    start: NDArray[np.float64]
    delta: NDArray[np.float64]
    inverse: NDArray[np.float64]
    radius: NDArray[np.float64]
    swell: NDArray[np.float64]
    neuron: NDArray[np.int32]
    fragment: NDArray[np.int32]
    heading: NDArray[np.float64]
    side: NDArray[np.float64]
    up: NDArray[np.float64]
    arc: NDArray[np.float64]
    path: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Edges:
        """Some of the edges."""
        return Edges(*(column[rows] for column in self))


@dataclass(frozen=True, slots=True)
class EdgeGrid:
    """Edges sorted into buckets by their midpoint.

    ``extent`` is how far each edge reaches from its midpoint, ``widest`` the largest of the edges
    that are not ``big``, nm.
    """

    edges: Edges
    keys: NDArray[np.int64]
    rows: NDArray[np.int64]
    big: NDArray[np.int64]
    extent: NDArray[np.float64]
    widest: float
    shape: tuple[int, int, int]
    origin: NDArray[np.float64]

    def near(
        self, low: NDArray[np.float64], high: NDArray[np.float64], reach: float
    ) -> Edges:
        """Edges whose surface may be within ``reach`` nm of a box of layout space, in table order."""
        far = reach + self.widest
        first = np.clip(np.floor((low - far - self.origin) / BUCKET).astype(int), 0, None)
        last = np.floor((high + far - self.origin) / BUCKET).astype(int)
        found = [self.big]
        for i in range(first[0], min(last[0] + 1, self.shape[0])):
            for j in range(first[1], min(last[1] + 1, self.shape[1])):
                key = (i * self.shape[1] + j) * self.shape[2]
                end = key + min(last[2] + 1, self.shape[2])
                a, b = np.searchsorted(self.keys, [key + first[2], max(end, key + first[2])])
                found.append(self.rows[a:b])
        rows = np.unique(np.concatenate(found))
        middle = self.edges.start[rows] + 0.5 * self.edges.delta[rows]
        beyond = np.maximum(0.0, np.maximum(low - middle, middle - high))
        distance = np.sqrt((beyond * beyond).sum(axis=1))
        return self.edges.take(rows[distance <= reach + self.extent[rows]])


def edge_grid(edges: Edges) -> EdgeGrid:
    """Sort edges into buckets."""
    middle = edges.start + 0.5 * edges.delta
    origin = middle.min(axis=0) - 1.0
    index = np.floor((middle - origin) / BUCKET).astype(np.int64)
    a, b, c = (int(n) + 2 for n in index.max(axis=0))
    keys = (index[:, 0] * b + index[:, 1]) * c + index[:, 2]
    rows = np.argsort(keys, kind="stable")
    thick = np.maximum(edges.radius, edges.radius + edges.swell)
    extent = 0.5 * np.sqrt((edges.delta**2).sum(axis=1)) + thick
    large = thick > BIG
    widest = float(extent[~large].max(initial=0.0))
    return EdgeGrid(
        edges, keys[rows], rows, np.flatnonzero(large), extent, widest, (a, b, c), origin
    )


def split_into_neurons(spec: TissueSpec, forest: Forest) -> NDArray[np.int64]:
    """Neuron of every node: what hangs together *inside* the volume is one neuron.

    An arbor that leaves the volume and comes back is two neurons here, since nothing inside the
    volume joins its parts.
    """
    node = np.flatnonzero(forest.parent >= 0)
    parent = forest.parent[node]
    middle = 0.5 * (forest.nodes[node] + forest.nodes[parent])
    inside = np.all((middle > -GRAZE) & (middle < np.array(spec.extent) + GRAZE), axis=1)
    a, b = node[inside], parent[inside]
    count = len(forest.nodes)
    links = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(count, count))
    _, label = connected_components(links, directed=False)
    settled = np.zeros(count, bool)
    settled[a] = settled[b] = True
    settled |= forest.parent < 0  # a root that lies outside alone is a neuron of its own
    _spread(forest.parent, label, settled)
    return np.unique(label, return_inverse=True)[1].astype(np.int64)


@njit(cache=True, nogil=True)
def _spread(
    parent: NDArray[np.int64], label: NDArray[np.int32], settled: NDArray[np.bool_]
) -> None:
    """Give the nodes outside the volume the label of the part they continue."""
    for n in range(len(parent) - 1, -1, -1):
        if settled[n] and parent[n] >= 0 and not settled[parent[n]]:
            label[parent[n]], settled[parent[n]] = label[n], True
    for n in range(len(parent)):
        if not settled[n]:
            label[n], settled[n] = label[parent[n]], True


def build_edges(forest: Forest, neuron: NDArray[np.int64], fragment: NDArray[np.int64]) -> Edges:
    """The edge table of a forest: node to parent, and a ball for each soma."""
    soma = np.array([kind == "soma" for kind in forest.kinds])[forest.arbor]
    node = np.flatnonzero((forest.parent >= 0) | soma)
    parent = np.where(forest.parent[node] >= 0, forest.parent[node], node)
    delta = forest.nodes[node] - forest.nodes[parent]
    length2 = (delta * delta).sum(axis=1)
    # A side branch keeps its own width down to the axis of its parent.
    same = forest.path[node] == forest.path[parent]
    start_radius = np.where(same, forest.radius[parent], forest.radius[node])
    heading, side, up, arc = _frames(forest.nodes, forest.parent, forest.path)
    return Edges(
        start=forest.nodes[parent],
        delta=delta,
        inverse=np.divide(1.0, length2, out=np.zeros_like(length2), where=length2 > 0),
        radius=start_radius,
        swell=forest.radius[node] - start_radius,
        neuron=neuron[node].astype(np.int32),
        fragment=fragment[node].astype(np.int32),
        heading=heading[node],
        side=side[node],
        up=up[node],
        arc=arc[node],
        path=forest.path[node],
    )


@njit(cache=True, nogil=True)
def _frames(
    nodes: NDArray[np.float64], parent: NDArray[np.int64], path: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Rotation-minimising frames: each edge's frame is its parent's, projected."""
    count = len(nodes)
    heading, side, up = np.zeros((count, 3)), np.zeros((count, 3)), np.zeros((count, 3))
    arc = np.zeros(count)
    for n in range(count):
        p = parent[n]
        axis = nodes[n] - nodes[p] if p >= 0 else np.array([1.0, 0.0, 0.0])
        axis /= max(1e-9, np.sqrt((axis * axis).sum()))
        guess = np.array([0.0, 0.0, 1.0]) if abs(axis[2]) < 0.8 else np.array([0.0, 1.0, 0.0])
        if p >= 0 and path[p] == path[n]:
            guess = side[p]
            step = nodes[p] - nodes[parent[p]] if parent[p] >= 0 else np.zeros(3)
            arc[n] = arc[p] + np.sqrt((step * step).sum())
        guess = guess - (guess * axis).sum() * axis
        guess /= max(1e-9, np.sqrt((guess * guess).sum()))
        heading[n], side[n] = axis, guess
        up[n] = np.cross(axis, guess)
    return heading, side, up, arc
