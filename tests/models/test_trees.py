"""Trees as arrays, against scikit-learn and against damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from segmend.core.errors import BadInputError
from segmend.models.trees import Trees, from_sklearn


def fitted(seed: int, *, rows: int = 120, trees: int = 12):
    generator = np.random.default_rng(seed)
    table = generator.normal(size=(rows, 5)).round(generator.integers(0, 4))
    labels = (table[:, 0] * table[:, 1] + generator.normal(size=rows) > 0).astype(int)
    labels[:2] = 0, 1
    with threadpool_limits(1):
        booster = HistGradientBoostingClassifier(
            max_iter=trees, min_samples_leaf=3, early_stopping=False
        ).fit(table, labels)
    return booster, table


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_trees_predict_what_scikit_learn_predicts(seed) -> None:
    booster, table = fitted(seed)
    trees = from_sklearn(booster)
    fresh = np.random.default_rng(seed + 1).normal(size=(300, 5)) * 2
    for rows in (table, fresh):  # rows of the table lie on thresholds
        np.testing.assert_allclose(trees.log_odds(rows), booster.decision_function(rows))
        staged = np.stack([s.ravel() for s in booster.staged_decision_function(rows)], axis=1)
        np.testing.assert_allclose(trees.staged(rows)[:, 1:], staged)


def test_the_first_trees_are_a_stage() -> None:
    booster, table = fitted(3)
    trees = from_sklearn(booster)
    for count in (0, 5, 12):
        np.testing.assert_array_equal(
            trees.first(count).log_odds(table), trees.staged(table)[:, count]
        )


def test_arrays_become_the_same_trees() -> None:
    trees = from_sklearn(fitted(4)[0])
    again = Trees.from_arrays(trees.arrays(), features=5)
    for name, array in trees.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("left", lambda x: np.zeros_like(x)),  # a circle
        ("right", lambda x: x + 10_000),
        ("feature", lambda x: x + 5),
        ("value", lambda x: x * np.nan),
        ("threshold", lambda x: x[:-1]),
        ("roots", lambda x: x - 1),
        ("baseline", lambda x: np.repeat(x, 2)),
    ],
)
def test_damaged_trees_are_refused(name, change) -> None:
    arrays = from_sklearn(fitted(5)[0]).arrays()
    arrays[name] = change(arrays[name])
    with pytest.raises(BadInputError, match="damaged"):
        Trees.from_arrays(arrays, features=5)


def test_other_arrays_are_refused() -> None:
    with pytest.raises(BadInputError, match="not boosted trees"):
        Trees.from_arrays({"prior": np.zeros(1)}, features=5)
