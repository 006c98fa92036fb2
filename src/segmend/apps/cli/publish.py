"""``segmend publish``: a benchmark onto the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path

import click

from segmend.apps.cli.options import as_json
from segmend.apps.progress import Progress
from segmend.shards.publish import Publication, publication, upload
from segmend.shards.reader import Benchmark


@click.command(epilog="Example: segmend publish bench OWNER/NAME --dry-run")
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.argument("repo")
@click.option("--dry-run", is_flag=True, help="Say what would be uploaded, and what forbids it.")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option(
    "--licence-agreed",
    is_flag=True,
    help="The owners of sources that state no licence have agreed.",
)
@as_json
def publish(
    benchmark: Path, repo: str, dry_run: bool, private: bool, licence_agreed: bool, as_json: bool
) -> None:
    """Upload the folder BENCHMARK to the data set REPO (OWNER/NAME) of the hub.

    Refused are benchmarks that are not audited or leak, sources that forbid it or state no licence,
    and what is beyond the limits of the hub. Repeat a broken upload to go on with it.
    """
    opened = Benchmark.open(benchmark)
    what = publication(opened, licence_agreed=licence_agreed)
    commit = ""
    if not dry_run:
        with Progress(quiet=as_json) as progress:
            commit = upload(
                opened,
                repo,
                what,
                private=private,
                progress=lambda n, of: progress.report("uploading files", n, of),
            )
    click.echo(_json(what, commit) if as_json else _text(what, repo, commit))
    what.check()


def _json(what: Publication, commit: str) -> str:
    return json.dumps(
        {
            "files": len(what.files),
            "bytes": what.n_bytes,
            "problems": list(what.problems),
            "advice": list(what.advice),
            "commit": commit,
        }
    )


def _text(what: Publication, repo: str, commit: str) -> str:
    lines = [f"{len(what.files):,} files, {what.n_bytes / 1e6:,.1f} MB for {repo}"]
    lines += [f"problem: {problem}" for problem in what.problems]
    lines += [f"advice: {advice}" for advice in what.advice]
    lines += [f"published as commit {commit}"] if commit else []
    return "\n".join(lines)
