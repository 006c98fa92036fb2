"""Calibration against scikit-learn's curve and against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from segmend.core.errors import BadInputError
from segmend.metrics.calibration import (
    apply_temperature,
    brier_score,
    brier_score_resampled,
    expected_calibration_error,
    expected_calibration_error_resampled,
    fit_temperature,
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


@given(LABELS, PROBS)
def test_brier_score_equals_scikit_learn(labels, probs) -> None:
    labels[0], labels[1] = 0, 1
    assert brier_score(labels, probs) == pytest.approx(brier_score_loss(labels, probs))
    weights = np.arange(40) % 3
    repeated = brier_score(np.repeat(labels, weights), np.repeat(probs, weights))
    assert brier_score_resampled(labels, probs, weights[None])[0] == pytest.approx(repeated)


@given(LABELS, hnp.arrays(np.float64, 40, elements=st.floats(0.01, 0.99)))
def test_temperature_minimises_the_likelihood_as_scipy_does(labels, probs) -> None:
    labels[0], labels[1] = 0, 1

    def loss(log_temperature: float) -> float:
        return log_loss(labels, apply_temperature(probs, np.exp(log_temperature)), labels=[0, 1])

    best = minimize_scalar(loss, bounds=(-np.log(100), np.log(100)), method="bounded")
    found = np.log(fit_temperature(labels, probs))
    assert loss(found) <= best.fun + 1e-6


def test_a_temperature_undoes_too_much_confidence() -> None:
    generator = np.random.default_rng(0)
    honest = generator.uniform(0.02, 0.98, 20_000)
    labels = generator.random(20_000) < honest
    sure = apply_temperature(honest, 1 / 3)
    assert fit_temperature(labels, sure) == pytest.approx(3, rel=0.05)
    mended = apply_temperature(sure, fit_temperature(labels, sure))
    assert expected_calibration_error(labels, mended) < 0.02
    assert expected_calibration_error(labels, sure) > 0.1
    np.testing.assert_allclose(apply_temperature(honest, 1), honest)


def test_a_temperature_of_one_class_or_below_zero_is_refused() -> None:
    with pytest.raises(BadInputError, match="both classes"):
        fit_temperature([1, 1], [0.5, 0.6])
    with pytest.raises(BadInputError, match="positive"):
        apply_temperature([0.5], 0)
