"""``segmend evaluate``: predictions to scores."""

from __future__ import annotations

from pathlib import Path

import click

from segmend.apps.cli.options import as_json
from segmend.apps.training import evaluate_beside_chance
from segmend.core.errors import OutputError
from segmend.evaluate.predictions import read_predictions
from segmend.evaluate.result import table
from segmend.shards.reader import Benchmark
from segmend.store.atomic import atomic_file


@click.command(epilog="Example: segmend evaluate bench predictions.parquet --json")
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Also write the result, as JSON.")
@as_json
def evaluate(benchmark: Path, predictions: Path, out: Path | None, as_json: bool) -> None:
    """Score PREDICTIONS against the labels of BENCHMARK.

    Every score has a 95 % interval (bootstrap over neurons) and stands beside chance.
    """
    result = evaluate_beside_chance(Benchmark.open(benchmark), read_predictions(predictions))
    if out is not None:
        if not out.absolute().parent.is_dir():
            raise OutputError(f"cannot write {out}", found="its folder does not exist")
        with atomic_file(out) as temporary:
            temporary.write_text(result.to_json(), encoding="utf-8")
    click.echo(result.to_json() if as_json else table(result), nl=False)
