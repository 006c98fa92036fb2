"""Average precision of instances at an overlap, as MitoEM scores mitochondria.

The rules are those of the challenge's mAP_3Dvolume, COCO's on volumes: found segments in the order
of their scores, 101 levels of recall, segments outside a range of sizes neither right nor wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.core.ids import Ids
from segmend.metrics.segmentation.contingency import Contingency

IOU = 0.75
SIZES = {
    "all": (0.0, math.inf),
    "small": (0.0, 5_000.0),
    "medium": (5_000.0, 15_000.0),
    "large": (15_000.0, math.inf),
}
"""Voxels of a true segment, above the first and up to the second (mAP_3Dvolume's default)."""

_RECALLS = 0.01 * np.arange(101)


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """What is reported of the instances in a range of sizes.

    Attributes:
        average_precision: Mean precision over 101 levels of recall; NaN without true segments.
        true_positives: Found segments that match one.
        false_positives: Found segments that match none.
        false_negatives: True segments that none matches.
    """

    average_precision: float
    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def f_score(self) -> float:
        """Harmonic mean of precision and recall; NaN where there is nothing."""
        wrong = self.false_positives + self.false_negatives
        below = 2 * self.true_positives + wrong
        return 2 * self.true_positives / below if below else math.nan


def instance_scores(
    table: Contingency,
    *,
    iou: float = IOU,
    scores: Mapping[int, float] | None = None,
    sizes: Mapping[str, tuple[float, float]] = SIZES,
) -> dict[str, InstanceScores]:
    """Score found segments against true ones, in ranges of the true ones' sizes.

    Args:
        table: What they share, background (id 0 on both sides) included.
        iou: Intersection over union from which on two segments match, above 0.5, so that a segment
            matches one other at most.
        scores: Confidence by found id; by default its voxels, as the challenge has it.
        sizes: Ranges by name, voxels: above the first, up to the second.

    Raises:
        BadInputError: for an ``iou`` that lets two segments match one, or a found segment without
            a score.
    """
    if not 0.5 < iou <= 1:
        raise BadInputError(
            f"instances match from an IoU above 0.5 and up to 1 on, got {iou}",
            fix="At 0.5 or less two segments can match the same one",
        )
    overlaps = _overlaps(table)
    order = _order(overlaps.found, overlaps.found_sizes, scores)
    return {name: _in_range(overlaps, order, iou, low, high) for name, (low, high) in sizes.items()}


def _foreground(ids: Ids, sizes: NDArray[np.int64]) -> tuple[Ids, NDArray[np.int64]]:
    return ids[ids != 0], sizes[ids != 0]


@dataclass(frozen=True, slots=True, eq=False)
class _Overlaps:
    """Found and true segments with their voxels, and every pair of them that overlaps."""

    found: Ids
    found_sizes: NDArray[np.int64]
    true_sizes: NDArray[np.int64]
    pairs: NDArray[np.int64]  # positions (n, 2): found, true
    iou: NDArray[np.float64]

    def best(self, allowed: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The true segment that each found one overlaps most, among those allowed, -1 for none."""
        kept = allowed[self.pairs[:, 1]]
        (i, j), overlap = self.pairs[kept].T, self.iou[kept]
        # Worst first, so that the best is what remains; among equals the smaller true id.
        order = np.lexsort((-j, overlap))
        match, iou = np.full(len(self.found), -1, np.int64), np.zeros(len(self.found))
        match[i[order]], iou[i[order]] = j[order], overlap[order]
        return match, iou


def _overlaps(table: Contingency) -> _Overlaps:
    found, found_sizes = _foreground(*table.by_segment())
    true, true_sizes = _foreground(*table.by_truth())
    pairs = table.without(segments=(0,), truth=(0,))
    i = np.searchsorted(found, pairs.segments)
    j = np.searchsorted(true, pairs.truth)
    union = found_sizes[i] + true_sizes[j] - pairs.voxels
    return _Overlaps(found, found_sizes, true_sizes, np.stack([i, j], axis=1), pairs.voxels / union)


def _order(
    found: Ids, sizes: NDArray[np.int64], scores: Mapping[int, float] | None
) -> NDArray[np.int64]:
    """Positions of found segments, most confident first, among equals the smaller id."""
    if scores is None:
        return np.argsort(-sizes, kind="stable")
    missing = [segment for segment in found.tolist() if segment not in scores]
    if missing:
        raise BadInputError(
            f"{len(missing)} of {len(found)} segments have no score", found=f"e.g. {missing[0]}"
        )
    values = np.array([scores[segment] for segment in found.tolist()], np.float64)
    if not np.isfinite(values).all():
        raise BadInputError("scores of segments must be finite")
    return np.argsort(-values, kind="stable")


def _in_range(
    overlaps: _Overlaps, order: NDArray[np.int64], iou: float, low: float, high: float
) -> InstanceScores:
    """Scores in one range of sizes."""
    true_sizes, found_sizes = overlaps.true_sizes, overlaps.found_sizes
    counts = (true_sizes > low) & (true_sizes <= high)
    inside, overlap = overlaps.best(counts)
    _, elsewhere = overlaps.best(np.ones_like(counts))
    # As the challenge's script has it: what touches true segments of the range matches only these.
    hit = np.where(inside >= 0, overlap, elsewhere) >= iou
    right = hit & (inside >= 0)
    # A segment that matches one outside the range, or none and is itself outside, says nothing.
    wrong = ~hit & (found_sizes > low) & (found_sizes <= high)
    there, hits = int(counts.sum()), int(right.sum())
    precision = _average_precision(right[order], wrong[order], there) if there else math.nan
    return InstanceScores(precision, hits, int(wrong.sum()), there - hits)


def _average_precision(right: NDArray[np.bool_], wrong: NDArray[np.bool_], there: int) -> float:
    said_right, said = np.cumsum(right), np.cumsum(right | wrong)
    recall = said_right / there
    precision = said_right / np.maximum(said, 1)
    # Precision at a recall: the best at that recall or beyond.
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(best, 0.0)[at].mean())
