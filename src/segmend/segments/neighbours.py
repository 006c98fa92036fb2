"""What touches a few segments within a small box, and the voxels in which they meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Point
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.segments.contacts import Contact, FaceSums, NearestFaces, check_labels


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A segment that shares a face with another.

    Attributes:
        base: The segment that was asked about.
        contact: Its contact with the neighbour, as far as the box goes.
        base_nm: Centre of the voxel on its side of the contact's face, ``(z, y, x)`` nm.
        other_nm: And of the voxel on the neighbour's side.
    """

    base: int
    contact: Contact
    base_nm: Point
    other_nm: Point

    @property
    def other(self) -> int:
        """The neighbour."""
        return self.contact.other(self.base)


def neighbours(labels: Ids, bases: Sequence[int], grid: VoxelGrid) -> list[Neighbour]:
    """Find everything that shares a voxel face with some segments.

    Args:
        labels: uint64 ``(z, y, x)``; 0 is never a neighbour.
        bases: The segments; they are no neighbours of each other.
        grid: Where the voxels lie.

    Returns:
        Neighbours in the order of ``bases``, those of one by id.

    Raises:
        BadInputError: if the labels are not a 3-D uint64 array.
        GridMismatchError: if they do not fit the grid.
    """
    check_labels(labels, grid, name="labels")
    # Voxels that share a face with one of the bases, and no others: contacts among these are not
    # asked about, and looking for them would take ten times as long.
    touching = _with_neighbours(np.isin(labels, np.array(bases, np.uint64)))
    here = np.where(touching, labels, np.uint64(0))
    faces = FaceSums()
    faces.add(here, here.shape, (0, 0, 0))
    faces.settle()
    ours = np.isin(faces.pairs, np.array(bases, np.uint64))
    nearest = NearestFaces(faces.only(ours[:, 0] != ours[:, 1]), grid.voxel_size)
    nearest.add(here, here.shape, (0, 0, 0))
    contacts, (low, high) = nearest.contacts(grid), nearest.voxels()
    found = []
    for contact, one, two in zip(contacts, low.tolist(), high.tolist(), strict=True):
        base = contact.a if contact.a in bases else contact.b
        if int(labels[tuple(one)]) != base:
            one, two = two, one  # the face does not say whose voxel is which
        found.append(Neighbour(base, contact, _centre(grid, one), _centre(grid, two)))
    return sorted(found, key=lambda n: (bases.index(n.base), n.other))


def _centre(grid: VoxelGrid, voxel: Sequence[int]) -> Point:
    z, y, x = grid.centers(np.array([voxel]))[0].tolist()
    return (z, y, x)


def _with_neighbours(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask and the voxels that share a face with it."""
    near = mask.copy()
    for axis in range(mask.ndim):
        grown, inside = (np.moveaxis(one, axis, 0) for one in (near, mask))
        grown[1:] |= inside[:-1]
        grown[:-1] |= inside[1:]
    return near
