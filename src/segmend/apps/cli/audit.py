"""``segmend audit``: leaks between splits, and answers that the making of rows gives away."""

from __future__ import annotations

import click
import msgspec

from segmend.apps.auditing import audit_benchmark, keep_audit
from segmend.apps.cli.options import as_json
from segmend.apps.progress import Progress
from segmend.evaluate.audit.text import audit_text
from segmend.shards.reader import Benchmark


@click.command(epilog="Example: segmend audit bench")
@click.argument("benchmark")
@click.option("--resamples", type=click.IntRange(2), default=1000, help="Behind each interval.")
@click.option("--dry-run", is_flag=True, help="Write nothing beside the benchmark.")
@as_json
def audit(benchmark: str, resamples: int, dry_run: bool, as_json: bool) -> None:
    """Look for leaks in BENCHMARK, a folder or URL (docs/audit.md).

    Pictures, operations, neurons and places that two splits share, and statistics that tell the
    label without the skill it asks for. The result goes into audit.json and the card of a folder.
    Exits with 6 if anything leaks that its plan does not accept.
    """
    opened = Benchmark.open(benchmark)
    with Progress(quiet=as_json) as progress:
        found = audit_benchmark(opened, resamples=resamples, progress=progress)
    if not dry_run and opened.source.folder is not None:
        keep_audit(opened, found)
    click.echo(msgspec.json.encode(found).decode() if as_json else audit_text(found), nl=as_json)
    found.check()
