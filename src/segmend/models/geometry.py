"""Gradient boosting on interpretable features of the geometry: the baseline one can argue with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, NoSamplesError, SegmendError
from segmend.loaders.examples import Examples, Reading, examples
from segmend.models.features import feature_names, row_features
from segmend.models.model import (
    ALONE,
    Answers,
    Arrays,
    LogRow,
    Report,
    Session,
    TrainSettings,
)
from segmend.models.trees import Trees, from_sklearn
from segmend.shards.reader import Benchmark
from segmend.tasks.task import GEOMETRY, Task

MOST_TREES = 200
"""Trees grown; validation decides how many of them are kept."""

_BOOSTING = {
    "learning_rate": 0.05,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 10,
    "l2_regularization": 1.0,
    "max_features": 0.3,
}


class GeometryBoosting:
    """Boosted trees on `row_features`, both classes weighted equally.

    Equal weights make 0.5 the threshold of best balanced accuracy; the score is a probability at a
    prevalence of one half, not at that of the split.
    """

    def __init__(self) -> None:
        self._trees: Trees | None = None
        self._features: tuple[str, ...] = ()

    def fit(
        self,
        benchmark: Benchmark,
        tasks: Sequence[Task],
        settings: TrainSettings,
        session: Session = ALONE,
    ) -> Sequence[LogRow]:
        """Grow trees on the training split, keep the number that validation likes best."""
        (task,) = tasks
        rows, labels = _lesson(benchmark, task, settings, session)
        if len(np.unique(labels)) < 2:
            raise NoSamplesError(
                f"the training split of '{task.name}' has one class only",
                found=f"{len(labels)} rows of label {labels[0]:g}",
                fix="Build a benchmark with edits and controls",
            )
        trees = _grow(rows, labels, settings.seed)
        log = _log(trees, (rows, labels), _validation(benchmark, task, session))
        best = min(log, key=lambda row: row.get("validation_loss", -row["trees"]))
        self._features = feature_names(dual=task.dual)
        self._trees = trees.first(int(best["trees"]))
        return log

    def predict(
        self, benchmark: Benchmark, task: Task, split: str, session: Session = ALONE
    ) -> Answers:
        """Probability of label 1 for every row."""
        if self._trees is None or self._features != feature_names(dual=task.dual):
            raise BadInputError(
                f"this model cannot answer '{task.name}'",
                found=f"it was {'trained on other features' if self._trees else 'never trained'}",
                fix="Train it on this task",
            )
        rows = _rows(benchmark, task, split, session.packed)
        scores = _sigmoid(self._trees.log_odds(_features(rows, task, session.report)))
        return Answers(tuple(map(str, rows.hashes)), scores=scores)

    def arrays(self) -> Arrays:
        """The nodes of the trees."""
        if self._trees is None:
            raise BadInputError("a model that was never trained has nothing to save")
        return self._trees.arrays()

    def config(self) -> dict[str, Any]:
        """The names of the features, in order."""
        return {"features": list(self._features)}

    def restore(self, arrays: Arrays, config: Mapping[str, Any]) -> None:
        """Become a saved model."""
        self._features = tuple(config["features"])
        self._trees = Trees.from_arrays(arrays, features=len(self._features))


def _table(
    benchmark: Benchmark, task: Task, split: str, session: Session
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = _rows(benchmark, task, split, session.packed)
    return _features(rows, task, session.report), rows.labels


def _lesson(
    benchmark: Benchmark, task: Task, settings: TrainSettings, session: Session
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features and labels of the training rows that the settings choose."""
    rows = _rows(benchmark, task, "train", session.packed)
    chosen = settings.chosen(rows.hashes)
    if chosen is None:
        chosen = np.arange(len(rows))
    return _features(rows, task, session.report, chosen), rows.labels[chosen]


def _rows(benchmark: Benchmark, task: Task, split: str, packed: Path | None) -> Examples:
    """The rows of a task without their EM, which is not even read."""
    shown = replace(task, input_columns=(GEOMETRY,))
    return examples(benchmark, shown, split, Reading(targets=False, packed=packed))


def _features(
    rows: Examples, task: Task, report: Report, chosen: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Measurements of all rows, or of the chosen ones."""
    wanted = set(range(len(rows)) if chosen is None else chosen.tolist())
    table = np.empty((len(wanted), len(feature_names(dual=task.dual))))
    done = 0
    for index, example in enumerate(rows):
        if index not in wanted:
            continue
        inputs = example.inputs
        table[done] = row_features(inputs.geometry, dual=task.dual, views=inputs.views)
        done += 1
        report("measuring", done, len(wanted))
    return table


def _validation(
    benchmark: Benchmark, task: Task, session: Session
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Features and labels of the validation split, None where it has no rows."""
    try:
        return _table(benchmark, task, "validation", session)
    except NoSamplesError:
        return None


def _grow(rows: NDArray[np.float64], labels: NDArray[np.float64], seed: int) -> Trees:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    booster = HistGradientBoostingClassifier(
        max_iter=MOST_TREES,
        class_weight="balanced",
        early_stopping=False,
        random_state=seed % 2**32,
        **_BOOSTING,
    )
    # Sums of gradients are rounded differently by another number of threads.
    with threadpool_limits(1):
        booster.fit(rows, labels)
    trees = from_sklearn(booster)
    if not np.allclose(trees.log_odds(rows), booster.decision_function(rows), atol=1e-9):
        raise SegmendError(
            "the trees taken out of scikit-learn do not predict what it predicts",
            fix="This version of scikit-learn keeps its trees in another form: please report it",
        )
    return trees


def _log(
    trees: Trees,
    train: tuple[NDArray[np.float64], NDArray[np.float64]],
    validation: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
) -> list[dict[str, float]]:
    """Losses after 1, 2, ... trees; without validation rows there is no validation loss."""
    losses = {"train_loss": _losses(trees, *train)}
    if validation is not None:
        losses["validation_loss"] = _losses(trees, *validation)
    return [
        {"trees": count, **{name: float(values[count]) for name, values in losses.items()}}
        for count in range(1, len(trees.roots) + 1)
    ]


def _losses(
    trees: Trees, rows: NDArray[np.float64], labels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log loss after each tree, both classes counting the same."""
    odds = trees.staged(rows) * np.where(labels > 0, -1, 1)[:, None]
    loss = np.logaddexp(0, odds)
    return np.mean([loss[labels == label].mean(axis=0) for label in np.unique(labels)], axis=0)


def _sigmoid(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0, -odds))
