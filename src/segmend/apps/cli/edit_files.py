"""``segmend edits import`` and ``export``: edits from and to files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from segmend.apps.cli.options import as_json
from segmend.edits.edit_files import write_edits
from segmend.edits.frozen import FrozenEdits, open_frozen
from segmend.edits.imported import import_edits


@click.command("import", epilog="Example: segmend edits import mine.jsonl --out mine.edits ...")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to create.")
@click.option("--licence", required=True, help="Licence of the edits; 'unknown' if it is.")
@click.option("--citation", default="", help="Whom to cite for them.")
@as_json
def import_file(file: Path, out: Path, licence: str, citation: str, as_json: bool) -> None:
    """Freeze the edits of FILE, as segmend edits freeze does with a harvest.

    FILE is .parquet or .jsonl in the neutral form (docs/edits.md). A row that does not fit is
    refused with its line and column; then nothing is written.
    """
    say_frozen(import_edits(file, out, licence=licence, citation=citation), as_json=as_json)


@click.command(epilog="Example: segmend edits export mine.edits --to mine.jsonl")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--to", "file", required=True, type=click.Path(path_type=Path), help=".parquet or .jsonl."
)
@as_json
def export(folder: Path, file: Path, as_json: bool) -> None:
    """Write the edits of the frozen FOLDER to one file that other programs read.

    Import gives the same edits back. What the history left out is not in the file.
    """
    frozen = open_frozen(folder)
    count = write_edits(file, frozen.edits())
    left = frozen.closure.known - count
    if as_json:
        click.echo(json.dumps({"file": str(file), "edits": count, "left_out": left}))
    else:
        click.echo(f"wrote {count} edits to {file}; {left} of the history are outcomes, not edits")


def say_frozen(frozen: FrozenEdits, *, as_json: bool) -> None:
    """Print the account of a frozen history."""
    closure = frozen.closure
    if as_json:
        click.echo(json.dumps({"folder": str(frozen.folder), **frozen.manifest["counts"]}))
        return
    click.echo(f"{closure.known} operations known = {closure.kept} kept")
    for what, reasons in (("dropped", closure.dropped), ("failed", closure.failed)):
        click.echo(f"  + {reasons.total()} {what}")
        for reason, n in reasons.most_common():
            click.echo(f"      {n} {reason}")
    click.echo(f"wrote {frozen.folder}")
