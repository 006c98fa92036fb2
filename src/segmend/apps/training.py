"""What the verbs ``train``, ``evaluate`` and ``demo`` share."""

from __future__ import annotations

from collections.abc import Sequence

from segmend.evaluate.evaluate import Judging, evaluate
from segmend.evaluate.result import Result
from segmend.models.chance import Chance
from segmend.models.model import MODELS, Predictions, TrainSettings
from segmend.models.run import Run
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS
from segmend.tasks.task import Task

BASELINES = ("geometry", "cnn")
"""Models to train where none was named: the first that can learn the task."""


def baseline_of(tasks: Sequence[Task]) -> str:
    """The model that is trained for one task, or several at once, where none was named."""
    return next(name for name in BASELINES if MODELS[name].supports(*tasks))


def evaluate_beside_chance(
    benchmark: Benchmark, predictions: Predictions, *, judging: Judging | None = None
) -> Result:
    """Score predictions; mask tasks get the chance model's score as their floor."""
    task = TASKS[predictions.task]
    chance = None
    if task.target_kind == "split_mask":
        chance = chance_predictions(benchmark, task, predictions.split)
    return evaluate(benchmark, predictions, chance=chance, judging=judging)


def chance_predictions(benchmark: Benchmark, task: Task, split: str) -> Predictions:
    """What needs no training: predictions of the chance model."""
    model = Chance()
    model.fit(benchmark, (task,), TrainSettings())
    config = {"model": "chance"}
    return Run("chance", (task,), model, config).predict(benchmark, split)
