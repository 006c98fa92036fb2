"""Calibration against scikit-learn's curve and against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.calibration import calibration_curve

from segmend.core.errors import BadInputError
from segmend.metrics.calibration import (
    expected_calibration_error,
    expected_calibration_error_resampled,
    reliability_curve,
)

PROBS = hnp.arrays(np.float64, 40, elements=st.floats(0, 1) | st.sampled_from([0, 1 / 15, 0.2, 1]))
LABELS = hnp.arrays(np.int64, 40, elements=st.integers(0, 1))


@given(LABELS, PROBS)
def test_reliability_curve_equals_scikit_learn(labels, probs) -> None:
    labels[0], labels[1] = 0, 1  # the peer refuses one class
    observed, predicted = calibration_curve(labels, probs, n_bins=15, strategy="uniform")
    ours = reliability_curve(labels, probs)
    np.testing.assert_allclose(ours.observed, observed)
    np.testing.assert_allclose(ours.predicted, predicted)
    assert ours.counts.sum() == 40


@given(LABELS, PROBS)
def test_error_is_the_count_weighted_gap_of_the_reliability_curve(labels, probs) -> None:
    curve = reliability_curve(labels, probs)
    gap = np.abs(curve.observed - curve.predicted) @ curve.counts / 40
    assert expected_calibration_error(labels, probs) == pytest.approx(gap, abs=1e-12)


@given(LABELS, PROBS)
def test_error_is_at_least_that_of_the_confidence_form(labels, probs) -> None:
    confidence = np.maximum(probs, 1 - probs)
    right = (probs >= 0.5) == labels
    edges = np.linspace(0, 1, 16)[1:-1]
    bins = np.searchsorted(edges, confidence)
    gaps = [abs((right - confidence)[bins == b].sum()) for b in range(15)]
    # A probability on an edge of a bin can fall to the other side of it when mirrored.
    if np.abs(probs[:, None] - edges).min() > 1e-9:
        assert expected_calibration_error(labels, probs) >= sum(gaps) / 40 - 1e-12


@given(LABELS, PROBS, hnp.arrays(np.int64, (2, 40), elements=st.integers(0, 3)))
def test_weighted_resamples_equal_the_error_on_repeated_rows(labels, probs, weights) -> None:
    fast = expected_calibration_error_resampled(labels, probs, weights)
    slow = [expected_calibration_error(np.repeat(labels, w), np.repeat(probs, w)) for w in weights]
    np.testing.assert_allclose(fast, slow, atol=1e-12)


def test_frequencies_that_come_true_have_no_error() -> None:
    assert expected_calibration_error([1, 0, 0, 0], [0.25] * 4) == 0
    assert expected_calibration_error([1, 1, 0, 0], [0.9] * 4) == pytest.approx(0.4)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(BadInputError, match="1 of 2 do not"):
        expected_calibration_error([0, 1], [0.5, 1.5])
    with pytest.raises(BadInputError, match="at least one bin"):
        expected_calibration_error([0, 1], [0.5, 0.5], bins=0)
