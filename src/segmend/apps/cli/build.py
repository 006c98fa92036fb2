"""``segmend build``: plan file to benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import click

from segmend.apps.cli.options import as_json, overrides, workers
from segmend.apps.progress import Progress
from segmend.apps.tables import counts_table
from segmend.core.errors import require


@click.command(
    epilog="Example: segmend build examples/fib25.toml --out bench "
    "--set samples.max_rows.merge_edit=100"
)
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to create.")
@overrides
@workers
@as_json
def build(
    plan: Path, out: Path, overrides: tuple[str, ...], workers: int | None, as_json: bool
) -> None:
    """Build a proofreading benchmark from PLAN (TOML; docs/plan.md lists every key).

    The folder appears when it is complete and verified; on any error nothing is left behind.
    """
    require("numba", extra="build")
    from segmend.apps.building import build_benchmark

    with Progress(quiet=as_json) as progress:
        built, made = build_benchmark(
            plan, out, overrides=overrides, workers=workers, progress=progress
        )
    if as_json:
        counts = {f"{kind}/{split}": n for (kind, split), n in sorted(made.counts().items())}
        account = built.closure
        click.echo(
            json.dumps(
                {
                    "folder": str(built.folder),
                    "plan_hash": made.content_hash,
                    "planned": account.planned,
                    "committed": account.committed,
                    "failed": dict(account.failed),
                    "counts": counts,
                    "excluded": dict(sorted(made.excluded.items())),
                }
            )
        )
        return
    click.echo(counts_table(made.counts()))
    click.echo(f"{built.closure.committed} rows committed of {built.closure.planned} planned")
    for reason, n in built.closure.failed.most_common():
        click.echo(f"  {n} failed: {reason}")
    if made.settings.splits.accepted_leaks:
        click.echo(f"accepted leaks: {', '.join(made.settings.splits.accepted_leaks)}")
    click.echo(f"next: segmend verify {out}")
