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

    ``capsule`` holds, side by side for the inner loop: start (3), end minus start (3), inverse
    squared length (0 for a ball), radius at the start, radius at the end minus at the start.
    ``pose`` holds an orthonormal frame carried along each path without twist, in which texture is
    drawn: heading (3), side (3), up (3).
    """

    capsule: NDArray[np.float64]
    neuron: NDArray[np.int64]
    fragment: NDArray[np.int64]
    pose: NDArray[np.float64]
    path: NDArray[np.int64]

    @property
    def middle(self) -> NDArray[np.float64]:
        """Midpoints, ``(n, 3)``."""
        return self.capsule[:, :3] + 0.5 * self.capsule[:, 3:6]

    @property
    def thickest(self) -> NDArray[np.float64]:
        """The larger radius of each edge."""
        return self.capsule[:, 7] + np.maximum(0.0, self.capsule[:, 8])

    def take(self, rows: NDArray[np.int64]) -> Edges:
        """Some of the edges."""
        return Edges._make(column[rows] for column in self)


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
    middle: NDArray[np.float64]
    shape: tuple[int, int, int]
    origin: NDArray[np.float64]

    def near(self, low: NDArray[np.float64], high: NDArray[np.float64], reach: float) -> Edges:
        """Edges whose surface may be within ``reach`` nm of a box of layout space, in order."""
        return self.edges.take(self.rows_near(low, high, reach))

    def rows_near(
        self, low: NDArray[np.float64], high: NDArray[np.float64], reach: float
    ) -> NDArray[np.int64]:
        """Rows of the edges that `near` returns."""
        far = reach + self.widest
        first = np.clip(np.floor((low - far - self.origin) / BUCKET).astype(int), 0, None)
        last = np.floor((high + far - self.origin) / BUCKET).astype(int)
        found = [self.big]  # never in a bucket
        for i in range(first[0], min(last[0] + 1, self.shape[0])):
            for j in range(first[1], min(last[1] + 1, self.shape[1])):
                key = (i * self.shape[1] + j) * self.shape[2]
                end = key + min(last[2] + 1, self.shape[2])
                a, b = np.searchsorted(self.keys, [key + first[2], max(end, key + first[2])])
                found.append(self.rows[a:b])
        rows = np.sort(np.concatenate(found))
        middle = self.middle[rows]
        beyond = np.maximum(0.0, np.maximum(low - middle, middle - high))
        distance = np.sqrt((beyond * beyond).sum(axis=1))
        return rows[distance <= reach + self.extent[rows]]


def edge_grid(edges: Edges) -> EdgeGrid:
    """Sort edges into buckets."""
    middle = edges.middle
    origin = middle.min(axis=0) - 1.0
    index = np.floor((middle - origin) / BUCKET).astype(np.int64)
    a, b, c = (int(n) + 2 for n in index.max(axis=0))
    keys = (index[:, 0] * b + index[:, 1]) * c + index[:, 2]
    length = np.sqrt((edges.capsule[:, 3:6] ** 2).sum(axis=1))
    extent = 0.5 * length + edges.thickest
    large = edges.thickest > BIG
    rows = np.argsort(keys, kind="stable")
    rows = rows[~large[rows]]
    widest = float(extent[~large].max(initial=0.0))
    big = np.flatnonzero(large)
    return EdgeGrid(edges, keys[rows], rows, big, extent, widest, middle, (a, b, c), origin)


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


def edge_nodes(forest: Forest) -> NDArray[np.int64]:
    """The node each edge belongs to: all that have a parent, and somata."""
    soma = np.array([kind == "soma" for kind in forest.kinds])[forest.arbor]
    return np.flatnonzero((forest.parent >= 0) | soma)


def build_edges(forest: Forest, neuron: NDArray[np.int64], fragment: NDArray[np.int64]) -> Edges:
    """The edge table of a forest: node to parent, and a ball for each soma."""
    node = edge_nodes(forest)
    parent = np.where(forest.parent[node] >= 0, forest.parent[node], node)
    delta = forest.nodes[node] - forest.nodes[parent]
    length2 = (delta * delta).sum(axis=1)
    # A side branch keeps its own width down to the axis of its parent.
    same = forest.path[node] == forest.path[parent]
    start_radius = np.where(same, forest.radius[parent], forest.radius[node])
    inverse = np.divide(1.0, length2, out=np.zeros_like(length2), where=length2 > 0)
    swell = forest.radius[node] - start_radius
    pose = _frames(forest.nodes, forest.parent, forest.path)
    return Edges(
        np.column_stack([forest.nodes[parent], delta, inverse, start_radius, swell]),
        neuron[node],
        fragment[node],
        pose[node],
        forest.path[node],
    )


@njit(cache=True, nogil=True)
def _frames(
    nodes: NDArray[np.float64], parent: NDArray[np.int64], path: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Rotation-minimising frames: each edge's frame is its parent's, projected."""
    count = len(nodes)
    pose = np.zeros((count, 9))
    for n in range(count):
        p = parent[n]
        axis = nodes[n] - nodes[p] if p >= 0 else np.array([1.0, 0.0, 0.0])
        axis /= max(1e-9, np.sqrt((axis * axis).sum()))
        guess = np.array([0.0, 0.0, 1.0]) if abs(axis[2]) < 0.8 else np.array([0.0, 1.0, 0.0])
        if p >= 0 and path[p] == path[n]:
            guess = pose[p, 3:6]
        guess = guess - (guess * axis).sum() * axis
        guess /= max(1e-9, np.sqrt((guess * guess).sum()))
        pose[n, :3], pose[n, 3:6], pose[n, 6:] = axis, guess, np.cross(axis, guess)
    return pose
