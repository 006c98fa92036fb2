"""``segmend render``: one site as a contact sheet."""

from __future__ import annotations

import json
from pathlib import Path

import click

from segmend.apps.cli.options import as_json
from segmend.apps.rendering import SiteRequest, draw_site, show_sample
from segmend.apps.sheet.sheet import SitePictures, contact_sheet
from segmend.core.errors import BadInputError, require
from segmend.store.atomic import atomic_file, output_errors


@click.command(
    epilog="Example: segmend render fib25 --path fib25.h5 --segments 1036,1189 "
    "--at 870 1240 1240 --extent 600 --to site.png"
)
@click.argument("source")
@click.option("--sample", help="SOURCE is a benchmark: hash of the row, or its beginning.")
@click.option("--path", type=click.Path(path_type=Path), help="File of the data set.")
@click.option("--segments", help="SOURCE is a data set: one id (A), or two: A,B.")
@click.option("--at", nargs=3, type=float, metavar="Z Y X", help="Centre of the views, nm.")
@click.option("--extent", type=float, help="Half-width of the views, nm.")
@click.option("--layer", default="automatic", show_default=True, help="Label layer of the ids.")
@click.option("--em-pixel", type=float, help="Pixel of the EM slices, nm (default: as the views).")
@click.option("--to", "out", required=True, type=click.Path(path_type=Path), help="PNG to write.")
@as_json
def render(  # one parameter per option
    source: str,
    sample: str | None,
    path: Path | None,
    segments: str | None,
    at: tuple[float, float, float] | None,
    extent: float | None,
    layer: str,
    em_pixel: float | None,
    out: Path,
    as_json: bool,
) -> None:
    """Draw one site as a PNG with every channel, scale bars and named axes.

    SOURCE is a data set (draws --segments around --at), or the folder of a benchmark (shows the
    row --sample as its readers see it).
    """
    if sample is not None:
        if segments or at or extent:
            raise BadInputError(
                "--sample shows a row as it is: --segments, --at, --extent do not go"
            )
        from segmend.shards.reader import Benchmark

        pictures = show_sample(Benchmark.open(source), sample)
    else:
        if not (segments and at and extent):
            raise BadInputError(
                "there is nothing to draw",
                fix="A data set needs --segments, --at and --extent; a benchmark needs --sample",
            )
        request = SiteRequest(_ids(segments), at, extent, layer, em_pixel)
        pictures = _drawn(source, path, request)
    with output_errors(out), atomic_file(out) as file:
        contact_sheet(pictures).save(file, format="PNG", optimize=True)
    click.echo(json.dumps({"file": str(out), "title": pictures.title}) if as_json else str(out))


def _drawn(source: str, path: Path | None, request: SiteRequest) -> SitePictures:
    require("numba", extra="build")
    from segmend.catalog.dataset import open as open_dataset

    return draw_site(open_dataset(source, path=path), request)


def _ids(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise BadInputError(
            f"--segments takes ids, got '{text}'", fix="One id, or two separated by a comma"
        )
    return tuple(int(part) for part in parts)
