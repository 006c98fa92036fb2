"""Tracings with the segment of every node, looked up file by file as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segmend.annotations.annotation import Annotation, annotation_grid, positions_nm
from segmend.annotations.merger_mode import SEGMENT
from segmend.catalog.lookup import find_segments
from segmend.core.box import Box, Point
from segmend.core.ids import Ids, as_id
from segmend.volumes.volume import Volume

STATED, LOCATED, OUTSIDE, ABSENT = "stated", "located", "outside", "absent"
HOW = (STATED, LOCATED, OUTSIDE, ABSENT)
"""How the segment of a node is known: its file states it; the segmentation has it; or not at all,
because the node lies outside the segmentation, or where nothing was stored."""


@dataclass(frozen=True, slots=True, eq=False)
class LocatedTracing:
    """A tracing, and the segments of its nodes.

    Attributes:
        annotation: The tracing; nodes whose segment is known say it.
        tree_ids: Tree of each node that was asked about, uint64.
        node_ids: Its id, uint64.
        points_nm: Its place, float64 ``(n, 3)``, ``(z, y, x)``.
        segments: Its segment, uint64; 0 for none, and where ``how`` says that it is not known.
        how: Place in `HOW`, uint8.
    """

    annotation: Annotation
    tree_ids: Ids
    node_ids: Ids
    points_nm: NDArray[np.float64]
    segments: Ids
    how: NDArray[np.uint8]

    def to_table(self) -> pa.Table:
        """A row per node: ``tree_id``, ``node_id``, ``point_nm``, ``segment_id``, ``how``.

        A segment that is not known is null; 0 is a node in no segment.
        """
        flat: Any = pa.array(self.points_nm.reshape(-1))
        how: Any = pa.array(self.how)
        return pa.table(
            {
                "tree_id": pa.array(self.tree_ids),
                "node_id": pa.array(self.node_ids),
                "point_nm": pa.FixedSizeListArray.from_arrays(flat, 3),
                "segment_id": pa.array(self.segments, mask=self.how >= HOW.index(OUTSIDE)),
                "how": pa.DictionaryArray.from_arrays(how, pa.array(HOW)),
            }
        )

    def __len__(self) -> int:
        return len(self.node_ids)


def locate_tracing(
    annotation: Annotation,
    volume: Volume,
    *,
    box: Box | None = None,
    offset_nm: Point | None = None,
) -> LocatedTracing:
    """Look up the segments of a tracing's nodes. Only the voxels around nodes are read.

    Unlike `segmend.annotations.merger_mode.locate` it takes tracings that leave the segmentation,
    as those of whole neurons do, and says of every node how its segment is known.

    Args:
        annotation: The tracing.
        volume: The segmentation.
        box: nm; nodes outside are not asked about. None: all are.
        offset_nm: See `segmend.annotations.annotation.annotation_grid`.

    Raises:
        BadInputError: if the tracing's positions cannot become nm, or a stated segment is no id.
        ReadFailedError: if voxels cannot be read: that is never "no segment".
    """
    grid = annotation_grid(annotation, offset_nm=offset_nm)
    nodes = [(tree.id, node) for tree in annotation.trees for node in tree.nodes]
    points = positions_nm([node for _, node in nodes], grid)
    if box is not None:
        inside = [box.contains_point((z, y, x)) for z, y, x in points.tolist()]
        nodes = [item for item, kept in zip(nodes, inside, strict=True) if kept]
        points = points[np.array(inside, np.bool_)]
    stated = np.array([SEGMENT in node.attributes for _, node in nodes], np.bool_)
    segments = np.zeros(len(nodes), np.uint64)
    how = np.full(len(nodes), HOW.index(STATED), np.uint8)
    for row in np.flatnonzero(stated).tolist():
        segments[row] = as_id(nodes[row][1].attributes[SEGMENT])
    asked = np.flatnonzero(~stated)
    found = find_segments(volume, points[asked])
    segments[asked] = found.segments
    how[asked] = np.where(
        found.outside,
        HOW.index(OUTSIDE),
        np.where(found.absent, HOW.index(ABSENT), HOW.index(LOCATED)),
    )
    said = {
        node.id: str(segment)
        for (_, node), segment, known in zip(
            nodes, segments.tolist(), how < HOW.index(OUTSIDE), strict=True
        )
        if known
    }
    return LocatedTracing(
        _saying(annotation, said),
        np.array([tree for tree, _ in nodes], np.uint64),
        np.array([node.id for _, node in nodes], np.uint64),
        points,
        segments,
        how,
    )


@dataclass(frozen=True, slots=True)
class LocatedTracings(Mapping[str, LocatedTracing]):
    """A folder of tracings with their segments: a file is looked up when it is asked for.

    Attributes:
        tracings: By file name, for example ``dataset.annotations["manual-neurons"]``.
        volume: The segmentation.
        box: nm; nodes outside are not asked about. None: all are.
    """

    tracings: Mapping[str, Annotation]
    volume: Volume
    box: Box | None = None

    def __getitem__(self, name: str) -> LocatedTracing:
        return locate_tracing(self.tracings[name], self.volume, box=self.box)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tracings)

    def __len__(self) -> int:
        return len(self.tracings)


def _saying(annotation: Annotation, said: Mapping[int, str]) -> Annotation:
    """The annotation with the segments that are known."""
    trees = tuple(
        replace(
            tree,
            nodes=tuple(
                replace(node, attributes=node.attributes | {SEGMENT: said[node.id]})
                if node.id in said
                else node
                for node in tree.nodes
            ),
        )
        for tree in annotation.trees
    )
    return replace(annotation, trees=trees)
