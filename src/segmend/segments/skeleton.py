"""Where a segment branches.

The skeleton is scikit-image's (Lee, Kashyap and Chu 1994), its branches are skan's; what is added
here is the pruning. Thinning leaves three kinds of artefact, each removed by one rule: spurs
(branches that end) shorter than twice the local radius are cut off; pairs of junctions closer than
that are one junction; and two arms that close into a loop, around a hole in a rough surface or
where a segment touches itself, do not count as branches, because a neurite is a tree.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmend.core.box import Point
from segmend.core.errors import BadInputError, GridMismatchError
from segmend.core.grid import VoxelGrid

MIN_BRANCH_RADII = 2.0
"""A branch shorter than this many local radii is not one (design, section 3, "Controls")."""

MIN_DEGREE = 3
"""Fewest branches that make a branch point."""


@dataclass(frozen=True, slots=True)
class BranchPoint:
    """A place where a segment branches.

    Attributes:
        point_nm: Centre of the skeleton's voxel, ``(z, y, x)`` nm.
        degree: Branches that leave it, at least 3; arms of a loop do not count.
        radius_nm: Distance from there to the nearest voxel outside the segment, nm, between voxel
            centres.
    """

    point_nm: Point
    degree: int
    radius_nm: float


def branch_points(mask: NDArray[np.bool_], grid: VoxelGrid) -> list[BranchPoint]:
    """Find the branch points of a segment.

    Args:
        mask: bool ``(z, y, x)``, the segment; cavities in it are filled. Where it touches the
            border of the array it is taken to go on, so leave a voxel of background around it
            where it does not.
        grid: Where the voxels lie; they may be anisotropic.

    Returns:
        Branch points, sorted by position ``(z, y, x)``.

    Raises:
        BadInputError: if the mask is not a 3-D bool array.
        GridMismatchError: if it does not fit the grid.
    """
    if mask.ndim != 3 or mask.dtype != np.bool_:
        raise BadInputError(
            "a mask must be a bool array (z, y, x)",
            found=f"shape {mask.shape}, dtype {mask.dtype}",
        )
    if mask.shape != grid.shape:
        raise GridMismatchError(
            "the mask does not fit its grid", found=f"mask {mask.shape}, grid {grid.shape}"
        )
    filled = ndimage.binary_fill_holes(mask)
    graph = _skeleton_graph(filled, grid)
    if max(dict(graph.degree).values(), default=0) < MIN_DEGREE:
        return []
    distance = ndimage.distance_transform_edt(filled, sampling=grid.voxel_size)
    for node in graph:
        graph.nodes[node]["radius"] = float(distance[tuple(graph.nodes[node]["voxel"])])
    _prune(graph)
    return sorted(_junctions(graph, grid), key=lambda branch: branch.point_nm)


def _skeleton_graph(mask: NDArray[np.bool_], grid: VoxelGrid) -> nx.MultiGraph:
    """Junctions and tips (with attribute ``voxel``) joined by branches (``length``, nm)."""
    # Both are slow to import and needed only here.
    from skan import Skeleton
    from skimage.morphology import skeletonize

    graph = nx.MultiGraph()
    thin = skeletonize(mask)  # type: ignore[no-untyped-call]
    # skan cannot describe fewer than two voxels, and below four nothing branches.
    if np.count_nonzero(thin) <= MIN_DEGREE:
        return graph
    skeleton = Skeleton(thin, spacing=grid.voxel_size, keep_images=False)
    for path, length in zip(skeleton.paths_list(), skeleton.path_lengths(), strict=True):
        graph.add_edge(int(path[0]), int(path[-1]), length=float(length))
    for node in graph:
        graph.nodes[node]["voxel"] = skeleton.coordinates[node]
    return graph


def _prune(graph: nx.MultiGraph) -> None:
    """Remove or contract branches shorter than twice the local radius, shortest first."""
    queue = [(length, *edge) for *edge, length in graph.edges(keys=True, data="length")]
    heapq.heapify(queue)
    while queue:
        _, u, v, key = heapq.heappop(queue)
        if not graph.has_edge(u, v, key) or not _is_short(graph, u, v, key):
            continue
        touched = _drop(graph, u, v, key)
        # What was too long may be short at a wider junction, what was inner may now end.
        for edge in graph.edges(touched, keys=True, data="length"):
            heapq.heappush(queue, (edge[3], *edge[:3]))


def _is_short(graph: nx.MultiGraph, u: int, v: int, key: int) -> bool:
    # A tip's own radius says nothing: the limit comes from the junction the branch leaves.
    ends = [node for node in (u, v) if graph.degree(node) > 1]
    radius = max((graph.nodes[node]["radius"] for node in ends), default=0.0)
    return bool(graph.edges[u, v, key]["length"] < MIN_BRANCH_RADII * radius)


def _drop(graph: nx.MultiGraph, u: int, v: int, key: int) -> list[int]:
    """Drop one branch and return the nodes whose branches changed."""
    graph.remove_edge(u, v, key)
    wide, narrow = sorted((u, v), key=lambda node: (-graph.nodes[node]["radius"], node))
    if graph.degree(narrow) == 0 and u != v:
        # The tip may be wider than the junction: keep whichever end still leads on.
        graph.remove_node(narrow)
    elif graph.degree(wide) == 0 and u != v:
        graph.remove_node(wide)
        wide = narrow
    elif u != v:
        for _, other, length in list(graph.edges(narrow, data="length")):
            graph.add_edge(wide, wide if other == narrow else other, length=length)
        graph.remove_node(narrow)
    return _dissolve(graph, wide)


def _dissolve(graph: nx.MultiGraph, node: int) -> list[int]:
    """Join the two branches of a node of degree 2 into one."""
    branches = list(graph.edges(node, data="length"))
    if graph.degree(node) != 2 or len(branches) != 2:
        return [node]
    (_, a, first), (_, b, second) = branches
    graph.remove_node(node)
    graph.add_edge(a, b, length=first + second)
    return [a, b]


def _junctions(graph: nx.MultiGraph, grid: VoxelGrid) -> list[BranchPoint]:
    degrees: dict[int, int] = {}
    for edge in nx.bridges(graph):
        for node in edge:
            degrees[node] = degrees.get(node, 0) + 1
    found = []
    for node, degree in degrees.items():
        if degree >= MIN_DEGREE:
            z, y, x = grid.centers(graph.nodes[node]["voxel"]).tolist()
            found.append(BranchPoint((z, y, x), degree, graph.nodes[node]["radius"]))
    return found
