"""Operating points against scikit-learn and counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as peer

from segmend.core.errors import BadInputError
from segmend.metrics.operating import (
    accuracy,
    accuracy_resampled,
    precision_at_base_rate,
    precision_at_base_rate_resampled,
    recall_at_precision,
    recall_at_precision_resampled,
)
from segmend.metrics.selective import (
    area_under_risk_coverage,
    area_under_risk_coverage_resampled,
    risk_coverage_curve,
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both classes and scores, often tied."""
    n = draw(st.integers(2, 40))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 1)))
    labels[:2] = 0, 1
    tied = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    scores = draw(hnp.arrays(np.float64, n, elements=tied | st.floats(0, 1)))
    return labels, scores


@given(answers())
def test_accuracy_equals_scikit_learn(case) -> None:
    labels, scores = case
    assert accuracy(labels, scores) == pytest.approx(peer.accuracy_score(labels, scores >= 0.5))


@given(answers(), st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_recall_at_precision_is_the_best_point_of_scikit_learns_curve(case, goal) -> None:
    labels, scores = case
    precision, recall, _ = peer.precision_recall_curve(labels, scores)
    expected = recall[:-1][precision[:-1] >= goal - 1e-12]  # the last point is a convention
    found = recall_at_precision(labels, scores, precision=goal)
    assert found == pytest.approx(expected.max() if expected.size else 0.0)


@given(answers(), st.floats(0.001, 0.999))
def test_precision_at_a_base_rate_is_that_of_classes_weighted_so(case, rate) -> None:
    labels, scores = case
    weight = np.where(labels == 1, rate / labels.sum(), (1 - rate) / (1 - labels).sum())
    called = scores >= 0.5
    found = precision_at_base_rate(labels, scores, base_rate=rate)
    if not called.any():
        assert np.isnan(found)
        return
    expected = peer.precision_score(labels, called, sample_weight=weight, zero_division=0)
    assert found == pytest.approx(expected)


@given(answers())
def test_risk_at_every_coverage_is_that_of_the_surest_rows(case) -> None:
    labels, scores = case
    confidence = np.abs(scores - 0.5)
    wrong = (scores >= 0.5) != labels
    levels = np.unique(confidence)[::-1]
    risks = np.array([wrong[confidence >= level].mean() for level in levels])
    shares = np.array([(confidence >= level).mean() for level in levels])
    curve = risk_coverage_curve(labels, scores)
    np.testing.assert_allclose(curve.coverage, shares)
    np.testing.assert_allclose(curve.risk, risks)
    area = np.sum(np.diff(shares, prepend=0) * risks)
    assert area_under_risk_coverage(labels, scores) == pytest.approx(area)


@given(answers(), st.integers(0, 2**31))
def test_weights_count_rows_as_often_as_they_were_drawn(case, seed) -> None:
    labels, scores = case
    drawn = np.random.default_rng(seed).integers(0, 3, (2, len(labels)))
    for resampled, once in (
        (accuracy_resampled, accuracy),
        (
            lambda *a: recall_at_precision_resampled(*a, precision=0.9),
            lambda *a: recall_at_precision(*a, precision=0.9),
        ),
        (
            lambda *a: precision_at_base_rate_resampled(*a, base_rate=0.1),
            lambda *a: precision_at_base_rate(*a, base_rate=0.1),
        ),
        (area_under_risk_coverage_resampled, area_under_risk_coverage),
    ):
        values = resampled(labels, scores, drawn)
        for weights, value in zip(drawn, values, strict=True):
            if weights.sum():
                repeated = once(np.repeat(labels, weights), np.repeat(scores, weights))
                assert value == pytest.approx(repeated, nan_ok=True)


@pytest.mark.parametrize("bad", [0, 1.5, -1, float("nan")])
def test_rates_outside_their_range_are_refused(bad) -> None:
    with pytest.raises(BadInputError, match="a precision lies in"):
        recall_at_precision([0, 1], [0.1, 0.9], precision=bad)
    with pytest.raises(BadInputError, match="a base rate lies in"):
        precision_at_base_rate([0, 1], [0.1, 0.9], base_rate=bad)
