"""Counting voxels and touching faces of fragments, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.box import VoxelBox
from segmend.synthetic.blocks import Layers, render_box
from segmend.synthetic.blueprint import Blueprint

Pair = tuple[int, int]


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

    def __post_init__(self) -> None:
        self.voxels = np.zeros(len(self.blueprint.owner), np.int64)

    def add(self, box: VoxelBox, fragments: NDArray[np.int32]) -> None:
        """Count a block.

        Args:
            box: The block.
            fragments: Its fragments, and one voxel more at the far faces that are not the volume's.
        """
        depth, height, width = box.shape
        core = fragments[:depth, :height, :width]
        self.voxels += np.bincount(core.ravel(), minlength=len(self.voxels))
        self._faces.append(
            _find_faces(
                fragments,
                np.array(box.shape),
                np.array(box.start),
                self.blueprint.owner,
                self.blueprint.segment,
            )
        )

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
    core: NDArray[np.int64],
    first: NDArray[np.int64],
    owner: NDArray[np.int64],
    segment: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Rows ``(lower fragment, higher fragment, z, y, x, axis)`` of the faces of a block."""
    rows, count, shape = np.empty((1024, 6), np.int64), 0, fragments.shape
    for z in range(core[0]):
        for y in range(core[1]):
            for x in range(core[2]):
                here = fragments[z, y, x]
                for axis in range(3):
                    k, j, i = z + (axis == 0), y + (axis == 1), x + (axis == 2)
                    if (
                        k == fragments.shape[0]
                        or j == fragments.shape[1]
                        or i == fragments.shape[2]
                    ):
                        continue
                    there = fragments[k, j, i]
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


def survey_blocks(
    blueprint: Blueprint, boxes: Iterator[VoxelBox], survey: Survey
) -> Iterator[tuple[VoxelBox, Layers]]:
    """Render boxes that tile a volume, counting each in passing."""
    whole = blueprint.spec.grid.voxels
    for box in boxes:
        far = box.shift((1, 1, 1)).stop
        reach = VoxelBox(box.start, far).intersect(whole)
        assert reach is not None
        layers = render_box(blueprint, reach)
        survey.add(box, layers.fragments)
        yield box, layers
