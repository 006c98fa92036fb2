"""``segmend predict``: a trained run on any benchmark."""

from __future__ import annotations

from pathlib import Path

import click

from segmend.apps.cli.options import packed
from segmend.apps.progress import Progress
from segmend.core.sample import SPLITS
from segmend.evaluate.predictions import write_predictions
from segmend.loaders.packed.beside import cache_of
from segmend.models.run import load_run
from segmend.shards.reader import Benchmark


@click.command(
    epilog="Example: segmend predict runs/cnn bench --split test --out predictions.parquet"
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option("--task", default=None, help="Which task, of a run that learnt several.")
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@packed
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write.")
def predict(
    run: Path, benchmark: Path, task: str | None, split: str, packed: Path | None, out: Path
) -> None:
    """Predict with the trained RUN on the rows of one split of BENCHMARK, any benchmark."""
    loaded, opened = load_run(run), Benchmark.open(benchmark)
    with Progress() as progress:
        progress.say(f"predicting {loaded.task(task).name} on {benchmark}, split {split}")
        if told := cache_of(opened, packed).told:
            progress.say(told)
        predictions = loaded.predict(
            opened, split, task=task, packed=packed, report=progress.report
        )
    write_predictions(out, predictions)
    click.echo(f"{out}: {len(predictions.hashes)} rows")
    click.echo(f"next: segmend evaluate {benchmark} {out}")
