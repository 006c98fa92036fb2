"""Merger mode: skeletons whose nodes stand for supervoxels, and back.

A tracing in merger mode puts a node into every supervoxel of a neurite, so that each tree is the
set of supervoxels its nodes lie in. The supervoxel of a node is kept as its attribute `SEGMENT`,
which other programs leave alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.annotations.agglomeration import Agglomeration
from segmend.annotations.annotation import (
    Annotation,
    Edge,
    Node,
    Parameters,
    Tree,
    annotation_grid,
    positions_nm,
)
from segmend.annotations.columns import Lists
from segmend.annotations.neurites import Skeletons
from segmend.annotations.segments_table import Segments
from segmend.core.box import Point
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids, as_id, as_ids

SEGMENT = "segmentId"
"""Attribute of a node: the supervoxel it lies in; 0 for none."""

MAX_SPANNED = 100_000
"""Supervoxels that a tree is spanned over at most: the time grows with their square."""

Lookup = Callable[[NDArray[np.float64]], Ids]
"""Points ``(n, 3)`` nm, ``(z, y, x)``, to the supervoxel at each, uint64 ``(n,)``, 0 for none."""


def locate(annotation: Annotation, lookup: Lookup, *, offset_nm: Point | None = None) -> Annotation:
    """The annotation with the supervoxel of every node.

    Args:
        annotation: A tracing with a scale.
        lookup: What knows the segmentation.
        offset_nm: See `segmend.annotations.annotation.annotation_grid`.

    Raises:
        BadInputError: if the annotation's positions cannot become nm, or ``lookup`` does not
            answer for every node.
    """
    grid = annotation_grid(annotation, offset_nm=offset_nm)
    trees = []
    for tree in annotation.trees:
        found = as_ids(lookup(positions_nm(tree.nodes, grid))) if tree.nodes else as_ids([])
        if found.shape != (len(tree.nodes),):
            raise BadInputError(
                f"the lookup gave {found.shape} segments for {len(tree.nodes)} nodes of tree "
                f"{tree.id}"
            )
        nodes = tuple(
            replace(node, attributes=node.attributes | {SEGMENT: str(segment)})
            for node, segment in zip(tree.nodes, found.tolist(), strict=True)
        )
        trees.append(replace(tree, nodes=nodes))
    return replace(annotation, trees=tuple(trees))


def node_segments(tree: Tree) -> Ids:
    """The supervoxel of each node, uint64 ``(n,)``; 0 for none.

    Raises:
        BadInputError: if a node does not say it, or says what is no id.
    """
    for node in tree.nodes:
        if SEGMENT not in node.attributes:
            raise BadInputError(
                f"node {node.id} of tree {tree.id} names no segment",
                found=f"it has no attribute '{SEGMENT}'",
                fix="Look the segments up first: locate(annotation, lookup)",
            )
    return np.array([as_id(node.attributes[SEGMENT]) for node in tree.nodes], np.uint64)


def agglomerate(annotation: Annotation) -> Agglomeration:
    """The supervoxels of every tree; ids of the neurites are those of the trees.

    Nodes outside every supervoxel add none; a tree may have no supervoxel.

    Raises:
        BadInputError: if a node does not say its supervoxel, a tree has the id 0, or two trees
            share a supervoxel.
    """
    trees = sorted(annotation.trees, key=lambda tree: tree.id)
    lists = []
    for tree in trees:
        segments = node_segments(tree)
        lists.append(segments[segments != 0])
    ids = np.array([tree.id for tree in trees], np.uint64)
    return Agglomeration.of_lists(Lists.of_arrays(lists), ids=ids)


def skeleton_trees(
    skeletons: Skeletons, grid: VoxelGrid, *, rows: Iterable[int] | None = None
) -> Annotation:
    """Published skeletons as trees; the tree of row ``i`` has the id ``i + 1``.

    Args:
        skeletons: Skeletons with the supervoxel of each node.
        grid: The grid their voxels count on.
        rows: Which of them, default all.
    """
    chosen = range(len(skeletons)) if rows is None else rows
    trees, first = [], 1
    for row in chosen:
        voxels, segments = skeletons.nodes_of(row), skeletons.segments[row]
        trees.append(_tree(row + 1, first, voxels, segments, skeletons.edges[row]))
        first += len(voxels)
    return Annotation(parameters=_parameters(grid), trees=tuple(trees))


def spanning_trees(agglomeration: Agglomeration, segments: Segments, grid: VoxelGrid) -> Annotation:
    """Neurites as trees with one node in every supervoxel, linked as shortly as possible.

    Args:
        agglomeration: The neurites.
        segments: A voxel inside every segment.
        grid: The grid its voxels count on.

    Returns:
        A tree per neurite, under its id: the minimum spanning tree of the positions.

    Raises:
        BadInputError: if a supervoxel has no position, or a neurite more than 100,000 supervoxels.
    """
    trees, first = [], 1
    for neurite, supervoxels in zip(
        agglomeration.ids.tolist(), agglomeration.supervoxels, strict=True
    ):
        if len(supervoxels) > MAX_SPANNED:
            raise BadInputError(
                f"neurite {neurite} has {len(supervoxels)} supervoxels",
                found=f"trees are spanned over at most {MAX_SPANNED}",
                fix="Use its published skeleton: skeleton_trees",
            )
        voxels = _positions(neurite, supervoxels, segments)
        edges = _spanning_edges(grid.centers(voxels))
        trees.append(_tree(neurite, first, voxels, supervoxels, edges))
        first += len(supervoxels)
    return Annotation(parameters=_parameters(grid), trees=tuple(trees))


def _positions(neurite: int, supervoxels: Ids, segments: Segments) -> NDArray[np.int64]:
    rows = supervoxels.astype(np.int64) - 1
    missing = supervoxels > len(segments)
    missing[~missing] = ~segments.positions.known[rows[~missing]]
    if missing.any():
        raise BadInputError(
            f"supervoxel {supervoxels[np.argmax(missing)]} of neurite {neurite} has no position",
            found=f"the table has {len(segments)} segments",
        )
    return segments.positions.voxels[rows]


def _tree(
    number: int,
    first: int,
    voxels: NDArray[np.int64],
    segments: Ids,
    edges: NDArray[np.int64],
) -> Tree:
    """A tree whose nodes are numbered from ``first``."""
    nodes = tuple(
        Node(first + i, (float(x), float(y), float(z)), attributes={SEGMENT: str(segment)})
        for i, ((z, y, x), segment) in enumerate(
            zip(voxels.tolist(), segments.tolist(), strict=True)
        )
    )
    links = tuple(Edge(first + a, first + b) for a, b in edges.tolist())
    return Tree(number, f"neurite {number}", nodes=nodes, edges=links)


def _parameters(grid: VoxelGrid) -> Parameters:
    if any(grid.offset):
        raise BadInputError(
            f"a grid that starts at {grid.offset} nm cannot become an annotation",
            fix="Pass the grid of the whole data set, which starts at 0",
        )
    z, y, x = grid.voxel_size
    return Parameters(scale_xyz=(x, y, z), unit="nanometer")


@njit(cache=True, nogil=True)
def _spanning_edges(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Minimum spanning tree by Prim's algorithm: edges in the order in which they are found.

    Of equally long ones, that to the lower number comes first.
    """
    count = len(points)
    edges = np.empty((max(count - 1, 0), 2), np.int64)
    near = np.zeros(count, np.int64)
    distance = np.full(count, np.inf)
    left = np.ones(count, np.bool_)
    here = 0
    for done in range(count - 1):
        left[here] = False
        best = -1
        for other in range(count):
            if not left[other]:
                continue
            far = 0.0
            for axis in range(3):
                step = points[here, axis] - points[other, axis]
                far += step * step
            if far < distance[other]:
                distance[other], near[other] = far, here
            if best < 0 or distance[other] < distance[best]:
                best = other
        edges[done, 0], edges[done, 1] = near[best], best
        here = best
    return edges
