"""``segmend migrate``: a benchmark in the other version of the schema."""

from __future__ import annotations

import json
from pathlib import Path

import click

from segmend.apps.cli.options import as_json
from segmend.apps.progress import Progress
from segmend.core.sample import ROW_SCHEMAS, SchemaVersion
from segmend.shards.migrate import migrate as migrate_benchmark
from segmend.shards.reader import Benchmark
from segmend.shards.versions import LOSSES


@click.command(epilog="Example: segmend migrate old-bench --to v2 --out bench")
@click.argument("benchmark")
@click.option("--to", "version", type=click.Choice(list(ROW_SCHEMAS)), required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to create.")
@as_json
def migrate(benchmark: str, version: SchemaVersion, out: Path, as_json: bool) -> None:
    """Write BENCHMARK, a folder or URL, in another version of the schema.

    Splits stay what they are. Everything that the other version cannot say is named, counted and
    written into the card; what v1 called a row is kept in its metadata.
    """
    opened = Benchmark.open(benchmark)
    with Progress(quiet=as_json) as progress:
        done = migrate_benchmark(
            opened, out, version, progress=lambda n, of: progress.report("migrating shards", n, of)
        )
    if as_json:
        told = {"rows": done.rows, "left_out": done.left_out, "losses": dict(done.losses)}
        click.echo(json.dumps(told))
        return
    click.echo(f"{done.rows} rows written, {done.left_out} left out")
    for name, n in sorted(done.losses.items()):
        click.echo(f"  {n} {name}: {LOSSES[name]}")
    click.echo(f"next: segmend verify {out}")
