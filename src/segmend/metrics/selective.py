"""What a model is worth that may abstain: risk against coverage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from segmend.metrics.checks import Floats, binary_labels, probabilities, ratio
from segmend.metrics.classification import ranked_steps


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Error among the rows a model is surest of, one point per distinct confidence.

    Attributes:
        coverage: Share of rows answered, ascending to 1.
        risk: Share of those called wrong.
    """

    coverage: Floats
    risk: Floats


def risk_coverage_curve(labels: Any, probs: Any) -> RiskCoverage:
    """Error against coverage, answering the most confident rows first.

    Confidence is ``|p - 0.5|``, a row is called 1 from 0.5; rows of equal confidence are answered
    together (El-Yaniv and Wiener, JMLR 2010).

    Args:
        labels: 0 or 1, shape (rows,).
        probs: Probability of 1, shape (rows,).
    """
    wrong, answered = _answered(labels, probs, None)
    return RiskCoverage(
        coverage=ratio(answered[0], np.full_like(answered[0], answered[0, -1:].sum())),
        risk=ratio(wrong[0], answered[0]),
    )


def area_under_risk_coverage(labels: Any, probs: Any) -> float:
    """Mean risk over all coverages (AURC; Geifman and El-Yaniv, NeurIPS 2017).

    Args:
        labels: 0 or 1, shape (rows,).
        probs: Probability of 1, shape (rows,).

    Returns:
        A number in [0, 1], small when errors are where the model is unsure; NaN without rows.
    """
    return float(area_under_risk_coverage_resampled(labels, probs, None)[0])


def area_under_risk_coverage_resampled(labels: Any, probs: Any, weights: Any) -> Floats:
    """`area_under_risk_coverage` of each resample; ``weights`` has shape (resamples, rows)."""
    wrong, answered = _answered(labels, probs, weights)
    gained = np.diff(answered, axis=1, prepend=0.0)
    # A confidence nobody drew answers nothing: its undefined risk must not count.
    risk = np.divide(wrong, answered, out=np.zeros_like(wrong), where=answered > 0)
    return ratio((gained * risk).sum(axis=1), gained.sum(axis=1))


def _answered(labels: Any, probs: Any, weights: Any) -> tuple[Floats, Floats]:
    """Wrong and all answers down to each confidence, ``(resamples, confidences)``."""
    truth = binary_labels(labels)
    values = probabilities(probs, truth.size)
    wrong = (values >= 0.5) != truth
    steps = ranked_steps(wrong, np.abs(values - 0.5), weights)
    failed = np.cumsum(steps.positives, axis=1)
    return failed, failed + np.cumsum(steps.negatives, axis=1)
