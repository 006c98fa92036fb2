"""Classification metrics and operating points against scikit-learn and counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as peer

from segmend.core.errors import BadInputError
from segmend.metrics.classification import (
    auroc,
    auroc_resampled,
    average_precision,
    average_precision_resampled,
    balanced_accuracy,
    balanced_accuracy_resampled,
    precision_recall_curve,
    roc_curve,
)
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
    n = draw(st.integers(2, 60))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 1)))
    labels[:2] = 0, 1
    tied = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    scores = draw(hnp.arrays(np.float64, n, elements=tied | st.floats(0, 1)))
    return labels, scores


@given(answers())
def test_areas_and_balanced_accuracy_equal_scikit_learn_with_any_ties(case) -> None:
    labels, scores = case
    assert auroc(labels, scores) == pytest.approx(peer.roc_auc_score(labels, scores), abs=1e-12)
    expected = peer.average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)
    called = scores >= 0.5
    expected = peer.balanced_accuracy_score(labels, called)
    assert balanced_accuracy(labels, scores) == pytest.approx(expected, abs=1e-12)


@given(answers())
def test_roc_curve_has_every_threshold_of_scikit_learn(case) -> None:
    labels, scores = case
    x, y, thresholds = peer.roc_curve(labels, scores, drop_intermediate=False)
    curve = roc_curve(labels, scores)
    np.testing.assert_allclose(curve.x, x)
    np.testing.assert_allclose(curve.y, y)
    np.testing.assert_array_equal(curve.thresholds, thresholds)


@given(answers())
def test_precision_recall_curve_is_that_of_scikit_learn_read_backwards(case) -> None:
    labels, scores = case
    precision, recall, thresholds = peer.precision_recall_curve(labels, scores)
    curve = precision_recall_curve(labels, scores)
    np.testing.assert_allclose(curve.x, recall[::-1])
    np.testing.assert_allclose(curve.y, precision[::-1])
    np.testing.assert_array_equal(curve.thresholds[1:], thresholds[::-1])


@given(answers(), st.data())
def test_weighted_resamples_equal_the_metric_on_repeated_rows(case, data) -> None:
    labels, scores = case
    weights = data.draw(hnp.arrays(np.int64, (3, labels.size), elements=st.integers(0, 3)))
    for resampled, plain in (
        (auroc_resampled, auroc),
        (average_precision_resampled, average_precision),
        (balanced_accuracy_resampled, balanced_accuracy),
    ):
        fast = resampled(labels, scores, weights)
        slow = [plain(np.repeat(labels, w), np.repeat(scores, w)) for w in weights]
        np.testing.assert_allclose(fast, slow, atol=1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_what_needs_both_classes_is_nan_where_one_is_missing(label: int) -> None:
    labels, scores = np.full(5, label), np.linspace(0, 1, 5)
    assert np.isnan(auroc(labels, scores))
    assert np.isnan(balanced_accuracy(labels, scores))
    assert np.isnan(average_precision(labels, scores)) == (label == 0)


def test_a_constant_score_is_exactly_chance() -> None:
    labels = np.array([1, 0, 0, 1, 0])
    assert auroc(labels, np.full(5, 0.4)) == 0.5
    assert average_precision(labels, np.full(5, 0.4)) == 0.4
    assert balanced_accuracy(labels, np.full(5, 0.4)) == 0.5


def test_no_rows_give_nan_and_not_an_accident() -> None:
    assert np.isnan(auroc([], []))
    assert np.isnan(average_precision([], []))


@pytest.mark.parametrize(
    ("labels", "scores", "complaint"),
    [
        ([0, 2], [0.1, 0.2], "labels must be 0 or 1, 1 of 2"),
        ([0, 1], [0.1, np.nan], "scores must be finite, 1 of 2"),
        ([0, 1], [0.1], "one score per label"),
        ([[0, 1]], [0.1, 0.2], "one row of 0 and 1"),
        ([np.nan, 1], [0.1, 0.2], "labels must be 0 or 1"),
    ],
)
def test_bad_input_is_named(labels, scores, complaint) -> None:
    with pytest.raises(BadInputError, match=complaint):
        auroc(labels, scores)


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"\(resamples, 2\)"):
        auroc_resampled([0, 1], [0.1, 0.2], np.ones(2))
    with pytest.raises(BadInputError, match="not negative"):
        auroc_resampled([0, 1], [0.1, 0.2], -np.ones((1, 2)))


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
