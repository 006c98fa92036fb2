"""``segmend plan``: what a build would make, before a row is drawn."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from segmend.apps.cli.options import as_json, engine, overrides, workers
from segmend.apps.progress import Progress
from segmend.apps.tables import counts_table
from segmend.core.errors import require


@click.command(epilog="Example: segmend plan examples/fib25.toml --dry-run")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would be made, and what it costs.")
@click.option("--out", help="Folder or bucket to freeze the plan in.")
@overrides
@engine
@workers
@as_json
def plan(
    plan: Path,
    dry_run: bool,
    out: str | None,
    overrides: tuple[str, ...],
    engine: str,
    workers: int | None,
    as_json: bool,
) -> None:
    """Find every row that PLAN leads to, and say how many of which kind, how large, how long.

    With --out the plan is frozen in a new folder or below a new prefix of a bucket; `segmend build
    PLAN --out PLACE --resume`, here or on a cluster, makes exactly its rows.
    """
    if dry_run == (out is not None):
        raise click.UsageError("give --dry-run or --out PLACE")
    require("numba", extra="build")
    from segmend.apps.building import Order, freeze_benchmark, plan_benchmark
    from segmend.build.estimate import estimate

    order = Order(plan, overrides, engine, workers)
    with Progress(quiet=as_json) as progress:
        found = freeze_benchmark(order, out, progress) if out else plan_benchmark(order, progress)
        progress.say("drawing a few rows to learn what they cost")
        cost = estimate(found)
    species = found.species()
    if as_json:
        counts = {f"{kind}/{split}": n for (kind, split), n in sorted(found.counts().items())}
        facts = {"plan_hash": found.content_hash, "shards": len(found.units), "counts": counts}
        left = {"species": dict(species), "excluded": dict(sorted(found.excluded.items()))}
        click.echo(json.dumps(facts | asdict(cost) | left))
        return
    click.echo(counts_table(found.counts()))
    click.echo(", ".join(f"{name}: {n:,} rows" for name, n in sorted(species.items())))
    click.echo(f"{found.n_rows:,} rows in {len(found.units):,} shards, plan {found.content_hash}")
    click.echo(
        f"about {cost.bytes / 1e9:.3g} GB and {cost.core_seconds / 60:.3g} minutes of one core, "
        f"from {cost.sampled} rows"
    )
    for reason, n in found.excluded.most_common():
        click.echo(f"  {n:,} left out: {reason}")
    if out:
        click.echo(f"next: segmend build {plan} --out {out} --resume")
