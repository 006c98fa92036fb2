"""What a classifier is worth in use: at a precision asked for, at another base rate.

Forms and conventions as in `segmend.metrics.classification`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from segmend.core.errors import BadInputError
from segmend.metrics.checks import Floats, binary_labels, finite_scores, ratio, row_weights
from segmend.metrics.classification import ranked_steps

_ROUNDING = 1e-12
"""Precisions are quotients of sums: one that equals the goal must not miss it by rounding."""


def accuracy(labels: Any, scores: Any, *, threshold: float = 0.5) -> float:
    """Share of rows called right, scores of at least ``threshold`` being called positive."""
    return float(accuracy_resampled(labels, scores, None, threshold=threshold)[0])


def accuracy_resampled(labels: Any, scores: Any, weights: Any, *, threshold: float = 0.5) -> Floats:
    """`accuracy` of each resample; ``weights`` has shape (resamples, rows)."""
    truth = binary_labels(labels)
    right = (finite_scores(scores, truth.size) >= threshold) == truth
    drawn = row_weights(weights, truth.size)
    return ratio((drawn * right).sum(axis=1), drawn.sum(axis=1))


def recall_at_precision(labels: Any, scores: Any, *, precision: float) -> float:
    """Largest recall of any threshold whose precision is at least ``precision``.

    It chooses the threshold on the rows it scores, as the figure is usually reported: an upper
    bound of what a threshold fixed beforehand gives.

    Args:
        labels: 0 or 1, shape (rows,).
        scores: Finite numbers, shape (rows,).
        precision: Precision asked for, in (0, 1].

    Returns:
        A number in [0, 1]; 0 if no threshold is that precise, NaN without positives.

    Raises:
        BadInputError: for a precision outside (0, 1].
    """
    return float(recall_at_precision_resampled(labels, scores, None, precision=precision)[0])


def recall_at_precision_resampled(
    labels: Any, scores: Any, weights: Any, *, precision: float
) -> Floats:
    """`recall_at_precision` of each resample; ``weights`` has shape (resamples, rows)."""
    if not 0 < precision <= 1:
        raise BadInputError(f"a precision lies in (0, 1], got {precision}")
    steps = ranked_steps(labels, scores, weights)
    hits = np.cumsum(steps.positives, axis=1)
    called = hits + np.cumsum(steps.negatives, axis=1)
    reached = (called > 0) & (hits >= (precision - _ROUNDING) * called)
    best = np.where(reached, hits, 0.0).max(axis=1, initial=0.0)
    return ratio(best, steps.positives.sum(axis=1))


def precision_at_base_rate(
    labels: Any, scores: Any, *, base_rate: float, threshold: float = 0.5
) -> float:
    """Precision the same calls would have where a share ``base_rate`` of all cases is positive.

    Bayes' rule on the recalls of both classes, which do not depend on how many rows of each class a
    benchmark happens to hold: r * tpr / (r * tpr + (1 - r) * fpr).

    Args:
        labels: 0 or 1, shape (rows,).
        scores: Finite numbers, shape (rows,).
        base_rate: Share of positives where the model would be used, in (0, 1).
        threshold: Decision threshold.

    Returns:
        A number in [0, 1]; NaN if a class is missing or nothing is called positive.

    Raises:
        BadInputError: for a base rate outside (0, 1).
    """
    values = precision_at_base_rate_resampled(
        labels, scores, None, base_rate=base_rate, threshold=threshold
    )
    return float(values[0])


def precision_at_base_rate_resampled(
    labels: Any, scores: Any, weights: Any, *, base_rate: float, threshold: float = 0.5
) -> Floats:
    """`precision_at_base_rate` of each resample; ``weights`` has shape (resamples, rows)."""
    if not 0 < base_rate < 1:
        raise BadInputError(f"a base rate lies in (0, 1), got {base_rate}")
    truth = binary_labels(labels)
    called = finite_scores(scores, truth.size) >= threshold
    drawn = row_weights(weights, truth.size)
    found, alarms = (
        ratio((drawn * (mask & called)).sum(axis=1), (drawn * mask).sum(axis=1))
        for mask in (truth, ~truth)
    )
    return ratio(base_rate * found, base_rate * found + (1 - base_rate) * alarms)
