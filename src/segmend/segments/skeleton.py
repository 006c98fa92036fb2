"""Where a segment branches.

The skeleton is that of Lee, Kashyap and Chu (1994), its graph skan's; what is added here is what
thinning needs around it. Before: cavities are filled, anisotropic voxels are cut into cubes, and
the surface is smoothed over one voxel, because every voxel that sticks out grows a spur.
After: spurs (branches that end) shorter than twice the local radius are cut off; two junctions
closer than that are one; and two arms that close into a loop, around a hole in a rough surface or
where a segment touches itself, do not count as branches, because a neurite is a tree.

Known limit: this thinning eats bars of exactly even width along an axis from their ends
(scikit-image issue 3757), so a box-shaped arm may be missed. Shapes from tissue are not affected.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import cc3d
import networkx as nx  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from segmend.core.box import Point
from segmend.core.errors import BadInputError, GridMismatchError
from segmend.core.grid import VoxelGrid
from segmend.segments.thinning import thinned

MIN_BRANCH_RADII = 2.0
"""A branch shorter than this many local radii is not one (design, section 3, "Controls")."""

MAX_CUBES = 2_000_000
"""Most voxels to thin. Thinning takes about 70 ns a voxel of the box and layer peeled off; the
branches of a segment that fills a larger box show at a coarser grid."""

MIN_DEGREE = 3
"""Fewest branches that make a branch point."""


@dataclass(frozen=True, slots=True)
class BranchPoint:
    """A place where a segment branches.

    Attributes:
        point_nm: On the skeleton, ``(z, y, x)`` nm.
        degree: Branches that leave it, at least 3; arms of a loop do not count.
        radius_nm: Distance from there to the centre of the nearest voxel outside the segment, nm.
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
    cubes, fine = _cubes(mask, grid)
    filled = _fill_cavities(cubes)
    graph = _skeleton_graph(filled & _smooth(filled, fine, grid), fine)
    if max(dict(graph.degree).values(), default=0) < MIN_DEGREE or filled.all():
        return []
    _measure_radii(graph, filled, fine)
    _prune(graph)
    return sorted(_junctions(graph, fine), key=lambda branch: branch.point_nm)


def _cubes(mask: NDArray[np.bool_], grid: VoxelGrid) -> tuple[NDArray[np.bool_], VoxelGrid]:
    """The mask in nearly cubic voxels: thinning peels voxels, whatever their shape.

    Cubes are as small as the finest voxel size, or larger where there would be more than
    `MAX_CUBES`: voxels along longer axes are cut, along shorter axes joined by majority.
    """
    space = np.prod(np.multiply(grid.voxel_size, grid.shape))
    edge = max(min(grid.voxel_size), float(space / MAX_CUBES) ** (1 / 3))
    parts = [max(1, round(size / edge)) for size in grid.voxel_size]
    joined = [max(1, round(edge / size)) for size in grid.voxel_size]
    if max(joined) > 1:
        count = mask.astype(np.uint16)
        for axis, run in enumerate(joined):
            count = np.add.reduceat(count, np.arange(0, count.shape[axis], run), axis)
        mask = count * 2 >= np.prod(joined)
    for axis, part in enumerate(parts):
        mask = np.repeat(mask, part, axis) if part > 1 else mask
    steps = [size * j / p for size, j, p in zip(grid.voxel_size, joined, parts, strict=True)]
    return mask, VoxelGrid(steps, grid.offset, mask.shape)


def _fill_cavities(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with every part of the background that does not reach the border of the array."""
    parts = cc3d.connected_components(~mask, connectivity=6)
    faces = [parts[side] for side in (0, -1)]
    faces += [parts[:, side] for side in (0, -1)]
    faces += [parts[:, :, side] for side in (0, -1)]
    outside = np.zeros(int(parts.max()) + 1, bool)
    for face in faces:
        outside[face] = True
    outside[0] = False
    return ~outside[parts]


def _shell(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The voxels of the background that share a face with the mask."""
    near = np.zeros_like(mask)
    for axis in range(3):
        here, there = np.moveaxis(near, axis, 0), np.moveaxis(mask, axis, 0)
        here[1:] |= there[:-1]
        here[:-1] |= there[1:]
    return near & ~mask


def _smooth(mask: NDArray[np.bool_], fine: VoxelGrid, grid: VoxelGrid) -> NDArray[np.bool_]:
    """The mask blurred and thresholded at half.

    The width is one fine voxel, or half a voxel of the original grid where that was cut, to take
    away its steps.
    """
    ratios = zip(grid.voxel_size, fine.voxel_size, strict=True)
    sigma = [max(1.0, coarse / size / 2) for coarse, size in ratios]
    blurred = ndimage.gaussian_filter(mask.astype(np.float32), sigma, mode="nearest")
    return np.greater(blurred, 0.5)


def _skeleton_graph(mask: NDArray[np.bool_], grid: VoxelGrid) -> nx.MultiGraph:
    """Junctions and tips (with attribute ``voxel``) joined by branches (``length``, nm)."""
    # It is slow to import and needed only here.
    from skan.csr import skeleton_to_csgraph

    graph = nx.MultiGraph()
    thin = thinned(mask)
    # Below four voxels nothing branches.
    if np.count_nonzero(thin) <= MIN_DEGREE:
        return graph
    steps, voxels = skeleton_to_csgraph(thin, spacing=grid.voxel_size)
    for first, last, length in _branches(steps):
        graph.add_edge(first, last, length=length)
    for node in graph:
        graph.nodes[node]["voxel"] = np.array([axis[node] for axis in voxels])
    return graph


def _branches(steps: csr_matrix) -> Iterator[tuple[int, int, float]]:
    """Both ends and the length of every branch of a graph of voxels; closed loops have no ends.

    skan's own table of branches is the same, but it compiles for seconds in every process.
    """
    start, to, nm = steps.indptr.tolist(), steps.indices.tolist(), steps.data.tolist()
    seen: set[tuple[int, int]] = set()
    for node in range(len(start) - 1):
        if start[node + 1] - start[node] == 2:
            continue
        for first in range(start[node], start[node + 1]):
            before, at, length = node, to[first], nm[first]
            if (node, at) in seen:
                continue
            while start[at + 1] - start[at] == 2:
                step = start[at] + (to[start[at]] == before)
                before, at, length = at, to[step], length + nm[step]
            seen.add((at, before))
            yield node, at, length


def _measure_radii(graph: nx.MultiGraph, mask: NDArray[np.bool_], grid: VoxelGrid) -> None:
    """Give every node its distance to the nearest voxel of background (``radius``, nm)."""
    # That voxel shares a face with the segment: one step nearer would be inside. A tree of these
    # few costs a fraction of the memory of a distance transform.
    tree = cKDTree(grid.centers(np.argwhere(_shell(mask))))
    for node, voxel in graph.nodes(data="voxel"):
        graph.nodes[node]["radius"] = float(tree.query(grid.centers(voxel))[0])


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
