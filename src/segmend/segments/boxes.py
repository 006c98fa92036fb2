"""Where each segment lies in a label array."""

from __future__ import annotations

import fastremap
from scipy import ndimage

from segmend.core.box import VoxelBox
from segmend.core.ids import Ids


def segment_boxes(labels: Ids) -> dict[int, VoxelBox]:
    """The smallest box of voxels around every segment.

    Args:
        labels: uint64 ``(z, y, x)``; 0 is no segment.

    Returns:
        Boxes by id, ascending.
    """
    if labels.size == 0:
        return {}
    dense, table = fastremap.renumber(labels, preserve_zero=True)
    found = ndimage.find_objects(dense)
    ids = {new: old for old, new in table.items() if new}
    boxes = {int(ids[i]): slices for i, slices in enumerate(found, start=1)}
    return {
        segment: VoxelBox(
            (z.start, y.start, x.start),
            (z.stop, y.stop, x.stop),
        )
        for segment, (z, y, x) in sorted(boxes.items())
    }
