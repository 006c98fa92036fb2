"""Bodies as a log of merges and cleaves moves them: sets of supervoxels that touch.

Logs of agglomerated segmentations name bodies and supervoxels, and seldom a place. The place is
where the supervoxels of the two sides touch, so it takes the volume to know it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segmend.core.box import Point, VoxelBox
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.edits.overlap_table import overlap_table
from segmend.segments.contacts import Contact, find_contacts

CLICK_REACH_NM = 150.0
"""How far from the contact a click may lie: proofreaders click inside neurites, not on edges."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where two sides of an edit touch.

    Attributes:
        contact: The largest contact of a supervoxel of one side with one of the other.
        faces: Voxel faces of all such contacts.
        clicks_nm: A point inside each of the two supervoxels beside the contact: first side,
            second side, ``(z, y, x)`` nm.
    """

    contact: Contact
    faces: int
    clicks_nm: tuple[Point, Point]


class Bodies:
    """Which supervoxels each body has, now.

    Args:
        supervoxels: uint64 ``(z, y, x)``; 0 is none.
        automatic: uint64, the same shape: the bodies before the first edit of the log.
        grid: The grid of both.

    Raises:
        BadInputError: if a supervoxel lies in several bodies, or an array is not 3-D uint64.
        GridMismatchError: if an array does not fit the grid.
    """

    def __init__(self, supervoxels: Ids, automatic: Ids, grid: VoxelGrid) -> None:
        self.members: dict[int, set[int]] = {}
        self.body_of: dict[int, int] = {}
        for overlap in overlap_table(supervoxels, automatic, grid).values():
            if overlap.purity != 1:
                raise BadInputError(
                    f"supervoxel {overlap.segment} does not lie in one segment",
                    found=f"its voxels by segment: {dict(overlap.neurons[:3])}, of "
                    f"{overlap.voxels}",
                    fix="Name the layer as it was before the first edit of the log",
                )
            self.body_of[overlap.segment] = overlap.dominant
            self.members.setdefault(overlap.dominant, set()).add(overlap.segment)
        self._supervoxels, self._grid = supervoxels, grid
        self._contacts = find_contacts(supervoxels, grid)

    def move(self, supervoxels: Iterable[int], body: int) -> None:
        """Give supervoxels to a body, which may be new; bodies left empty are no more."""
        for one in supervoxels:
            old = self.members[self.body_of[one]]
            old.discard(one)
            if not old:
                del self.members[self.body_of[one]]
            self.body_of[one] = body
            self.members.setdefault(body, set()).add(one)

    def supervoxel_at(self, point: Point) -> int | None:
        """The supervoxel at a point, 0 for none, None outside the volume."""
        if not self._grid.box.contains_point(point):
            return None
        return int(self._supervoxels[self._grid.voxel_at(point)])

    def meeting(self, first: Iterable[int], second: Iterable[int]) -> Meeting | None:
        """Where two sets of supervoxels touch, None if they do not.

        Of several contacts the one with most faces, among equals the one with the smaller ids.
        """
        few, many = sorted((set(first), set(second)), key=len)
        found = [
            contact
            for one in sorted(few)
            for contact in self._contacts.of(one)
            if contact.other(one) in many
        ]
        if not found:
            return None
        best = min(found, key=lambda contact: (-contact.faces, contact.a, contact.b))
        here = best.a if best.a in set(first) else best.b
        clicks = (self._inside(here, best.point_nm), self._inside(best.other(here), best.point_nm))
        return Meeting(best, sum(contact.faces for contact in found), clicks)

    def _inside(self, supervoxel: int, point: Point) -> Point:
        """The voxel of a supervoxel near a point that lies deepest in it, its centre in nm."""
        grid = self._grid
        at = grid.voxel_at(point)
        reach = [int(CLICK_REACH_NM // size) + 1 for size in grid.voxel_size]
        low = [max(0, i - r) for i, r in zip(at, reach, strict=True)]
        high = [min(n, i + r + 1) for i, r, n in zip(at, reach, grid.shape, strict=True)]
        box = VoxelBox((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        mask = self._supervoxels[box.slices] == np.uint64(supervoxel)
        # The edge of the window is no edge of the supervoxel.
        depth = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"), grid.voxel_size)
        inner = np.where(mask, depth[1:-1, 1:-1, 1:-1], 0)
        deepest = np.array(np.unravel_index(int(inner.argmax()), inner.shape)) + low
        z, y, x = grid.centers(deepest).tolist()
        return (z, y, x)
