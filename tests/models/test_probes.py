"""Probes: they find a shortcut where there is one, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from segmend.core.random import keyed_generator
from segmend.models.model import MODELS, TrainSettings
from segmend.models.probes import _logistic
from segmend.tasks.registry import TASKS
from segmend.tasks.statistics import PROBES
from segmend.testing.models import learnable_benchmark

TASK = TASKS["false_split_correction"]


def test_the_curve_is_the_likeliest_one() -> None:
    from sklearn.linear_model import LogisticRegression

    draws = keyed_generator("logistic")
    values = draws.normal(size=400)
    labels = (draws.random(400) < 1 / (1 + np.exp(-(2 * values - 1)))).astype(np.float64)
    slope, offset = _logistic(values, labels)
    peer = LogisticRegression(C=1e6, class_weight="balanced").fit(values[:, None], labels)
    assert slope == pytest.approx(peer.coef_[0, 0], rel=0.02)
    assert offset == pytest.approx(peer.intercept_[0], abs=0.02)


@pytest.mark.parametrize("name", ["artefact", "content", "metadata"])
def test_probes_answer_with_probabilities(name: str) -> None:
    model = MODELS[name].create()
    model.fit(learnable_benchmark(), (TASK,), TrainSettings())
    answers = model.predict(learnable_benchmark(), TASK, "test")
    assert answers.scores is not None
    assert ((answers.scores >= 0) & (answers.scores <= 1)).all()
    assert PROBES[model.config()["statistic"]].kind == name
    again = MODELS[name].create()
    again.restore(model.arrays(), model.config())
    np.testing.assert_array_equal(
        again.predict(learnable_benchmark(), TASK, "test").scores, answers.scores
    )
