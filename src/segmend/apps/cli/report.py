"""``segmend report``: one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from segmend.apps.report.page import Answered, write_report
from segmend.apps.training import evaluate_beside_chance
from segmend.evaluate.predictions import read_predictions
from segmend.shards.reader import Benchmark


@click.command(
    epilog="Example: segmend report bench --predictions predictions.parquet --out report.html"
)
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option(
    "--predictions",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Predictions to score; may be given several times.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="File to write.",
)
def report(benchmark: Path, files: tuple[Path, ...], out: Path) -> None:
    """Write an HTML report of BENCHMARK: samples, counts, and the scores of predictions."""
    opened = Benchmark.open(benchmark)
    answered = []
    for file in files:
        predictions = read_predictions(file)
        answered.append(Answered(predictions, evaluate_beside_chance(opened, predictions)))
    write_report(opened, out, answered)
    click.echo(f"wrote {out}")
