"""``segmend verify``: check every byte, row and rule."""

from __future__ import annotations

import json
from pathlib import Path

import click

from segmend.apps.cli.options import as_json
from segmend.apps.progress import Progress
from segmend.apps.verifying import verify_benchmark
from segmend.core.errors import VerificationError
from segmend.shards.defects import defect_lines


@click.command(epilog="Example: segmend verify bench")
@click.argument("benchmark", type=click.Path(path_type=Path))
@as_json
def verify(benchmark: Path, as_json: bool) -> None:
    """Check every byte, row and rule of BENCHMARK.

    Shards against their sha256, pages against their checksums, rows against the schema, labels
    against sample types, sidecars and ledger against shards. Exits with 6 if anything is wrong.
    """
    with Progress(quiet=as_json) as progress:
        checked = verify_benchmark(benchmark, progress)
    if as_json:
        click.echo(json.dumps(checked.to_json()))
    else:
        for problem in checked.problems:
            click.echo(str(problem), err=True)
    if checked.problems:
        raise VerificationError(
            f"{benchmark} is not intact",
            found=f"{len(checked.problems)} problems",
            fix="Build or fetch the damaged files again",
        )
    if not as_json:
        found = checked.shards
        click.echo(f"{benchmark} is intact: {found.n_rows} rows in {found.n_shards} shards")
        for line in defect_lines(found.defects):
            click.echo(f"known defect {line}")
