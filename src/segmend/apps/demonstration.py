"""The whole line on synthetic tissue, as ``segmend demo`` runs it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from segmend.apps.building import Order, build_benchmark
from segmend.apps.progress import Progress
from segmend.apps.report.page import Answered, write_report
from segmend.apps.training import evaluate_beside_chance
from segmend.apps.verifying import verify_benchmark
from segmend.build.pipeline import check_output
from segmend.core.errors import VerificationError
from segmend.evaluate.predictions import write_predictions
from segmend.models.model import MODELS, TrainSettings
from segmend.models.run import train_run
from segmend.shards.reader import Benchmark
from segmend.store.atomic import atomic_file
from segmend.tasks.registry import TASKS
from segmend.tasks.task import Task

MODEL_ORDER = ("chance", "geometry", "cnn")
"""Floor first."""

SETTINGS = TrainSettings(epochs=10)
"""Fewer passes than by default: a demo is watched."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What the demo made.

    Attributes:
        benchmark: The benchmark.
        report: The HTML report.
        answered: Predictions of every model for every task, with results.
    """

    benchmark: Path
    report: Path
    answered: tuple[Answered, ...]


def demonstrate(
    out: Path,
    *,
    plan: Path,
    workers: int | None,
    progress: Progress,
    settings: TrainSettings = SETTINGS,
) -> Demonstration:
    """Tissue, benchmark, verification, baselines, scores, report.

    Args:
        out: Folder to create; it must not exist, or be empty.
        plan: Plan of the benchmark.
        workers: Processes; None for the machine's setting.
        progress: Where to say what is happening.
        settings: How the models are trained.

    Raises:
        OutputError: if the folder cannot be created or holds something.
        VerificationError: if the benchmark is not intact.
    """
    check_output(out)
    out.mkdir(exist_ok=True)
    try:
        build_benchmark(Order(plan, workers=workers), out / "benchmark", progress)
        return _demonstrate(out, progress, settings)
    except BaseException:
        shutil.rmtree(out)
        raise


def _demonstrate(out: Path, progress: Progress, settings: TrainSettings) -> Demonstration:
    folder, report = out / "benchmark", out / "report.html"
    checked = verify_benchmark(folder, progress)
    if checked.problems:
        raise VerificationError("the demo's benchmark is not intact", found=str(checked.problems))
    benchmark = Benchmark.open(folder)
    (out / "runs").mkdir()
    answered = []
    for task in TASKS.values():
        for model in MODEL_ORDER:
            if MODELS[model].supports(task):
                run = out / "runs" / f"{task.name}-{model}"
                progress.say(f"training {model} for {task.name}")
                answered.append(_answer(benchmark, task, model, run, settings, progress))
    progress.say("writing the report")
    write_report(benchmark, report, answered)
    return Demonstration(folder, report, tuple(answered))


def _answer(
    benchmark: Benchmark,
    task: Task,
    model: str,
    folder: Path,
    settings: TrainSettings,
    progress: Progress,
) -> Answered:
    run = train_run(benchmark, (task,), model, folder, settings=settings, report=progress.report)
    predictions = run.predict(benchmark, "test", report=progress.report)
    write_predictions(folder / "predictions.parquet", predictions)
    result = evaluate_beside_chance(benchmark, predictions)
    with atomic_file(folder / "result.json") as temporary:
        temporary.write_text(result.to_json(), encoding="utf-8")
    return Answered(predictions, result)
