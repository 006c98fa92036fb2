"""``segmend build``: plan file to benchmark; ``segmend build status``: how far one is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segmend.apps.cli.options import as_json, engine, overrides, workers
from segmend.apps.progress import Progress
from segmend.apps.tables import counts_table
from segmend.core.errors import BadInputError, IncompleteBuildError, require
from segmend.store.bucket import Bucket, is_bucket

if TYPE_CHECKING:
    from segmend.apps.building import Order
    from segmend.build.commits import Closure
    from segmend.build.frozen import FrozenPlan
    from segmend.build.pipeline import Built


class PlanOrVerb(click.Group):
    """Takes a plan file where no verb is named: ``segmend build PLAN`` is the usual call."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the unnamed verb in front."""
        named = next((arg for arg in args if not arg.startswith("-")), None)
        if named not in self.commands and not {"-h", "--help"} & set(args):
            args = ["plan", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=PlanOrVerb,
    epilog="Example: segmend build examples/fib25.toml --out bench "
    "--set samples.max_rows.merge_edit=100",
)
def build() -> None:
    """Build a proofreading benchmark from a plan file: segmend build PLAN --out FOLDER.

    PLAN is TOML; docs/plan.md lists every key. It can be stopped at any moment, even killed, and
    goes on with --resume where it was; docs/building.md says how, and how to use a cluster.
    """


@build.command("plan", epilog="Example: segmend build examples/fib25.toml --out bench --workers 2")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--out", required=True, help="Folder to create, or s3://BUCKET/NAME, gs://...")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="With a bucket: folder for what is small (default: in the cache).",
)
@click.option("--resume", is_flag=True, help="Go on with the unfinished build in --out.")
@click.option("--audit", is_flag=True, help="Audit it for leaks when it is complete.")
@overrides
@engine
@workers
@as_json
def build_plan(
    out: str, work: Path | None, resume: bool, audit: bool, as_json: bool, **order: Any
) -> None:
    """Build the benchmark of PLAN (the word ``plan`` may be left out)."""
    require("numba", extra="build")
    from segmend.apps.auditing import audit_benchmark, keep_audit
    from segmend.apps.building import Order
    from segmend.shards.reader import Benchmark

    if is_bucket(out) and audit:
        raise BadInputError(
            "--audit writes its result beside the shards, which are in a bucket",
            fix=f"Build without it, then: segmend audit {out}",
        )
    if work is not None and not is_bucket(out):
        raise BadInputError("--work is for builds into a bucket", found=f"--out is {out}")
    with Progress(quiet=as_json) as progress:
        built, made = _made(Order(**order), out, progress, work=work, resume=resume)
        if audit:
            benchmark = Benchmark.open(out)
            keep_audit(benchmark, audit_benchmark(benchmark, progress=progress))
    if as_json:
        click.echo(json.dumps(_as_json(built.closure, made, out)))
        return
    _say(built.closure, made)
    click.echo(f"next: segmend verify {out}" + ("" if audit else f"; segmend audit {out}"))


def _as_json(account: Closure, made: FrozenPlan, out: str) -> dict[str, Any]:
    return {
        "folder": out,
        "plan_hash": made.content_hash,
        "planned": account.planned,
        "committed": account.committed,
        "failed": dict(account.failed),
        "counts": {f"{kind}/{split}": n for (kind, split), n in sorted(made.counts().items())},
        "excluded": dict(sorted(made.excluded.items())),
    }


def _say(account: Closure, made: FrozenPlan) -> None:
    click.echo(counts_table(made.counts()))
    click.echo(f"{account.committed} rows committed of {account.planned} planned")
    for reason, n in account.failed.most_common():
        click.echo(f"  {n} failed: {reason}")
    if made.settings.splits.accepted_leaks:
        click.echo(f"accepted leaks: {', '.join(made.settings.splits.accepted_leaks)}")


def _made(
    order: Order, out: str, progress: Progress, *, work: Path | None, resume: bool
) -> tuple[Built, FrozenPlan]:
    from segmend.apps import building

    if is_bucket(out):
        bucket = Bucket(out)
        make = building.resume_in_bucket if resume else building.build_in_bucket
        return make(order, bucket, work or building.work_folder(bucket), progress)
    make_here = building.resume_benchmark if resume else building.build_benchmark
    return make_here(order, Path(out), progress)


@build.command(epilog="Example: segmend build status bench")
@click.argument("benchmark")
@as_json
def status(benchmark: str, as_json: bool) -> None:
    """Say how far the build in BENCHMARK is; exits with 7 while it is not complete."""
    require("numba", extra="build")
    from segmend.build.in_bucket import status_in
    from segmend.build.resume import status as status_of

    found = status_in(Bucket(benchmark)) if is_bucket(benchmark) else status_of(Path(benchmark))
    if as_json:
        click.echo(json.dumps(asdict(found)))
    else:
        click.echo(f"{benchmark}, plan {found.plan_hash[:12]}")
        click.echo(f"{found.done} of {found.shards} shards, {found.being_made} being made")
        click.echo(f"{found.committed} rows committed of {found.planned} planned")
        for reason, n in sorted(found.failed.items()):
            click.echo(f"  {n} failed: {reason}")
    if not found.finished:
        raise IncompleteBuildError(
            f"{benchmark} is not complete",
            found=f"{found.shards - found.done} of {found.shards} shards are not there",
            fix=f"segmend build PLAN --out {benchmark} --resume",
        )
