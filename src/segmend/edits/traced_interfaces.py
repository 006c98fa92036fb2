"""ConnectEM's training data: interfaces of supervoxels within and across traced neurites.

A tracing in merger mode says which supervoxels make a neurite. Two that touch are a positive sample
if one neurite holds both, and a negative one if two neurites hold them (Motta et al. 2019, data
repository, "Neurite Continuity Classification").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from segmend.annotations.annotation import Annotation
from segmend.annotations.merger_mode import node_segments
from segmend.core.box import Point
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.segments.contacts import find_contacts


@dataclass(frozen=True, slots=True)
class Interface:
    """Two supervoxels that touch, and whether one neurite holds both.

    Attributes:
        a: The smaller id.
        b: The larger id.
        faces: Voxel faces that they share.
        point_nm: Where, ``(z, y, x)`` nm.
        continues: Whether it lies within a neurite (positive) or across two (negative).
        trees: Trees of the tracing that hold ``a`` and ``b``.
    """

    a: int
    b: int
    faces: int
    point_nm: Point
    continues: bool
    trees: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Traced:
    """What a tracing says of a box.

    Attributes:
        interfaces: Sorted by ids.
        neurites: uint64 ``(z, y, x)``: the tree at each voxel, 0 for none and for supervoxels of
            several trees: the layer ``neurons`` of a `segmend.samples.context.SampleContext`, so
            that its merges and controls are the positive and negative interfaces.
        excluded: Interfaces that say nothing, by reason.
    """

    interfaces: tuple[Interface, ...]
    neurites: Ids
    excluded: Counter[str]


def traced_interfaces(
    annotation: Annotation, supervoxels: Ids, grid: VoxelGrid, *, min_faces: int = 1
) -> Traced:
    """The interfaces that a tracing in merger mode decides.

    Args:
        annotation: A tracing with the supervoxel of every node
            (`segmend.annotations.merger_mode.locate`).
        supervoxels: uint64 ``(z, y, x)``, the densely traced box.
        grid: Its grid.
        min_faces: Smallest contact that counts.

    Raises:
        BadInputError: if a node does not say its supervoxel, or a tree has the id 0.
        GridMismatchError: if the array does not fit the grid.
    """
    tree_of, shared = _trees(annotation)
    found: list[Interface] = []
    excluded: Counter[str] = Counter()
    for contact in find_contacts(supervoxels, grid):
        fault = None
        if contact.faces < min_faces:
            fault = f"contact below {min_faces} faces"
        elif contact.a in shared or contact.b in shared:
            fault = "supervoxel of several trees"
        elif contact.a not in tree_of or contact.b not in tree_of:
            fault = "supervoxel of no tree"
        if fault is not None:
            excluded[fault] += 1
            continue
        trees = (tree_of[contact.a], tree_of[contact.b])
        found.append(
            Interface(
                contact.a,
                contact.b,
                contact.faces,
                contact.point_nm,
                continues=trees[0] == trees[1],
                trees=trees,
            )
        )
    found.sort(key=lambda interface: (interface.a, interface.b))
    return Traced(tuple(found), _painted(supervoxels, tree_of, shared), excluded)


def _trees(annotation: Annotation) -> tuple[dict[int, int], set[int]]:
    """The tree of each traced supervoxel, and the supervoxels that several trees claim."""
    tree_of: dict[int, int] = {}
    shared: set[int] = set()
    for tree in annotation.trees:
        for segment in set(node_segments(tree).tolist()) - {0}:
            if tree_of.setdefault(segment, tree.id) != tree.id:
                shared.add(segment)
    return tree_of, shared


def _painted(supervoxels: Ids, tree_of: dict[int, int], shared: Iterable[int]) -> Ids:
    ids, place = np.unique(supervoxels, return_inverse=True)
    known = {segment: tree for segment, tree in tree_of.items() if segment not in set(shared)}
    trees = np.array([known.get(segment, 0) for segment in ids.tolist()], np.uint64)
    return trees[place].reshape(supervoxels.shape)
