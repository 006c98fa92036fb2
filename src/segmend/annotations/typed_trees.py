"""Trees whose names say what they are: TypeEM's ground truth, and the targets of inhibitory axons.

The group's code tells the type of a tree from its name (it looks for ``spinehead`` in it, and knows
the classes axon, dendrite, glia and spinehead); the page names axon, dendrite, astrocyte and spine
head. Files were not seen: a name that says no type, or two, is an error, and no type becomes
another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from segmend.annotations.annotation import Annotation, Group, Tree
from segmend.annotations.arrow import point_column
from segmend.annotations.columns import Places
from segmend.annotations.merger_mode import node_segments
from segmend.annotations.names import split_of, words
from segmend.annotations.segments_table import Segments
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids

NEURITE_TYPES = ("axon", "dendrite", "astrocyte", "glia", "spinehead")
"""Types of TypeEM."""

TARGET_TYPES = ("axon", "spinehead", "spineneck", "shaft", "soma")
"""Types of the inhibitory test set: the axon itself, and what its synapses are onto."""

TOGETHER = frozenset({"dendrite", "spinehead"})
"""Types that one segment may have: a spine head is part of its dendrite."""

SPELLINGS = {"spinehead": ("spinehead", "spine head"), "spineneck": ("spineneck", "spine neck")}


@dataclass(frozen=True, slots=True)
class TypedTree:
    """A tree and what it is.

    Attributes:
        file: Name of its file.
        tree: The tree, with the segment of every node.
        type: One of the types asked for.
        segments: Its segments, sorted, uint64, without 0.
    """

    file: str
    tree: Tree
    type: str
    segments: Ids


@dataclass(frozen=True, slots=True)
class SegmentTypes:
    """Types of segments.

    Attributes:
        table: One row per file, segment and type: ``file``, ``split``, ``segment_id`` (uint64),
            ``type`` (dictionary), ``tree_id``; with a table of segments also ``point_nm`` and
            ``voxels``.
        conflicts: Segments with types that exclude one another, by file and id; they are not in
            the table.
    """

    table: pa.Table
    conflicts: dict[tuple[str, int], tuple[str, ...]]


def tree_type(tree: Tree, groups: Sequence[str], types: Collection[str]) -> str:
    """The type that a tree's name says, or else the innermost of its groups that says one.

    Args:
        tree: The tree.
        groups: Names of its groups, innermost first.
        types: Types that there can be.

    Raises:
        BadInputError: if nothing says a type, or a name says two.
    """
    for name in (tree.name or "", *groups):
        said = [kind for kind in types if _says(words(name), kind)]
        if len(said) > 1:
            raise BadInputError(
                f"the name of tree {tree.id} says more than one type",
                found=f"'{name}' says {' and '.join(said)}",
                fix="Name it by one type",
            )
        if said:
            return said[0]
    raise BadInputError(
        f"nothing says what tree {tree.id} is",
        found=f"its name is {tree.name!r}, its groups are {list(groups)}",
        fix=f"Known types: {', '.join(types)}",
    )


def typed_trees(tracings: Mapping[str, Annotation], types: Collection[str]) -> list[TypedTree]:
    """Trees of located tracings with their types, in the order of files and trees.

    Args:
        tracings: By file name; every node says its segment
            (`segmend.annotations.merger_mode.locate`).
        types: `NEURITE_TYPES` or `TARGET_TYPES`.

    Raises:
        BadInputError: as `tree_type`, with the file; or if a node does not say its segment.
    """
    found = []
    for file, annotation in tracings.items():
        groups = dict(_groups(annotation.groups, ()))
        for tree in annotation.trees:
            named = groups.get(tree.group, ()) if tree.group is not None else ()
            try:
                kind = tree_type(tree, named, types)
            except BadInputError as error:
                raise BadInputError(
                    f"{file}: {error.asked}", found=error.found, fix=error.fix
                ) from error
            segments = np.unique(node_segments(tree))
            found.append(TypedTree(file, tree, kind, segments[segments != 0]))
    return found


def tree_table(trees: Sequence[TypedTree]) -> pa.Table:
    """Typed trees as an Arrow table: ``file``, ``split``, ``tree_id``, ``name``, ``type``, ids."""
    return pa.table(
        {
            "file": pa.array([t.file for t in trees], pa.string()),
            "split": pa.array([_split(t.file) for t in trees], pa.string()),
            "tree_id": pa.array([t.tree.id for t in trees], pa.uint64()),
            "name": pa.array([t.tree.name for t in trees], pa.string()),
            "type": pa.array([t.type for t in trees], pa.string()).dictionary_encode(),
            "segment_ids": pa.array([t.segments for t in trees], pa.list_(pa.uint64())),
        }
    )


def inhibitory_targets(tracings: Mapping[str, Annotation]) -> pa.Table:
    """The inhibitory test set: axons, and their targets with the type of each.

    Args:
        tracings: Located tracings by file name, an axon and its targets in each.

    Returns:
        As `tree_table`.

    Raises:
        BadInputError: as `typed_trees`, or if a file has not exactly one axon.
    """
    trees = typed_trees(tracings, TARGET_TYPES)
    for file in tracings:
        axons = [t.tree.id for t in trees if t.file == file and t.type == "axon"]
        if len(axons) != 1:
            raise BadInputError(
                f"{file} should hold one axon and its targets",
                found=f"trees {axons} are axons" if axons else "no tree is an axon",
            )
    return tree_table(trees)


def segment_types(
    tracings: Mapping[str, Annotation],
    *,
    segments: Segments | None = None,
    grid: VoxelGrid | None = None,
) -> SegmentTypes:
    """TypeEM's ground truth: what every traced segment is.

    Args:
        tracings: Located tracings by file name.
        segments: The table of all segments, to join positions and sizes.
        grid: The grid that its voxels count on; needed with ``segments``.

    Raises:
        BadInputError: as `typed_trees`, or if the table lacks a segment that was traced.
    """
    types_of: dict[tuple[str, int], dict[str, int]] = {}
    for tree in typed_trees(tracings, NEURITE_TYPES):
        for segment in tree.segments.tolist():
            types_of.setdefault((tree.file, segment), {}).setdefault(tree.type, tree.tree.id)
    conflicts = {
        key: tuple(types)
        for key, types in types_of.items()
        if len(types) > 1 and not set(types) <= TOGETHER
    }
    rows = [
        (file, segment, kind, tree)
        for (file, segment), types in types_of.items()
        if (file, segment) not in conflicts
        for kind, tree in types.items()
    ]
    ids = np.array([segment for _, segment, _, _ in rows], np.uint64)
    columns: dict[str, Any] = {
        "file": pa.array([file for file, _, _, _ in rows], pa.string()),
        "split": pa.array([_split(file) for file, _, _, _ in rows], pa.string()),
        "segment_id": pa.array(ids),
        "type": pa.array([kind for _, _, kind, _ in rows], pa.string()).dictionary_encode(),
        "tree_id": pa.array([tree for _, _, _, tree in rows], pa.uint64()),
    }
    if segments is not None:
        columns |= _joined(ids, segments, grid)
    return SegmentTypes(pa.table(columns), conflicts)


def _joined(ids: Ids, segments: Segments, grid: VoxelGrid | None) -> dict[str, Any]:
    if grid is None:
        raise BadInputError("positions of segments need the grid that they count on", fix="grid=")
    if ids.size and ids.max() > len(segments):
        raise BadInputError(
            f"segment {ids.max()} was traced and is not in the table of segments",
            found=f"it has {len(segments)}",
            fix="Locate the tracings in the segmentation that the table is of",
        )
    rows = ids.astype(np.int64) - 1
    places = Places(segments.positions.voxels[rows], segments.positions.known[rows])
    return {
        "point_nm": point_column(places, grid),
        "voxels": pa.array(segments.voxel_counts[rows]),
    }


def _says(said: Sequence[str], kind: str) -> bool:
    for spelling in SPELLINGS.get(kind, (kind,)):
        wanted = spelling.split()
        for at in range(len(said) - len(wanted) + 1):
            *first, last = said[at : at + len(wanted)]
            if [*first] == wanted[:-1] and last in (wanted[-1], f"{wanted[-1]}s"):
                return True
    return False


def _groups(
    groups: Sequence[Group], outer: tuple[str, ...]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Names of every group and of those around it, innermost first, by id."""
    for group in groups:
        names = (group.name or "", *outer)
        yield group.id, names
        yield from _groups(group.groups, names)


def _split(file: str) -> str | None:
    return split_of(PurePosixPath(file).stem)
