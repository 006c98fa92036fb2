"""Counting voxels and touching faces of fragments, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.box import Triple, VoxelBox
from segmend.synthetic.blocks import Layers, render_box, split_box
from segmend.synthetic.blueprint import Blueprint

Pair = tuple[int, int]
Side = tuple[int, int, tuple[int, ...]]


@dataclass(slots=True)
class Survey:
    """What the voxels of a volume show about its fragments, whatever the order of the blocks.

    Attributes:
        blueprint: Of the volume.
        voxels: int64, voxels of each fragment.
    """

    blueprint: Blueprint
    voxels: NDArray[np.int64] = field(init=False)
    _faces: list[NDArray[np.int64]] = field(default_factory=list)
    _open: dict[Side, NDArray[np.int32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.voxels = np.zeros(len(self.blueprint.owner), np.int64)

    def add(self, box: VoxelBox, fragments: NDArray[np.int32]) -> None:
        """Count a block of a regular tiling; faces between blocks count when both are there."""
        self.voxels += np.bincount(fragments.ravel(), minlength=len(self.voxels))
        self._find(fragments, box.start, np.ones(3, np.bool_))
        for axis in range(3):
            across = tuple(v for n, v in enumerate(box.start) if n != axis)
            for at, plane in ((box.start[axis], 0), (box.stop[axis], -1)):
                mine = np.take(fragments, [plane], axis)
                other = self._open.pop((axis, at, across), None)
                if other is None:
                    self._open[axis, at, across] = mine
                    continue
                pair = (other, mine) if plane == 0 else (mine, other)
                first = list(box.start)
                first[axis] = at - 1
                only = np.arange(3) == axis
                self._find(np.concatenate(pair, axis), (first[0], first[1], first[2]), only)

    def _find(self, fragments: NDArray[np.int32], first: Triple, axes: NDArray[np.bool_]) -> None:
        owner, segment = self.blueprint.owner, self.blueprint.segment
        self._faces.append(_find_faces(fragments, np.array(first), axes, owner, segment))

    def faces(self) -> dict[Pair, NDArray[np.int64]]:
        """Faces between fragments of one neuron or of one automatic segment.

        Returns:
            For each pair of fragments, lower number first: rows ``(z, y, x, axis)`` in ascending
            order; the face lies between voxel ``(z, y, x)`` and the next one along the axis.
        """
        every = np.concatenate([np.empty((0, 6), np.int64), *self._faces])
        if not len(every):
            return {}
        every = every[np.lexsort(every.T[::-1])]
        pairs, first = np.unique(every[:, :2], axis=0, return_index=True)
        parts = np.split(every[:, 2:], first[1:])
        return {(int(a), int(b)): part for (a, b), part in zip(pairs, parts, strict=True)}


@njit(cache=True, nogil=True)
def _find_faces(
    fragments: NDArray[np.int32],
    first: NDArray[np.int64],
    axes: NDArray[np.bool_],
    owner: NDArray[np.int64],
    segment: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Rows ``(lower fragment, higher fragment, z, y, x, axis)`` of the faces along some axes."""
    rows, count, shape = np.empty((64, 6), np.int64), 0, fragments.shape
    for axis in range(3):
        if not axes[axis]:
            continue
        a, b, c = int(axis == 0), int(axis == 1), int(axis == 2)
        for z in range(shape[0] - a):
            for y in range(shape[1] - b):
                for x in range(shape[2] - c):
                    here, there = fragments[z, y, x], fragments[z + a, y + b, x + c]
                    if there == here:
                        continue
                    if owner[here] != owner[there] and segment[here] != segment[there]:
                        continue
                    if count == len(rows):
                        rows = np.concatenate((rows, np.empty_like(rows)))
                    rows[count, 0], rows[count, 1] = min(here, there), max(here, there)
                    rows[count, 2], rows[count, 3] = first[0] + z, first[1] + y
                    rows[count, 4], rows[count, 5] = first[2] + x, axis
                    count += 1
    return rows[:count].copy()


def survey_blocks(blueprint: Blueprint, survey: Survey) -> Iterator[tuple[VoxelBox, Layers]]:
    """Render a whole volume block by block, counting each in passing."""
    for box in split_box(blueprint, blueprint.spec.grid.voxels):
        layers = render_box(blueprint, box)
        survey.add(box, layers.fragments)
        yield box, layers
