"""``segmend rebuild``: make what is missing or damaged again, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import click

from segmend.apps.cli.options import as_json, engine, overrides, workers
from segmend.apps.progress import Progress
from segmend.core.errors import require
from segmend.store.bucket import is_bucket


@click.command(epilog="Example: segmend rebuild examples/fib25.toml bench")
@click.argument("plan", type=click.Path(path_type=Path))
@click.argument("benchmark")
@overrides
@engine
@workers
@as_json
def rebuild(
    plan: Path,
    benchmark: str,
    overrides: tuple[str, ...],
    engine: str,
    workers: int | None,
    as_json: bool,
) -> None:
    """Make exactly the shards of BENCHMARK again that are missing or damaged.

    PLAN is the file it was built with. Shards come back byte by byte: each is compared with the
    checksum in the ledger. In a folder, sidecars, card and demo rows are written anew; in a bucket
    (s3://, gs://) they stay.
    """
    require("numba", extra="build")
    from segmend.apps.building import Order, rebuild_benchmark, rebuild_in_bucket
    from segmend.store.bucket import Bucket

    order = Order(plan, overrides, engine, workers)
    with Progress(quiet=as_json) as progress:
        if is_bucket(benchmark):
            again = rebuild_in_bucket(order, Bucket(benchmark), progress)
        else:
            again = rebuild_benchmark(order, Path(benchmark), progress)
    if as_json:
        click.echo(json.dumps({"rebuilt": list(again)}))
        return
    for path in again:
        click.echo(f"made again: {path}")
    click.echo(f"{benchmark} is whole: {len(again)} shards made again")
