"""Scores of a binary classifier: exact with ties, weighted for resampling, NaN where undefined.

Each metric has two forms: ``auroc(labels, scores)`` is one number, and ``auroc_resampled(labels,
scores, weights)`` one number per resample, where ``weights[r, i]`` says how often row ``i`` was
drawn in resample ``r``. The second form lets `cluster_bootstrap` score a thousand resamples after
one sort. A metric that needs both classes is NaN where one is missing, never 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.metrics.checks import Floats, binary_labels, finite_scores, ratio, row_weights


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve over decision thresholds, one point per distinct score.

    Attributes:
        x: False positive rate (ROC) or recall (precision-recall), ascending.
        y: True positive rate (ROC) or precision.
        thresholds: A row is called positive if its score is at least this; descending from
            infinity, where nothing is.
    """

    x: Floats
    y: Floats
    thresholds: Floats


@dataclass(frozen=True, slots=True)
class Steps:
    """Weight of both classes at each distinct score, highest score first.

    Attributes:
        positives: Weight of rows of label 1, ``(resamples, scores)``.
        negatives: Weight of rows of label 0, ``(resamples, scores)``.
        scores: The distinct scores, descending.
    """

    positives: Floats
    negatives: Floats
    scores: Floats


def balanced_accuracy(labels: Any, scores: Any, *, threshold: float = 0.5) -> float:
    """Mean of the recalls of both classes, calling scores of at least ``threshold`` positive.

    Args:
        labels: 0 or 1, shape (rows,).
        scores: Finite numbers, shape (rows,).
        threshold: Decision threshold.

    Returns:
        A number in [0, 1]; NaN if a class is missing.
    """
    return _one(balanced_accuracy_resampled(labels, scores, None, threshold=threshold))


def balanced_accuracy_resampled(
    labels: Any, scores: Any, weights: Any, *, threshold: float = 0.5
) -> Floats:
    """`balanced_accuracy` of each resample; ``weights`` has shape (resamples, rows)."""
    truth = binary_labels(labels)
    called = finite_scores(scores, truth.size) >= threshold
    drawn = row_weights(weights, truth.size)
    recalls = [
        ratio(drawn @ (mask & (called == truth)), drawn @ mask.astype(np.float64))
        for mask in (truth, ~truth)
    ]
    return (recalls[0] + recalls[1]) / 2


def auroc(labels: Any, scores: Any) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative), ties count half.

    Args:
        labels: 0 or 1, shape (rows,).
        scores: Finite numbers, shape (rows,).

    Returns:
        A number in [0, 1]; NaN if a class is missing.
    """
    return _one(auroc_resampled(labels, scores, None))


def auroc_resampled(labels: Any, scores: Any, weights: Any) -> Floats:
    """`auroc` of each resample; ``weights`` has shape (resamples, rows)."""
    steps = ranked_steps(labels, scores, weights)
    beaten = _sum_after(steps.negatives) + steps.negatives / 2
    pairs = steps.positives.sum(axis=1) * steps.negatives.sum(axis=1)
    return ratio((steps.positives * beaten).sum(axis=1), pairs)


def average_precision(labels: Any, scores: Any) -> float:
    """Precision averaged over recall, as a step function (no interpolation).

    Sum over distinct scores of (gain in recall) x (precision at that score), the definition of
    scikit-learn's ``average_precision_score``; a trapezoid would be optimistic (Davis and
    Goadrich, ICML 2006).

    Args:
        labels: 0 or 1, shape (rows,).
        scores: Finite numbers, shape (rows,).

    Returns:
        A number in [0, 1]; NaN without positives. Chance is the prevalence.
    """
    return _one(average_precision_resampled(labels, scores, None))


def average_precision_resampled(labels: Any, scores: Any, weights: Any) -> Floats:
    """`average_precision` of each resample; ``weights`` has shape (resamples, rows)."""
    steps = ranked_steps(labels, scores, weights)
    hits = np.cumsum(steps.positives, axis=1)
    called = hits + np.cumsum(steps.negatives, axis=1)
    # A score nobody drew gains no recall: its undefined precision must not count.
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return ratio((steps.positives * precision).sum(axis=1), steps.positives.sum(axis=1))


def roc_curve(labels: Any, scores: Any) -> Curve:
    """True against false positive rate at every distinct score, from (0, 0) to (1, 1).

    A rate whose class is missing is NaN.
    """
    steps = ranked_steps(labels, scores, None)
    hits, alarms = np.cumsum(steps.positives[0]), np.cumsum(steps.negatives[0])
    return Curve(
        x=_from(0.0, ratio(alarms, np.full_like(alarms, alarms[-1:].sum()))),
        y=_from(0.0, ratio(hits, np.full_like(hits, hits[-1:].sum()))),
        thresholds=_from(np.inf, steps.scores),
    )


def precision_recall_curve(labels: Any, scores: Any) -> Curve:
    """Precision against recall at every distinct score.

    The first point (recall 0, precision 1, threshold infinity) is a convention: nothing is called
    positive there. Recall is NaN without positives.
    """
    steps = ranked_steps(labels, scores, None)
    hits = np.cumsum(steps.positives[0])
    called = hits + np.cumsum(steps.negatives[0])
    return Curve(
        x=_from(0.0, ratio(hits, np.full_like(hits, hits[-1:].sum()))),
        y=_from(1.0, ratio(hits, called)),
        thresholds=_from(np.inf, steps.scores),
    )


def ranked_steps(labels: Any, scores: Any, weights: Any) -> Steps:
    """What every metric that sweeps a threshold is made of.

    Args:
        labels: 0 or 1, shape (rows,).
        scores: Finite numbers, shape (rows,).
        weights: How often each row was drawn, (resamples, rows); None counts each once.
    """
    truth = binary_labels(labels)
    values = finite_scores(scores, truth.size)
    drawn = row_weights(weights, truth.size)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if ranked.size else order
    sorted_weights = drawn[:, order]
    positives = sorted_weights * truth[order]
    return Steps(
        positives=_sum_groups(positives, starts),
        negatives=_sum_groups(sorted_weights - positives, starts),
        scores=ranked[starts],
    )


def _sum_groups(values: Floats, starts: NDArray[np.intp]) -> Floats:
    if starts.size == values.shape[1]:  # no ties: each row is a group of its own
        return values
    return np.add.reduceat(values, starts, axis=1)


def _sum_after(values: Floats) -> Floats:
    """Sum over the later columns of each row, the column itself excluded."""
    return values.sum(axis=1, keepdims=True) - np.cumsum(values, axis=1)


def _from(first: float, rest: Floats) -> Floats:
    return np.concatenate([[first], rest])


def _one(values: Floats) -> float:
    return float(values[0])
