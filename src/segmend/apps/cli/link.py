"""``segmend link``: a link that shows a data set in Neuroglancer, and what a link says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import click

from segmend.apps.cli.options import as_json, box_of
from segmend.catalog.viewer_links import Written, state_link
from segmend.catalog.viewer_state import ViewerState, read_viewer_state
from segmend.core.box import Point
from segmend.core.errors import BadInputError
from segmend.core.ids import id_strings
from segmend.store.atomic import atomic_file


@click.command(
    epilog="Example: segmend link microns --at 800000,800000,1120000 --segments 864691135697050522"
)
@click.argument("source")
@click.option("--version", help="Version of the segmentation (default: the record's).")
@click.option("--box", help="Box to draw and look at, nm: z0:z1,y0:y1,x0:x1.")
@click.option("--region", help="Region to draw and look at, by name.")
@click.option("--at", help="Position to look at, nm: z,y,x.")
@click.option("--segments", help="Ids to select, separated by commas.")
@click.option("--layer", default="", help="Label layer of the ids (default: the neurons).")
@click.option(
    "--dialect",
    type=click.Choice(get_args(Written)),
    default="mainline",
    show_default=True,
    help="Viewer to write for.",
)
@click.option("--to", type=click.Path(path_type=Path), help="Write the state as a JSON file.")
@as_json
def link(source: str, to: Path | None, as_json: bool, **asked: Any) -> None:
    """Print a link that shows the data set SOURCE in Neuroglancer.

    If SOURCE is a link of a viewer, or a JSON file of its state, say what it shows: position in nm,
    layers, and the ids that are selected.
    """
    if "#!" in source or source.lstrip().startswith("{") or source.endswith(".json"):
        _refuse_options(asked, to)
        _tell(read_viewer_state(source), as_json=as_json)
        return
    state = _state(source, asked)
    url = state_link(state, asked["dialect"])
    if to is not None:
        with atomic_file(to) as file:
            file.write_text(json.dumps(state, indent=1))
    if as_json:
        click.echo(json.dumps({"url": url, "state": state, "to": str(to) if to else None}))
    else:
        click.echo(str(to) if to else url)


def _state(name: str, asked: dict[str, Any]) -> dict[str, Any]:
    from segmend.catalog.dataset import open as open_dataset
    from segmend.catalog.viewer_write import viewer_state

    if asked["box"] and asked["region"]:
        raise BadInputError("--box and --region cannot both be given")
    dataset = open_dataset(name, version=asked["version"])
    box = box_of(asked["box"]) if asked["box"] else None
    return viewer_state(
        dataset,
        at=_point(asked["at"]) if asked["at"] else None,
        box=dataset.region(asked["region"]) if asked["region"] else box,
        segments=(asked["segments"] or "").replace(",", " ").split(),
        layer=asked["layer"],
    )


def _point(text: str) -> Point:
    try:
        z, y, x = map(float, text.split(","))
    except ValueError as error:
        raise BadInputError(
            f"'{text}' is not a position",
            fix="Write z,y,x in nm, for example 800000,800000,1120000",
        ) from error
    return (z, y, x)


def _refuse_options(asked: dict[str, Any], to: Path | None) -> None:
    given = [name for name, value in asked.items() if value and name != "dialect"]
    if given or to is not None:
        raise BadInputError(
            f"--{(given or ['to'])[0]} is for a data set, and this is a viewer's link or state",
            fix="Give the name of a data set, or no option",
        )


def _tell(state: ViewerState, *, as_json: bool) -> None:
    if as_json:
        layers = [
            {
                "name": layer.name,
                "type": layer.kind,
                "sources": layer.sources,
                "segments": id_strings(layer.segments),
                "hidden": id_strings(layer.hidden),
            }
            for layer in state.layers
        ]
        said = {
            "dialect": state.dialect,
            "voxel_size_nm": state.voxel_size_nm,
            "position_nm": state.position_nm,
            "layers": layers,
        }
        click.echo(json.dumps(said))
        return
    click.echo(f"dialect: {state.dialect}")
    for what, value in (("voxel size", state.voxel_size_nm), ("position", state.position_nm)):
        click.echo(f"{what}: {f'{value} nm (z, y, x)' if value else 'not said'}")
    for layer in state.layers:
        click.echo(f"{layer.kind or 'layer'} '{layer.name}': {', '.join(layer.sources)}")
        if layer.segments:
            click.echo(f"  segments: {' '.join(id_strings(layer.segments))}")
        if layer.hidden:
            click.echo(f"  hidden: {' '.join(id_strings(layer.hidden))}")
