"""CREMI's score of neurons: VI and adapted Rand away from the borders of the ground truth.

Definitions: cremi.org and the owners' Python (reference/datasets.md, "Official metrics").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.metrics.segmentation.contingency import Contingency
from segmend.metrics.segmentation.information import Information, variation_of_information
from segmend.metrics.segmentation.rand import AdaptedRand, Rules, adapted_rand

BORDER_NM = 25.0
"""The challenge ignores what is closer to a border (reference/datasets.md; cremi.org/metrics)."""


@dataclass(frozen=True, slots=True)
class NeuronScores:
    """What is reported of a segmentation of neurons.

    Attributes:
        information: Variation of information, its halves apart.
        rand: Adapted Rand error.
    """

    information: Information
    rand: AdaptedRand

    @property
    def cremi(self) -> float:
        """CREMI score: the geometric mean of VI and adapted Rand error; 0 is perfect."""
        return math.sqrt(self.information.total * max(self.rand.error, 0.0))


def neuron_scores(table: Contingency, *, rules: Rules = "cremi") -> NeuronScores:
    """VI, adapted Rand error and CREMI score from one table; truth 0 does not count.

    Raises:
        BadInputError: as `variation_of_information` and `adapted_rand`.
    """
    return NeuronScores(variation_of_information(table), adapted_rand(table, rules=rules))


def border_mask(truth: NDArray[Any], distance: float) -> NDArray[np.bool_]:
    """Where ground truth is within a distance of a border in its section.

    A border voxel has one of its four neighbours in the section in another segment.

    Args:
        truth: Ids, any integer dtype, ``(z, y, x)``.
        distance: Voxels: CREMI divides `BORDER_NM` by the voxel's width. A block that has that
            many further voxels around it is right in its inside.

    Returns:
        bool, the same shape.

    Raises:
        BadInputError: for other shapes, or a distance that is negative or not finite.
    """
    if truth.ndim != 3 or truth.dtype.kind not in "iu":
        raise BadInputError(
            "ground truth must be integers (z, y, x)", found=f"{truth.dtype} {truth.shape}"
        )
    if not 0 <= distance < 2**15:
        raise BadInputError(f"a distance from borders must be 0 to 32767 voxels, got {distance}")
    near = np.zeros(truth.shape, np.bool_)
    _mark_near(truth, float(distance), near)
    return near


@njit(cache=True, nogil=True)
def _mark_near(truth, distance, near):  # type: ignore[no-untyped-def]
    """Distances along rows first, then the best of the rows within reach."""
    reach = int(distance)
    far = reach + 1
    sections, height, width = truth.shape
    along = np.empty((height, width), np.int32)
    for z in range(sections):
        _row_distances(truth[z], far, along)
        for y in range(height):
            for other in range(max(0, y - reach), min(height, y + reach + 1)):
                most = distance * distance - (other - y) ** 2
                for x in range(width):
                    near[z, y, x] |= along[other, x] <= reach and along[other, x] ** 2 <= most


@njit(cache=True, nogil=True)
def _row_distances(section, far, along):  # type: ignore[no-untyped-def]
    """Distance of every voxel from the nearest border voxel in its row, ``far`` if beyond."""
    height, width = section.shape
    for y in range(height):
        since = far
        for x in range(width):
            here = section[y, x]
            border = (
                (x > 0 and section[y, x - 1] != here)
                or (x + 1 < width and section[y, x + 1] != here)
                or (y > 0 and section[y - 1, x] != here)
                or (y + 1 < height and section[y + 1, x] != here)
            )
            since = 0 if border else min(since + 1, far)
            along[y, x] = since
        since = far
        for x in range(width - 1, -1, -1):
            since = min(along[y, x], since + 1)
            along[y, x] = since
