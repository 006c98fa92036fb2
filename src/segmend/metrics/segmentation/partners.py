"""CREMI's score of synaptic partners: pairs of a presynaptic and a postsynaptic point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from segmend.core.errors import BadInputError
from segmend.core.ids import Ids

THRESHOLD_NM = 400.0
"""Points farther apart are not the same (reference/datasets.md, "Official metrics")."""


@dataclass(frozen=True, slots=True, eq=False)
class PartnerPairs:
    """Synapses as pairs of points.

    Attributes:
        pre_nm: float64 ``(n, 3)`` nm, ``(z, y, x)``.
        post_nm: float64 ``(n, 3)`` nm, ``(z, y, x)``.
        pre_ids: Neuron of the ground truth at each presynaptic point, uint64 ``(n,)``.
        post_ids: Neuron of the ground truth at each postsynaptic point, uint64 ``(n,)``.
    """

    pre_nm: NDArray[np.float64]
    post_nm: NDArray[np.float64]
    pre_ids: Ids
    post_ids: Ids

    def __post_init__(self) -> None:
        n = len(self.pre_ids)
        shapes = (self.pre_nm.shape, self.post_nm.shape, self.post_ids.shape)
        if shapes != ((n, 3), (n, 3), (n,)):
            raise BadInputError(
                "pairs need two points (n, 3) and two ids (n,) each", found=f"{n} ids, {shapes}"
            )
        if not (np.isfinite(self.pre_nm).all() and np.isfinite(self.post_nm).all()):
            raise BadInputError("points of pairs must be finite")

    def __len__(self) -> int:
        return len(self.pre_ids)


@dataclass(frozen=True, slots=True)
class PartnerScores:
    """What is reported of found pairs.

    Attributes:
        true_positives: Pairs that match.
        false_positives: Pairs found that match none.
        false_negatives: True pairs that match none.
        matches: Positions of found and true pairs that match, with their distance in nm.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    matches: tuple[tuple[int, int, float], ...]

    @property
    def f_score(self) -> float:
        """Harmonic mean of precision and recall; 0 where nothing matches."""
        wrong = self.false_positives + self.false_negatives
        return 2 * self.true_positives / (2 * self.true_positives + wrong)


def partner_scores(
    found: PartnerPairs, truth: PartnerPairs, *, threshold_nm: float = THRESHOLD_NM
) -> PartnerScores:
    """Match found pairs to true ones: as many as can be, then as near as can be.

    Two pairs may match if they join the same two neurons of the ground truth in the same direction
    and both their ends are within the threshold; their distance is the mean of both ends'.

    Raises:
        BadInputError: if there is no pair at all.
    """
    if not len(found) + len(truth):
        raise BadInputError("there is nothing to score", found="no pair was found and none is true")
    none = 2 * threshold_nm
    distance = _distances(found, truth, threshold_nm, none)
    matches = tuple(
        (int(i), int(j), float(distance[i, j]))
        for i, j in zip(*linear_sum_assignment(distance), strict=True)
        if distance[i, j] < none
    )
    hits = len(matches)
    return PartnerScores(hits, len(found) - hits, len(truth) - hits, matches)


def _distances(
    found: PartnerPairs, truth: PartnerPairs, threshold: float, none: float
) -> NDArray[np.float64]:
    """Distances ``(found, true)`` of pairs that may match, ``none`` for the others."""
    distance = np.full((len(found), len(truth)), none)
    for i in range(len(found)):  # a row at a time: no array (found, true, 3)
        pre = np.linalg.norm(truth.pre_nm - found.pre_nm[i], axis=1)
        post = np.linalg.norm(truth.post_nm - found.post_nm[i], axis=1)
        same = (truth.pre_ids == found.pre_ids[i]) & (truth.post_ids == found.post_ids[i])
        near = same & (pre <= threshold) & (post <= threshold)
        distance[i, near] = (pre[near] + post[near]) / 2
    return distance
