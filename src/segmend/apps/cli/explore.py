"""``segmend explore``: a first look at a box of a data set."""

from __future__ import annotations

import json
from pathlib import Path

import click

from segmend.apps.cli.options import as_json, box_of
from segmend.apps.progress import Progress
from segmend.core.errors import require


@click.command(epilog="Example: segmend explore fib25 --path fib25.h5 --out fib25.html")
@click.argument("name")
@click.option("--box", help="Box in nm: z0:z1,y0:y1,x0:x1. Every voxel that it touches is taken.")
@click.option("--path", type=click.Path(path_type=Path), help="File or folder of the data set.")
@click.option("--version", help="Version of the segmentation (default: the record's).")
@click.option("--volume", help="Volume, where there are several (default: the record's).")
@click.option(
    "--layer",
    "layers",
    multiple=True,
    help="Label layer to look at; may be repeated (default: all).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("explore.html"),
    show_default=True,
    help="File to write.",
)
@as_json
def explore(  # one parameter per option
    name: str,
    box: str | None,
    path: Path | None,
    version: str | None,
    volume: str | None,
    layers: tuple[str, ...],
    out: Path,
    as_json: bool,
) -> None:
    """Write one HTML page about a box of the data set NAME: slices with labels, and its numbers.

    Grey values, classes, segments and their sizes, contacts, coverage, and what is known of the
    data set: licence, citation, defects, what is not certain. Without --box it is the middle of the
    volume, at most 256^3 voxels. NAME may be the path of a record (.toml) of your own.
    """
    require("jinja2", extra="report")
    require("matplotlib", extra="report")
    require("numba", extra="build")
    from segmend.apps.explore.page import write_exploration
    from segmend.apps.explore.survey import survey
    from segmend.apps.pages.page import check_folder
    from segmend.catalog.dataset import open as open_dataset

    check_folder(out)
    dataset = open_dataset(name, path=path, version=version, volume=volume)
    with Progress(quiet=as_json) as progress:
        wanted = box_of(box) if box else None
        found = survey(dataset, wanted, layers=layers, report=progress.report)
        write_exploration(found, out)
    if not as_json:
        click.echo(f"wrote {out}")
        return
    segments = {one.name: len(one.sizes) for one in found.layers if one.sizes is not None}
    ends = {"start_nm": found.box.start, "stop_nm": found.box.stop}
    said = {"file": str(out), "box": ends, "covered": found.covered, "segments": segments}
    click.echo(json.dumps(said | {"classes": found.classes}))
