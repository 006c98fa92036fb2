"""Predictions to a result: the only place where answers and labels meet."""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.evaluate.predictions import KEY, check_hashes
from segmend.evaluate.result import FORMAT, Result
from segmend.evaluate.scored_rows import ScoredRows, scored_rows
from segmend.evaluate.scores import THRESHOLD, Resampling, label_scores, mask_scores
from segmend.metrics.bootstrap import FEW_CLUSTERS
from segmend.metrics.masks import split_mask_iou
from segmend.models.model import Predictions
from segmend.models.run import benchmark_sha256, versions
from segmend.shards.reader import Benchmark
from segmend.shards.rows import decode_row
from segmend.tasks.registry import TASKS
from segmend.tasks.task import Task

PLAN = "plan.json"


def evaluate(
    benchmark: Benchmark,
    predictions: Predictions,
    *,
    chance: Predictions | None = None,
    resampling: Resampling | None = None,
) -> Result:
    """Score predictions against the labels of the benchmark.

    Args:
        benchmark: The benchmark that was predicted on.
        predictions: One answer for every row of the task in one split.
        chance: Predictions of the chance model for the same rows; gives masks their floor. Binary
            tasks need none: their floor is known exactly.
        resampling: How intervals are made.

    Raises:
        BadInputError: if the predictions are for another benchmark, split or version of the task,
            or hashes are missing, unknown or duplicate.
        NoSamplesError: if there is nothing to score.
    """
    task, resampling = TASKS[predictions.task], resampling or Resampling()
    rows = scored_rows(benchmark, task, predictions.split)
    for each in (predictions, chance):
        if each is not None:
            _check_same(benchmark, task, each, predictions.split)
            check_hashes(each, rows.hashes)
    if task.target_kind == "binary":
        scores, groups = label_scores(rows, _scores(predictions, rows), resampling)
    else:
        ious = _ious(benchmark, task, rows, predictions)
        floor = None if chance is None else _ious(benchmark, task, rows, chance)
        scores, groups = mask_scores(rows, ious, resampling, chance=floor)
    n_clusters = len(np.unique(rows.clusters))
    return Result(
        format=FORMAT,
        task=task.name,
        task_version=task.version,
        model=predictions.model,
        run=predictions.run,
        benchmark=benchmark.folder.resolve().name,
        benchmark_sha256=predictions.benchmark,
        split=predictions.split,
        accepted_leaks=accepted_leaks(benchmark),
        n_rows=len(rows.hashes),
        n_positives=int(rows.labels.sum()) if task.target_kind == "binary" else None,
        n_clusters=n_clusters,
        n_unclustered=rows.unclustered,
        few_clusters=n_clusters < FEW_CLUSTERS,
        level=resampling.level,
        resamples=resampling.resamples,
        seed=resampling.seed,
        threshold=THRESHOLD,
        scores=scores,
        groups=groups,
        environment=versions(),
    )


def accepted_leaks(benchmark: Benchmark) -> tuple[str, ...]:
    """The leaks that the plan of a benchmark declares; none if it has no plan.

    Raises:
        ReadFailedError: if the plan cannot be read.
        BadInputError: if it does not say which leaks.
    """
    path = benchmark.folder / PLAN
    if not path.exists():
        return ()
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    leaks = plan.get("accepted_leaks", []) if isinstance(plan, dict) else None
    if not isinstance(leaks, list) or not all(isinstance(leak, str) for leak in leaks):
        raise BadInputError(f"{path} must list its accepted_leaks as strings", found=repr(leaks))
    return tuple(leaks)


def _check_same(benchmark: Benchmark, task: Task, predictions: Predictions, split: str) -> None:
    """Check that predictions answer this task on this benchmark and split."""
    given = (predictions.task, predictions.task_version, predictions.split)
    if given != (task.name, task.version, split):
        raise BadInputError(
            "these predictions answer another question",
            found=f"{given[0]} v{given[1]} on split '{given[2]}'",
            fix=f"Scores are asked for {task.name} v{task.version} on split '{split}'",
        )
    here = benchmark_sha256(benchmark)
    if predictions.benchmark != here:
        raise BadInputError(
            f"these predictions were not made on {benchmark.folder}",
            found=f"they name the benchmark {predictions.benchmark[:12]}, this is {here[:12]}",
            fix="Predict again on this benchmark",
        )


def _scores(predictions: Predictions, rows: ScoredRows) -> NDArray[np.float64]:
    """Scores in the order of the rows."""
    if predictions.scores is None:
        raise BadInputError(f"predictions for '{predictions.task}' hold no scores")
    place = {key: index for index, key in enumerate(predictions.hashes)}
    return predictions.scores[[place[key] for key in rows.hashes]]


def _ious(
    benchmark: Benchmark, task: Task, rows: ScoredRows, predictions: Predictions
) -> NDArray[np.float64]:
    """IoU of every row, NaN where its target has no foreground."""
    place = {key: index for index, key in enumerate(predictions.hashes)}
    ious = []
    for _, table in benchmark.read_groups(rows.positions, (KEY, *task.label_columns)):
        for row in table.to_pylist():
            target = task.target(decode_row(row, task.label_columns))
            ious.append(split_mask_iou(predictions.mask(place[row[KEY]]), target))
    return np.array(ious)
