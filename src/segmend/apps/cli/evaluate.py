"""``segmend evaluate``: predictions to scores."""

from __future__ import annotations

from pathlib import Path

import click

from segmend.apps.cli.options import as_json
from segmend.apps.scoreboard.files import check_format, write_result
from segmend.apps.training import evaluate_beside_chance
from segmend.core.errors import BadInputError
from segmend.evaluate.compare import compare
from segmend.evaluate.evaluate import Judging
from segmend.evaluate.predictions import read_predictions
from segmend.evaluate.tables import comparison_text, result_text
from segmend.shards.reader import Benchmark

_FILE = click.Path(path_type=Path)


@click.command(
    epilog="Example: segmend evaluate bench test.parquet --validation validation.parquet "
    "--base-rate 0.01 --out result.json"
)
@click.argument("benchmark", type=_FILE)
@click.argument("predictions", type=_FILE)
@click.option(
    "--validation", type=_FILE, help="Predictions on another split: calibrate there, judge here."
)
@click.option(
    "--base-rate", type=float, help="Give precision where this share of cases is positive."
)
@click.option("--against", type=_FILE, help="Predictions of another model: compare row by row.")
@click.option("--out", type=_FILE, help="Also write it: .json, .md or .html.")
@as_json
def evaluate(
    benchmark: Path,
    predictions: Path,
    validation: Path | None,
    base_rate: float | None,
    against: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Score PREDICTIONS against the labels of BENCHMARK (docs/evaluation.md).

    Every score has a 95 % interval (bootstrap over neurons) and stands beside chance. With
    --against, the differences of two models on the same rows have theirs.
    """
    opened, answers = Benchmark.open(benchmark), read_predictions(predictions)
    if against is not None:
        if validation or base_rate or out:
            raise BadInputError("--against compares two files and goes with --json only")
        comparison = compare(opened, answers, read_predictions(against))
        click.echo(comparison.to_json() if as_json else comparison_text(comparison), nl=False)
        return
    if out is not None:
        check_format(out)
    judging = Judging(
        validation=read_predictions(validation) if validation else None, base_rate=base_rate
    )
    result = evaluate_beside_chance(opened, answers, judging=judging)
    if out is not None:
        write_result(out, result)
    click.echo(result.to_json() if as_json else result_text(result), nl=False)
