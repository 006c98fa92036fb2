"""Is one model better than another? Differences on the same rows, with intervals."""

from __future__ import annotations

import msgspec
import numpy as np

from segmend.evaluate.evaluate import check_predictions, mask_values, scores_of
from segmend.evaluate.result import FORMAT, Score
from segmend.evaluate.scored_rows import scored_rows
from segmend.evaluate.scores import Resampling, label_differences, mask_differences
from segmend.models.model import Predictions
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model beside another on the same rows.

    Attributes:
        format: Version of this form.
        task: Name of the task.
        split: Split that was scored.
        benchmark_sha256: sha256 of the benchmark's ``shards.csv``.
        model: Name of the model.
        run: Name of its run.
        other_model: Name of the other model.
        other_run: Name of its run.
        n_rows: Rows.
        n_clusters: Neurons.
        level: Coverage of the intervals.
        differences: Metric of the model minus that of the other. Both are drawn together, neuron by
            neuron: an interval without 0 says that they differ.
    """

    format: int
    task: str
    split: str
    benchmark_sha256: str
    model: str
    run: str
    other_model: str
    other_run: str
    n_rows: int
    n_clusters: int
    level: float
    differences: tuple[Score, ...]

    def to_json(self) -> str:
        """The comparison as JSON text."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"


def compare(
    benchmark: Benchmark,
    predictions: Predictions,
    other: Predictions,
    *,
    resampling: Resampling | None = None,
) -> Comparison:
    """Compare two sets of predictions row by row.

    Args:
        benchmark: The benchmark that both were made on.
        predictions: One answer for every row of the task in one split.
        other: The same, of another model.
        resampling: How intervals are made.

    Raises:
        BadInputError: if they are for different tasks, splits or benchmarks, or hashes are missing,
            unknown or duplicate.
        NoSamplesError: as `segmend.evaluate.evaluate.evaluate`.
    """
    task, resampling = TASKS[predictions.task], resampling or Resampling()
    rows = scored_rows(benchmark, task, predictions.split)
    for each in (predictions, other):
        check_predictions(benchmark, each, rows, predictions)
    both = (predictions, other)
    if task.target_kind == "binary":
        ours, theirs = (scores_of(each, rows) for each in both)
        differences = label_differences(rows, ours, theirs, resampling)
    else:
        masks, others = (mask_values(benchmark, task, rows, each) for each in both)
        differences = mask_differences(rows, masks, others, resampling)
    return Comparison(
        format=FORMAT,
        task=task.name,
        split=predictions.split,
        benchmark_sha256=predictions.benchmark,
        model=predictions.model,
        run=predictions.run,
        other_model=other.model,
        other_run=other.run,
        n_rows=len(rows.hashes),
        n_clusters=len(np.unique(rows.clusters)),
        level=resampling.level,
        differences=differences,
    )
