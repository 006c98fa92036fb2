"""Variation of information: how much of one segmentation the other does not tell, in bits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.metrics.segmentation.contingency import Contingency


@dataclass(frozen=True, slots=True)
class Information:
    """Both halves of the variation of information (Meila 2007), in bits; 0 is perfect.

    Attributes:
        split: H(segmentation | truth): what false splits cost.
        merge: H(truth | segmentation): what false merges cost.
    """

    split: float
    merge: float

    @property
    def total(self) -> float:
        """The variation of information itself."""
        return self.split + self.merge


def variation_of_information(
    table: Contingency,
    *,
    ignore_segments: Collection[int] = (),
    ignore_truth: Collection[int] = (0,),
) -> Information:
    """Variation of information of a segmentation against ground truth.

    Args:
        table: What they share.
        ignore_segments: Ids of the segmentation whose voxels do not count. By default all count:
            id 0 is a segment like any other, as CREMI has it.
        ignore_truth: Ids of the ground truth whose voxels do not count; CREMI and SNEMI3D leave
            out what has no ground truth.

    Raises:
        BadInputError: if no voxel counts.
    """
    table = table.without(segments=ignore_segments, truth=ignore_truth)
    if not table.total:
        raise BadInputError(
            "there is nothing to score",
            found="no voxel has both a segment and ground truth that count",
        )
    joint = _entropy(table.voxels)
    # H(x|y) = H(x, y) - H(y). Rounding may leave a perfect score just below zero.
    split = joint - _entropy(table.by_truth()[1])
    merge = joint - _entropy(table.by_segment()[1])
    return Information(max(split, 0.0), max(merge, 0.0))


def _entropy(voxels: NDArray[np.int64]) -> float:
    """Entropy in bits of drawing a voxel."""
    share = voxels / voxels.sum()
    return float(-(share * np.log2(share)).sum())
