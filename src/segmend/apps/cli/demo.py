"""``segmend demo``: the whole line on synthetic tissue."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from segmend.apps.cli.options import workers
from segmend.apps.progress import Progress
from segmend.core.errors import require
from segmend.evaluate.tables import result_text


@click.command(epilog="Example: segmend demo --out segmend-demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("segmend-demo"),
    show_default=True,
    help="Folder to create.",
)
@workers
def demo(out: Path, workers: int | None) -> None:
    """Make tissue, build and verify a benchmark, train baselines, score them, write a report.

    Everything runs offline, from a seed, in minutes.
    """
    for module, extra in (("numba", "build"), ("torch", "torch"), ("matplotlib", "report")):
        require(module, extra=extra)
    from segmend.apps.demonstration import demonstrate

    shipped = resources.files("segmend.apps") / "demo.toml"
    with Progress() as progress, resources.as_file(shipped) as plan:
        shown = demonstrate(out, plan=plan, workers=workers, progress=progress)
    for one in shown.answered:
        click.echo(result_text(one.result))
    click.echo(f"the report: {shown.report}")
    click.echo(f"the benchmark: {shown.benchmark}")
