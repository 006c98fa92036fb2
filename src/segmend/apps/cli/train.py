"""``segmend train``: a model for a task on a benchmark."""

from __future__ import annotations

from pathlib import Path

import click

from segmend.apps.progress import Progress
from segmend.apps.training import baseline_of
from segmend.models.model import MODELS, TrainSettings
from segmend.models.run import train_run
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS


@click.command(
    epilog="Example: segmend train false_split_correction bench --model cnn --out runs/cnn"
)
@click.argument("task")
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option("--model", default=None, help=f"One of: {', '.join(MODELS)}.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder to create.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=None, help="Passes, for networks.")
def train(
    task: str, benchmark: Path, model: str | None, out: Path | None, seed: int, epochs: int | None
) -> None:
    """Train a model for TASK on the training rows of BENCHMARK.

    TASK is false_split_correction, false_merge_identification or split_mask_generation. Without
    --model the task's baseline is trained; without --out the run is written to
    runs/BENCHMARK-TASK-MODEL.
    """
    asked = TASKS[task]
    name = model or baseline_of(asked)
    folder = out or Path("runs") / f"{benchmark.resolve().name}-{task}-{name}"
    settings = (
        TrainSettings(seed=seed) if epochs is None else TrainSettings(seed=seed, epochs=epochs)
    )
    opened = Benchmark.open(benchmark)
    if out is None:
        folder.parent.mkdir(exist_ok=True)
    with Progress() as progress:
        progress.say(f"training {name} for {task} on {benchmark}")
        run = train_run(opened, asked, name, folder, settings=settings, report=progress.report)
    click.echo(f"{folder}: {name} trained in {run.config['wall_seconds']:.0f} s")
    click.echo(f"next: segmend predict {folder} {benchmark} --out predictions.parquet")
