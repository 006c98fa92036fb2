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


def _bin_of(values: Floats, bins: int) -> NDArray[np.int64]:
    if bins < 1:
        raise BadInputError(f"there must be at least one bin, got {bins}")
    edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    return np.searchsorted(edges, values, side="left").astype(np.int64)
