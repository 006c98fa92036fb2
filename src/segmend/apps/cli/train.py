"""``segmend train``: a model for a task on a benchmark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from segmend.apps.cli.options import packed
from segmend.apps.progress import Progress
from segmend.apps.training import baseline_of
from segmend.core.errors import BadInputError
from segmend.loaders.packed.beside import cache_of
from segmend.models.model import BALANCE, INPUTS, MODELS, Backbone, rank_here
from segmend.models.run import Beginning, train_run
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS, tasks_named


@click.command(
    epilog="Example: segmend train false_split_correction bench --model fusion --out runs/fusion; "
    "or one network for all three: segmend train all bench --model fusion --out runs/all"
)
@click.argument("task", metavar="TASKS")
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option("--model", default=None, help=f"One of: {', '.join(MODELS)}.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder to create.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=None, help="Passes, for networks.")
@click.option("--batch-size", type=click.IntRange(1), default=None, help="Rows per step.")
@click.option("--learning-rate", type=float, default=None, help="Peak learning rate.")
@click.option("--inputs", type=click.Choice(INPUTS), default=None, help="What networks see.")
@click.option("--train-rows", type=click.IntRange(2), default=None, help="Only so many rows.")
@click.option(
    "--balance", default=None, help=f"What comes equally often, of {', '.join(BALANCE)}; or none."
)
@click.option(
    "--weight",
    "weights",
    multiple=True,
    metavar="TASK=NUMBER",
    help="Of several tasks: share of a task in a batch. Default: its share of the rows.",
)
@click.option("--backbone", metavar="timm:NAME", help="For vit-*: a network of timm, by name.")
@click.option("--imagenet", is_flag=True, help="Begin with that backbone's ImageNet weights.")
@click.option("--start", type=click.Path(path_type=Path), help="Run to fine-tune.")
@click.option("--resume", is_flag=True, help="Go on with a training that was killed.")
@packed
@click.option("--tensorboard", is_flag=True, help="Write the log for TensorBoard too.")
def train(
    task: str,
    benchmark: Path,
    model: str | None,
    out: Path | None,
    start: Path | None,
    resume: bool,
    packed: Path | None,
    tensorboard: bool,
    balance: str | None,
    weights: tuple[str, ...],
    backbone: str | None,
    imagenet: bool,
    **asked: Any,
) -> None:
    """Train a model for TASKS on the training rows of BENCHMARK.

    TASKS is false_split_correction, false_merge_identification or split_mask_generation, several
    of these with commas between them, or all: then one network learns them together. Without
    --model the tasks' baseline is trained; without --out the run is written to
    runs/BENCHMARK-TASKS-MODEL.
    """
    tasks = tasks_named(task)
    name = model or baseline_of(tasks)
    folder = out or Path("runs") / f"{benchmark.resolve().name}-{task}-{name}"
    changes = {key: value for key, value in asked.items() if value is not None}
    if balance is not None:
        changes["balance"] = () if balance == "none" else tuple(balance.split(","))
    if weights:
        changes["weights"] = tuple(map(_weight, weights))
    if backbone is not None or imagenet:
        changes["backbone"] = _backbone(backbone, imagenet=imagenet)
    settings = replace(MODELS[name].settings, **changes)
    opened = Benchmark.open(benchmark)
    if out is None:
        folder.parent.mkdir(exist_ok=True)
    with Progress(quiet=rank_here() > 0) as progress:
        progress.say(f"training {name} for {task} on {benchmark}")
        if told := cache_of(opened, packed).told:
            progress.say(told)
        run = train_run(
            opened,
            tasks,
            name,
            folder,
            settings=settings,
            beginning=Beginning(resume, start, tensorboard, packed),
            report=progress.report,
        )
    if rank_here() > 0:  # of processes that train together one speaks
        return
    click.echo(f"{folder}: {name} trained in {run.config['wall_seconds']:.0f} s")
    for each in tasks:
        which = f" --task {each.name}" if len(tasks) > 1 else ""
        answers = f"{each.name}.parquet" if which else "predictions.parquet"
        click.echo(f"next: segmend predict {folder} {benchmark}{which} --out {answers}")


def _backbone(text: str | None, *, imagenet: bool) -> Backbone:
    """timm:NAME taken apart."""
    library, _, name = (text or "").partition(":")
    if library != "timm" or not name:
        raise BadInputError(
            f"'{text}' names no backbone" if text else "ImageNet weights belong to a backbone",
            fix="Write --backbone timm:NAME, as timm:vit_base_patch16_224",
        )
    return Backbone(name, imagenet)


def _weight(text: str) -> tuple[str, float]:
    """TASK=NUMBER taken apart."""
    task, _, number = text.partition("=")
    name = TASKS[task].name
    try:
        return name, float(number)
    except ValueError:
        raise BadInputError(
            f"'{text}' is not a weight", fix="Write TASK=NUMBER, as split_mask_generation=2"
        ) from None
