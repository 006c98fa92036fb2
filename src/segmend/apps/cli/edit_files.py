"""``segmend edits import`` and ``export``: edits from and to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from segmend.apps.cli.options import as_json
from segmend.core.errors import BadInputError
from segmend.edits.edit_files import write_edits
from segmend.edits.frozen import FrozenEdits, open_frozen
from segmend.edits.frozen_manifest import Closure
from segmend.edits.imported import import_edits


@click.command("import", epilog="Example: segmend edits import mine.jsonl --out mine.edits ...")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to create.")
@click.option("--licence", required=True, help="Licence of the edits; 'unknown' if it is.")
@click.option("--citation", default="", help="Whom to cite for them.")
@click.option(
    "--log", type=click.Choice(["dvid", "webknossos"]), help="FILE is a log of that program."
)
@click.option("--dataset", default="", help="With --log: the data set it speaks of.")
@click.option("--supervoxels", default="supervoxels", show_default=True, help="Its layer of them.")
@click.option("--automatic", default="automatic", show_default=True, help="Its first segmentation.")
@as_json
def import_file(
    file: Path,
    out: Path,
    licence: str,
    citation: str,
    log: Literal["dvid", "webknossos"] | None,
    dataset: str,
    as_json: bool,
    **layers: str,
) -> None:
    """Freeze the edits of FILE, as segmend edits freeze does with a harvest.

    FILE is .parquet or .jsonl in the neutral form (docs/edits.md), or with --log the mutation log
    of DVID or the update actions of webKnossos. Logs do not say where: that takes the data set. A
    row that does not fit is refused with its line and column; then nothing is written.
    """
    if (log is None) != (not dataset):
        raise BadInputError(
            "--log and --dataset go together", fix="A log names bodies; the data set says where"
        )
    if log is None:
        frozen = import_edits(file, out, licence=licence, citation=citation)
    else:
        # Volumes and kernels take a second to import: not for every verb of edits.
        from segmend.edits.imported_log import import_log, tissue_of

        tissue = tissue_of(dataset, **layers)
        frozen = import_log(file, out, log=log, tissue=tissue, licence=licence, citation=citation)
    say_frozen(frozen, as_json=as_json)


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
        more = {name: frozen.manifest[name] for name in ("controls",) if name in frozen.manifest}
        said = {"folder": str(frozen.folder), **frozen.manifest["counts"], **more}
        click.echo(json.dumps(said))
        return
    _say_account("operations", closure)
    for kind in frozen.control_kinds:
        _say_account(f"possible {kind}s", frozen.control_closure(kind))
    click.echo(f"wrote {frozen.folder}")


def _say_account(what: str, closure: Closure) -> None:
    click.echo(f"{closure.known} {what} known = {closure.kept} kept")
    for fate, reasons in (("dropped", closure.dropped), ("failed", closure.failed)):
        click.echo(f"  + {reasons.total()} {fate}")
        for reason, n in reasons.most_common():
            click.echo(f"      {n} {reason}")
