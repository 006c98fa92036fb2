"""Probes: they find a shortcut where there is one, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from segmend.core.random import keyed_generator
from segmend.core.sample import PLANES, VIEWS, channel, em_channel
from segmend.models.model import MODELS, TrainSettings
from segmend.models.probes import _logistic
from segmend.models.statistics import artefact_statistics, content_statistics, metadata_statistics
from segmend.tasks.registry import TASKS
from segmend.tasks.task import Inputs
from segmend.testing.models import learnable_benchmark

TASK = TASKS["false_split_correction"]


def inputs(*, a: int, b: int) -> Inputs:
    """Two squares side by side in every picture, so many pixels wide."""
    geometry = np.zeros((3, 7, 224, 224), np.float16)
    em = np.full((4, 224, 224, 3), 100, np.uint8)
    em[..., 1:] = 0
    for side, (start, width) in zip(("mask_a", "mask_b"), ((50, a), (50 + a, b)), strict=True):
        geometry[:, channel(side), 50:100, start : start + width] = 1
        em[:, 50:100, start : start + width, em_channel(side)] = 255
    return Inputs(geometry=geometry, em=em, views=VIEWS, planes=PLANES)


def test_statistics_of_known_squares() -> None:
    row = content_statistics(inputs(a=20, b=10), dual=True)
    assert row["area"] == pytest.approx(50 * 30 / 224**2)
    assert row["area_ratio"] == pytest.approx(0.5)
    assert row["em_mean"] == row["em_inside"] == 100
    assert row["em_contact"] == pytest.approx(2 / 10)  # two columns of A lie near B
    order = artefact_statistics(inputs(a=20, b=10), dual=True)
    assert order["a_minus_b"] == pytest.approx(50 * 10 / 224**2)
    assert order["a_left_of_b"] == pytest.approx(-15 / 111.5)
    assert order["empty_views"] == order["em_outside"] == 0
    assert artefact_statistics(inputs(a=0, b=0), dual=True)["empty_views"] == 3


def test_order_is_no_statistic_of_a_single_segment() -> None:
    assert "a_minus_b" not in artefact_statistics(inputs(a=20, b=10), dual=False)
    assert "overlap" not in content_statistics(inputs(a=20, b=10), dual=False)


def test_artefacts_change_sign_with_the_order_and_content_does_not_change() -> None:
    one, other = inputs(a=20, b=10), inputs(a=20, b=10)
    other.geometry[:, [5, 6]] = other.geometry[:, [6, 5]]
    other.em[..., [1, 2]] = other.em[..., [2, 1]]
    assert (
        artefact_statistics(one, dual=True)["a_minus_b"]
        == -artefact_statistics(other, dual=True)["a_minus_b"]
    )
    assert content_statistics(one, dual=True) == pytest.approx(
        content_statistics(other, dual=True), nan_ok=True
    )


def test_the_curve_is_the_likeliest_one() -> None:
    from sklearn.linear_model import LogisticRegression

    draws = keyed_generator("logistic")
    values = draws.normal(size=400)
    labels = (draws.random(400) < 1 / (1 + np.exp(-(2 * values - 1)))).astype(np.float64)
    slope, offset = _logistic(values, labels)
    peer = LogisticRegression(C=1e6, class_weight="balanced").fit(values[:, None], labels)
    assert slope == pytest.approx(peer.coef_[0, 0], rel=0.02)
    assert offset == pytest.approx(peer.intercept_[0], abs=0.02)


def test_metadata_are_numbers_and_never_names_of_the_answer() -> None:
    benchmark = learnable_benchmark()
    (row, *_) = metadata_statistics(benchmark, np.arange(3))
    assert {"anchor_x_nm", "view_extent_nm", "largest_segment"} <= set(row)
    assert not any("id" in name or "strategy" in name for name in row)


@pytest.mark.parametrize("name", ["artefact", "content", "metadata"])
def test_probes_answer_with_probabilities(name: str) -> None:
    model = MODELS[name].create()
    model.fit(learnable_benchmark(), TASK, TrainSettings())
    answers = model.predict(learnable_benchmark(), TASK, "test")
    assert answers.scores is not None
    assert ((answers.scores >= 0) & (answers.scores <= 1)).all()
    assert model.config()["statistic"]
    again = MODELS[name].create()
    again.restore(model.arrays(), model.config())
    np.testing.assert_array_equal(
        again.predict(learnable_benchmark(), TASK, "test").scores, answers.scores
    )
