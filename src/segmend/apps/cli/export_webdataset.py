"""``segmend export-webdataset``: what tasks show, as tar files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from segmend.apps.cli.options import as_json, workers
from segmend.apps.progress import Progress
from segmend.core.sample import SPLITS
from segmend.loaders.webdataset import MANIFEST, ExportSettings, TarRecord
from segmend.loaders.webdataset import export_webdataset as export
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS


@click.command(epilog="Example: segmend export-webdataset bench --out tars --answers --seed 1")
@click.argument("benchmark")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the tars.")
@click.option(
    "--task", "tasks", multiple=True, type=click.Choice(list(TASKS)), help="Default: all with rows."
)
@click.option(
    "--split", "splits", multiple=True, type=click.Choice(SPLITS), help="Default: all with rows."
)
@click.option("--answers", is_flag=True, help="Write the answers too; without it, inputs alone.")
@click.option("--as-stored", is_flag=True, help="Keep what published rows get wrong.")
@click.option(
    "--rows", type=click.IntRange(1), default=1000, show_default=True, help="Rows per tar."
)
@click.option("--seed", type=click.IntRange(0), default=None, help="Shuffle each split by it.")
@workers
@as_json
def export_webdataset(
    benchmark: str,
    out: Path,
    tasks: tuple[str, ...],
    splits: tuple[str, ...],
    answers: bool,
    as_stored: bool,
    rows: int,
    seed: int | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Write BENCHMARK as tar files that the webdataset library reads.

    Each task has its own, with what it may see and nothing else: no metadata and, unless
    --answers says so, no answers. Stopped at any moment it goes on where it was; a folder with
    other things is refused.
    """
    settings = ExportSettings(
        tasks, splits, answers=answers, repaired=not as_stored, rows=rows, seed=seed
    )
    with Progress(quiet=as_json) as progress:
        done = export(
            Benchmark.open(benchmark),
            out,
            settings,
            workers=workers or 1,
            report=lambda n, total: progress.report("exporting", n, total),
        )
    if as_json:
        said = {"out": str(out), "tars": len(done.tars), "rows": _rows(done.tars)}
        click.echo(json.dumps(said | {"reused": done.reused, "left_out": done.left_out}))
        return
    size = sum(one.size for one in done.tars)
    click.echo(
        f"{out}: {_rows(done.tars)} rows in {len(done.tars)} tars, {size / 1e6:.1f} MB; "
        f"{done.reused} were there already; {MANIFEST} lists them"
    )
    for place, reasons in done.left_out.items():
        for reason, n in reasons.items():
            click.echo(f"left out of {place}: {n} rows, {reason}")


def _rows(tars: tuple[TarRecord, ...]) -> int:
    return sum(one.rows for one in tars)
