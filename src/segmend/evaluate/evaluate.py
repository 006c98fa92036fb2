"""Predictions to a result: the only place where answers and labels meet."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.evaluate.predictions import KEY, check_hashes, check_scores
from segmend.evaluate.result import FORMAT, Result
from segmend.evaluate.scored_rows import ScoredRows, scored_rows
from segmend.evaluate.scores import THRESHOLD, Judged, Resampling, label_scores, mask_scores
from segmend.metrics.bootstrap import FEW_CLUSTERS
from segmend.metrics.calibration import fit_temperature
from segmend.metrics.cuts import cut_f_score, split_mask_rand
from segmend.metrics.masks import split_mask_iou
from segmend.models.model import Predictions
from segmend.models.run import benchmark_sha256, versions
from segmend.shards.leaks import accepted_leaks
from segmend.shards.reader import Benchmark
from segmend.shards.rows import decode_row
from segmend.tasks.registry import TASKS
from segmend.tasks.task import Task

MASK_METRICS = {
    "miou": split_mask_iou,
    "adjusted_rand": split_mask_rand,
    "cut_f_score": cut_f_score,
}
"""Scores of one mask, the published one first."""

_RESAMPLING = Resampling()


@dataclass(frozen=True, slots=True)
class Judging:
    """What predictions of a binary task are judged by beyond their labels; intervals of any task.

    Attributes:
        validation: Predictions of the same model on another split: a temperature is fitted there,
            and calibration is given before and after it.
        base_rate: Share of positives where the model would be used.
        resampling: How intervals are made.
    """

    validation: Predictions | None = None
    base_rate: float | None = None
    resampling: Resampling = _RESAMPLING


def evaluate(
    benchmark: Benchmark,
    predictions: Predictions,
    *,
    chance: Predictions | None = None,
    judging: Judging | None = None,
) -> Result:
    """Score predictions against the labels of the benchmark.

    Args:
        benchmark: The benchmark that was predicted on.
        predictions: One answer for every row of the task in one split.
        chance: Predictions of the chance model for the same rows; gives masks their floor. Binary
            tasks need none: their floor is known exactly.
        judging: What else to judge by, and how intervals are made.

    Raises:
        BadInputError: if the predictions are for another benchmark, split or version of the task,
            hashes are missing, unknown or duplicate, or masks are asked for what only binary tasks
            have.
        NoSamplesError: if there is nothing to score, or only rows of one class.
    """
    task, judging = TASKS[predictions.task], judging or Judging()
    rows = scored_rows(benchmark, task, predictions.split)
    for each in (predictions, chance):
        if each is not None:
            check_predictions(benchmark, each, rows, predictions)
    temperature = None
    if task.target_kind == "binary":
        temperature = _temperature(benchmark, task, predictions, judging.validation)
        judged = Judged(temperature=temperature, base_rate=judging.base_rate)
        answers = scores_of(predictions, rows)
        scores, groups = label_scores(rows, answers, judging.resampling, judged=judged)
    else:
        _check_no_labels(task, judging)
        values = mask_values(benchmark, task, rows, predictions)
        floor = None if chance is None else mask_values(benchmark, task, rows, chance)
        scores, groups = mask_scores(rows, values, judging.resampling, chance=floor)
    n_clusters = len(np.unique(rows.clusters))
    return Result(
        format=FORMAT,
        task=task.name,
        task_version=task.version,
        model=predictions.model,
        run=predictions.run,
        benchmark=benchmark.name,
        benchmark_sha256=predictions.benchmark,
        split=predictions.split,
        accepted_leaks=accepted_leaks(benchmark.source),
        n_rows=len(rows.hashes),
        n_positives=int(rows.labels.sum()) if task.target_kind == "binary" else None,
        n_clusters=n_clusters,
        n_unclustered=rows.unclustered,
        few_clusters=n_clusters < FEW_CLUSTERS,
        level=judging.resampling.level,
        resamples=judging.resampling.resamples,
        seed=judging.resampling.seed,
        threshold=THRESHOLD,
        temperature=temperature,
        base_rate=judging.base_rate,
        scores=scores,
        groups=groups,
        environment=versions(),
    )


def check_predictions(
    benchmark: Benchmark, given: Predictions, rows: ScoredRows, asked: Predictions
) -> None:
    """Check that predictions answer the question of ``asked``, row by row.

    Raises:
        BadInputError: if they are for another benchmark, split, task or version of it, or hashes
            are missing, unknown or duplicate.
    """
    task, split = TASKS[asked.task], asked.split
    answered = (given.task, given.task_version, given.split)
    if answered != (task.name, task.version, split):
        raise BadInputError(
            "these predictions answer another question",
            found=f"{answered[0]} v{answered[1]} on split '{answered[2]}'",
            fix=f"Scores are asked for {task.name} v{task.version} on split '{split}'",
        )
    here = benchmark_sha256(benchmark)
    if given.benchmark != here:
        raise BadInputError(
            f"these predictions were not made on {benchmark.source.url}",
            found=f"they name the benchmark {given.benchmark[:12]}, this is {here[:12]}",
            fix="Predict again on this benchmark",
        )
    check_hashes(given, rows.hashes)


def _temperature(
    benchmark: Benchmark, task: Task, predictions: Predictions, validation: Predictions | None
) -> float | None:
    if validation is None:
        return None
    if validation.split == predictions.split:
        raise BadInputError(
            "a temperature must be fitted on other rows than it is judged on",
            found=f"both predictions are for split '{validation.split}'",
            fix="Predict on the split 'validation' too and give that file",
        )
    if (validation.model, validation.run) != (predictions.model, predictions.run):
        raise BadInputError(
            "the temperature of one model says nothing about another",
            found=f"validation is of {validation.model} ({validation.run}), predictions of "
            f"{predictions.model} ({predictions.run})",
        )
    rows = scored_rows(benchmark, task, validation.split)
    check_predictions(benchmark, validation, rows, replace(predictions, split=validation.split))
    return fit_temperature(rows.labels, scores_of(validation, rows))


def _check_no_labels(task: Task, judging: Judging) -> None:
    given = {"validation": judging.validation, "base_rate": judging.base_rate}
    for name, value in given.items():
        if value is not None:
            raise BadInputError(
                f"'{name}' means nothing for task '{task.name}'", found="it predicts masks"
            )


def scores_of(predictions: Predictions, rows: ScoredRows) -> NDArray[np.float64]:
    """Scores in the order of the rows.

    Raises:
        BadInputError: if the predictions hold none, or some that are no probabilities.
    """
    if predictions.scores is None:
        raise BadInputError(f"predictions for '{predictions.task}' hold no scores")
    check_scores(predictions.scores, predictions.hashes)
    place = {key: index for index, key in enumerate(predictions.hashes)}
    return predictions.scores[[place[key] for key in rows.hashes]]


def mask_values(
    benchmark: Benchmark, task: Task, rows: ScoredRows, predictions: Predictions
) -> dict[str, NDArray[np.float64]]:
    """Every metric of `MASK_METRICS` on every row, NaN where it is undefined."""
    place = {key: index for index, key in enumerate(predictions.hashes)}
    values: list[list[float]] = []
    for _, table in benchmark.read_groups(rows.positions, (KEY, *task.label_columns)):
        for row in table.to_pylist():
            target = task.target(decode_row(row, task.label_columns))
            mask = predictions.mask(place[row[KEY]])
            values.append([metric(mask, target) for metric in MASK_METRICS.values()])
    return dict(zip(MASK_METRICS, np.array(values, np.float64).T, strict=True))
