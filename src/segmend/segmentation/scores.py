"""Scores of segmentations and classes over a box, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple, VoxelBox
from segmend.core.errors import GridMismatchError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.metrics.segmentation.contingency import contingency, merged
from segmend.metrics.segmentation.instances import InstanceScores, instance_scores
from segmend.metrics.segmentation.neurons import BORDER_NM, NeuronScores, border_mask, neuron_scores
from segmend.metrics.segmentation.rand import adapted_rand
from segmend.volumes.export.plan import pieces

BLOCK: Triple = (64, 512, 512)
"""Voxels read at a time."""

Reader = Callable[[VoxelBox], Ids]
"""Ids of a box, uint64 ``(z, y, x)``; 0 where nothing is."""


@dataclass(frozen=True, slots=True)
class BoxScores:
    """Everything that is said about a segmentation of a box.

    Attributes:
        neurons: Variation of information, adapted Rand error and CREMI score by CREMI's rules.
        adapted_rand: Adapted Rand error by SNEMI3D's rules, borders counted.
        instances: Average precision at IoU 0.75 by size, borders counted.
        segments: Segments found.
        true_segments: Segments of the ground truth.
    """

    neurons: NeuronScores
    adapted_rand: float
    instances: Mapping[str, InstanceScores]
    segments: int
    true_segments: int

    def numbers(self) -> dict[str, float]:
        """All of it as one flat row."""
        information = self.neurons.information
        row: dict[str, float] = {
            "vi_split": information.split,
            "vi_merge": information.merge,
            "vi": information.total,
            "cremi_arand": self.neurons.rand.error,
            "cremi_score": self.neurons.cremi,
            "snemi3d_arand": self.adapted_rand,
        }
        for name, one in self.instances.items():
            row[f"ap75_{name}"] = one.average_precision
        return row | {"segments": self.segments, "true_segments": self.true_segments}


def score_box(
    found: Reader, truth: Reader, grid: VoxelGrid, voxels: VoxelBox, *, border_nm: float = BORDER_NM
) -> BoxScores:
    """Score a segmentation of a box of any size; blocks of `BLOCK` voxels are in memory.

    Args:
        found: Reads the segmentation.
        truth: Reads the ground truth.
        grid: Of the truth.
        voxels: The box.
        border_nm: CREMI's rules leave out what is closer to a border of the truth in its section.

    Raises:
        GridMismatchError: if voxels are not square in their section, as CREMI's rules need.
        BadInputError: if no voxel has ground truth.
    """
    _, y, x = grid.voxel_size
    if y != x:
        raise GridMismatchError(f"CREMI's border is for square pixels, these are {y} x {x} nm")
    far, all_of_it = [], []
    for seg, true, near in _blocks(found, truth, voxels, border_nm / x):
        all_of_it.append(contingency(seg, true))
        far.append(contingency(seg, np.where(near, np.uint64(0), true)))
    table = merged(all_of_it)
    return BoxScores(
        neurons=neuron_scores(merged(far)),
        adapted_rand=adapted_rand(table).error,
        instances=instance_scores(table),
        segments=_ids(table.segments),
        true_segments=_ids(table.truth),
    )


def _ids(ids: Ids) -> int:
    return int(np.count_nonzero(np.unique(ids)))


def _blocks(
    found: Reader, truth: Reader, voxels: VoxelBox, distance: float
) -> Iterator[tuple[Ids, Ids, NDArray[np.bool_]]]:
    """Segmentation, truth and nearness to borders of every block; the border is that of the box."""
    margin = math.floor(distance) + 1
    for block in pieces(voxels, BLOCK):
        around = VoxelBox(
            (block.start[0], block.start[1] - margin, block.start[2] - margin),
            (block.stop[0], block.stop[1] + margin, block.stop[2] + margin),
        ).intersect(voxels)
        assert around is not None
        wide = truth(around)
        z, y, x = (a - b for a, b in zip(block.start, around.start, strict=True))
        depth, height, width = block.shape
        inner = (slice(z, z + depth), slice(y, y + height), slice(x, x + width))
        yield found(block), wide[inner], border_mask(wide, distance)[inner]


def class_scores(
    found: NDArray[np.uint8], truth: NDArray[np.uint8], names: tuple[str, ...], *, unknown: int
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and IoU of every class.

    Args:
        found: Position in ``names`` of every voxel.
        truth: The same, or ``unknown``, where nothing counts.
        names: Of the classes.
        unknown: The value that means that nothing is known.

    Returns:
        By class; NaN where it is neither there nor found.
    """
    known = truth != unknown
    table = np.bincount(
        truth[known].astype(np.int64) * len(names) + found[known], minlength=len(names) ** 2
    ).reshape(len(names), len(names))
    scores = {}
    for k, name in enumerate(names):
        hit, said, there = table[k, k], table[:, k].sum(), table[k].sum()
        scores[name] = {
            "precision": _share(hit, said),
            "recall": _share(hit, there),
            "f1": _share(2 * hit, said + there),
            "iou": _share(hit, said + there - hit),
            "voxels": float(there),
        }
    return scores


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else math.nan
