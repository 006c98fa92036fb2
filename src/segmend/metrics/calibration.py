"""Whether a probability means what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.metrics.checks import Floats, binary_labels, probabilities, ratio, row_weights

ECE_BINS = 15
"""Bins of the published figure, ECE-15 (reference 3.1; Guo et al., ICML 2017)."""

_CERTAIN = 1e-7
"""Distance from 0 and 1 that a probability keeps before its log-odds are taken."""

_MAX_LOG_TEMPERATURE = float(np.log(100.0))


@dataclass(frozen=True, slots=True)
class Reliability:
    """What happened where a probability was given, one entry per bin that holds a row.

    Attributes:
        predicted: Mean probability in the bin.
        observed: Share of positives in the bin.
        counts: Rows in the bin.
    """

    predicted: Floats
    observed: Floats
    counts: NDArray[np.int64]


def expected_calibration_error(labels: Any, probs: Any, bins: int = ECE_BINS) -> float:
    """Mean over rows of |share of positives - mean probability| of the row's bin.

    Bins are equally wide over [0, 1], open below and closed above, on the *probability of 1*. The
    form on the confidence of the called class merges the bins p and 1 - p, where errors of opposite
    sign cancel: it is never larger than this one for an odd number of bins.

    Args:
        labels: 0 or 1, shape (rows,).
        probs: Probability of 1, shape (rows,).
        bins: Number of bins.

    Returns:
        A number in [0, 1], 0 when calibrated; NaN without rows.
    """
    return float(expected_calibration_error_resampled(labels, probs, None, bins=bins)[0])


def expected_calibration_error_resampled(
    labels: Any, probs: Any, weights: Any, *, bins: int = ECE_BINS
) -> Floats:
    """`expected_calibration_error` of each resample; ``weights`` is (resamples, rows)."""
    truth = binary_labels(labels)
    values = probabilities(probs, truth.size)
    drawn = row_weights(weights, truth.size)
    index = _bin_of(values, bins)
    surprise = drawn * (truth - values)
    # Not one matrix product: the rounding of BLAS depends on its number of threads.
    gaps = [np.abs(surprise[:, index == b].sum(axis=1)) for b in range(bins)]
    return ratio(np.sum(gaps, axis=0), drawn.sum(axis=1))


def brier_score(labels: Any, probs: Any) -> float:
    """Mean squared difference of probability and label (Brier, Mon. Weather Rev. 1950).

    Args:
        labels: 0 or 1, shape (rows,).
        probs: Probability of 1, shape (rows,).

    Returns:
        A number in [0, 1]; saying the prevalence r of every row gives r (1 - r). NaN without rows.
    """
    return float(brier_score_resampled(labels, probs, None)[0])


def brier_score_resampled(labels: Any, probs: Any, weights: Any) -> Floats:
    """`brier_score` of each resample; ``weights`` is (resamples, rows)."""
    truth = binary_labels(labels)
    gaps = (probabilities(probs, truth.size) - truth) ** 2
    drawn = row_weights(weights, truth.size)
    return ratio((drawn * gaps).sum(axis=1), drawn.sum(axis=1))


def fit_temperature(labels: Any, probs: Any) -> float:
    """The one number that log-odds must be divided by to be calibrated.

    Minimises the mean negative log-likelihood of ``sigmoid(logit(p) / T)`` (Guo et al., ICML 2017),
    which is convex in 1 / T; fit it on other rows than it is judged on.

    Args:
        labels: 0 or 1, shape (rows,).
        probs: Probability of 1, shape (rows,).

    Returns:
        T in [0.01, 100]: above 1 where the model is too sure of itself, an end of the range where
        the likelihood has no minimum inside it.

    Raises:
        BadInputError: unless both classes are there.
    """
    truth = binary_labels(labels)
    odds = _log_odds(probabilities(probs, truth.size))
    if truth.all() or not truth.any():
        raise BadInputError(
            "a temperature needs rows of both classes",
            found=f"{np.count_nonzero(truth)} of {truth.size} rows have label 1",
        )
    signs = np.where(truth, odds, -odds)
    low, high = -_MAX_LOG_TEMPERATURE, _MAX_LOG_TEMPERATURE
    # The slope in b = 1 / T rises with b: bisection on log b.
    for _ in range(60):
        middle = (low + high) / 2
        if (signs * _sigmoid(-np.exp(middle) * signs)).mean() > 0:
            low = middle
        else:
            high = middle
    return float(np.exp(-(low + high) / 2))


def apply_temperature(probs: Any, temperature: float) -> Floats:
    """Probabilities with their log-odds divided by ``temperature``; 0 and 1 become nearly so."""
    if not temperature > 0:
        raise BadInputError(f"a temperature is positive, got {temperature}")
    values = np.asarray(probs, np.float64)
    return _sigmoid(_log_odds(probabilities(values, values.size)) / temperature)


def reliability_curve(labels: Any, probs: Any, bins: int = ECE_BINS) -> Reliability:
    """The points of a reliability diagram; bins as in `expected_calibration_error`."""
    truth = binary_labels(labels)
    values = probabilities(probs, truth.size)
    index = _bin_of(values, bins)
    counts = np.bincount(index, minlength=bins)
    held = counts > 0
    return Reliability(
        predicted=np.bincount(index, weights=values, minlength=bins)[held] / counts[held],
        observed=np.bincount(index, weights=truth, minlength=bins)[held] / counts[held],
        counts=counts[held].astype(np.int64),
    )


def _log_odds(values: Floats) -> Floats:
    kept = np.clip(values, _CERTAIN, 1 - _CERTAIN)
    return np.log(kept) - np.log1p(-kept)


def _sigmoid(odds: Floats) -> Floats:
    return 1 / (1 + np.exp(-odds))


def _bin_of(values: Floats, bins: int) -> NDArray[np.int64]:
    if bins < 1:
        raise BadInputError(f"there must be at least one bin, got {bins}")
    edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    return np.searchsorted(edges, values, side="left").astype(np.int64)
