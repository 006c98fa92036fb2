"""Adapted Rand error: one minus the F-score of pairs of voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.metrics.segmentation.contingency import Contingency

Rules = Literal["snemi3d", "cremi", "scikit-image"]
"""How voxels of segment 0 and pairs of a voxel with itself count; see `adapted_rand`."""


@dataclass(frozen=True, slots=True)
class AdaptedRand:
    """Adapted Rand error and what it is made of, all in [0, 1].

    Attributes:
        error: 1 - 2 * precision * recall / (precision + recall); 0 is perfect.
        precision: Share of the pairs joined by the segmentation that belong together.
        recall: Share of the pairs that belong together which the segmentation joins.
    """

    error: float
    precision: float
    recall: float


def adapted_rand(table: Contingency, *, rules: Rules = "snemi3d") -> AdaptedRand:
    """Adapted Rand error of a segmentation against ground truth; truth 0 does not count.

    The three published definitions differ in two details:

    ``snemi3d``: the challenge's own script, on shares of all voxels: every voxel of segment 0 is a
    segment of its own. ``cremi``: the challenge's Python, a translation that counts voxels but
    still divides the singletons by their number, so that segment 0 nearly vanishes. Both count
    pairs of a voxel with itself. ``scikit-image``: segment 0 is a segment like any other, and only
    pairs of two voxels count (0.26 names precision what is recall here, and the reverse).

    Args:
        table: What they share, voxels of truth 0 included.
        rules: Which definition.

    Raises:
        BadInputError: if no voxel has ground truth, or precision and recall are both 0 or not
            defined.
    """
    everything = table.total
    table = table.without(truth=(0,))
    if not table.total:
        raise BadInputError("there is nothing to score", found="no voxel has ground truth")
    true_pairs = _squares(table.by_truth()[1])
    if rules == "scikit-image":
        voxels = table.total
        true_pairs -= voxels
        said_pairs = _squares(table.by_segment()[1]) - voxels
        shared_pairs = _squares(table.voxels) - voxels
    else:
        alone = float(table.voxels[table.segments == 0].sum())
        if rules == "cremi":
            alone /= everything
        joined = table.without(segments=(0,))
        said_pairs = _squares(joined.by_segment()[1]) + alone
        shared_pairs = _squares(joined.voxels) + alone
    if not (said_pairs and true_pairs and shared_pairs):
        raise BadInputError(
            "the adapted Rand error is not defined",
            found=f"{shared_pairs:.0f} of {true_pairs:.0f} true pairs are among {said_pairs:.0f}",
            fix="Score more voxels, or a segmentation that joins any",
        )
    precision, recall = shared_pairs / said_pairs, shared_pairs / true_pairs
    return AdaptedRand(1 - 2 * precision * recall / (precision + recall), precision, recall)


def _squares(voxels: NDArray[np.int64]) -> float:
    # A petavoxel squared does not fit into int64.
    return float((voxels.astype(np.float64) ** 2).sum())
