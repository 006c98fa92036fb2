"""``segmend fetch``: a box of a volume, or a plain file, to this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from segmend.apps.cli.options import as_json
from segmend.apps.progress import Progress
from segmend.core.box import Box, VoxelBox
from segmend.core.errors import BadInputError, SegmendError, require
from segmend.core.grid import VoxelGrid
from segmend.store.fetch import fetch as fetch_file
from segmend.volumes.export.plan import Kind

if TYPE_CHECKING:
    from segmend.volumes.volume import Volume


@click.command(
    epilog="Example: segmend fetch precomputed://gs://neuroglancer-janelia-flyem-hemibrain/emdata/"
    "clahe_yz/jpeg --box 160000:164000,160000:164000,160000:164000 --to crop.h5"
)
@click.argument("source")
@click.option("--box", help="Box in nm: z0:z1,y0:y1,x0:x1. Every voxel that it touches is taken.")
@click.option(
    "--voxels",
    nargs=6,
    type=int,
    metavar="X0 X1 Y0 Y1 Z0 Z1",
    help="Box in voxels, counted from the origin of space, as Neuroglancer shows them.",
)
@click.option("--to", required=True, type=click.Path(path_type=Path), help="What to write.")
@click.option(
    "--voxel-size",
    nargs=3,
    type=float,
    metavar="Z Y X",
    help="Scale to take, by nm per voxel (default: the finest).",
)
@click.option("--as", "kind", type=click.Choice(get_args(Kind)), help="Default: by the dtype.")
@click.option("--absent", type=int, help="Write certified absent voxels as this value.")
@click.option("--key", help="Array to take from a file or folder that holds several.")
@click.option("--channel", type=click.IntRange(0), help="Channel to take, where there are several.")
@click.option("--sha256", help="Of a plain file: 64 hex digits that it must have.")
@as_json
def fetch(source: str, to: Path, as_json: bool, **asked: Any) -> None:
    """Copy a box of the volume SOURCE, a path or URL of any format that segmend reads.

    The suffix of --to chooses what is written: .h5 (HDF5 as CREMI has it), .zarr (OME-Zarr 0.5), or
    a Neuroglancer precomputed folder if it has none. It appears when all of it was written and read
    back; until then it grows in a hidden folder beside, and the same command goes on where a broken
    one stopped. Where it comes from, and its checksum, are written into it.

    Without --box or --voxels, SOURCE is a plain file, and is downloaded as it is.
    """
    if asked["box"] is None and not asked["voxels"]:
        _download(source, to, asked, as_json=as_json)
    elif asked["box"] is not None and asked["voxels"]:
        raise BadInputError("--box and --voxels cannot both be given")
    else:
        _export(source, to, asked, as_json=as_json)


def _export(source: str, to: Path, asked: dict[str, Any], *, as_json: bool) -> None:
    require("h5py", extra="build")
    from segmend.volumes.export.export import export_box, unfinished
    from segmend.volumes.open import infer, open_volume

    if asked["sha256"]:
        raise BadInputError("--sha256 is for plain files, and this is a box of a volume")
    volume = open_volume(source, key=asked["key"], channel=asked["channel"])
    if asked["voxel_size"]:
        volume = volume.at(asked["voxel_size"])
    voxels = _voxels(volume, asked)
    with Progress(quiet=as_json) as progress:
        progress.say(f"{source} is read as {infer(source).format}")
        progress.say(f"{volume.grid.to_box(voxels)}, {voxels.shape} voxels of {volume.dtype}")
        try:
            made = export_box(
                volume,
                voxels,
                to,
                kind=asked["kind"],
                absent=asked["absent"],
                report=progress.report,
            )
        except SegmendError:
            for folder in unfinished(to):
                progress.say(f"what was done is kept in {folder}; the same command goes on from it")
            raise
    told = made.provenance
    if as_json:
        click.echo(json.dumps({"path": str(to), "kept_blocks": made.kept, "provenance": told}))
        return
    click.echo(f"{to}: {told['kind']}, {voxels.shape} voxels (z, y, x) of {told['dtype']}")
    if told["absent_voxels"]:
        click.echo(f"{told['absent_voxels']} voxels were absent, written as {told['absent_as']}")
    click.echo(f"sha256 of the voxels: {told['sha256']}")


def _download(source: str, to: Path, asked: dict[str, Any], *, as_json: bool) -> None:
    given = sorted(
        name for name, value in asked.items() if name != "sha256" and value not in (None, ())
    )
    if given:
        raise BadInputError(
            f"--{given[0].replace('_', '-')} is for a box of a volume",
            fix="Say which: --box z0:z1,y0:y1,x0:x1 in nm, or --voxels x0 x1 y0 y1 z0 z1",
        )
    with Progress(quiet=as_json) as progress:
        made = fetch_file(
            source,
            to,
            sha256=asked["sha256"],
            progress=lambda done, total: progress.report("downloading", done, total or 0),
        )
    if as_json:
        said = {"path": str(to), "sha256": made.sha256, "verified": made.verified}
        click.echo(json.dumps(said))
        return
    click.echo(f"{to}: sha256 {made.sha256}")
    if not made.verified:
        click.echo("nobody said what its sha256 should be: compare it with the publisher's")


def _voxels(volume: Volume, asked: dict[str, Any]) -> VoxelBox:
    if asked["box"] is not None:
        return volume.grid.to_voxels(_box(asked["box"]))
    x0, x1, y0, y1, z0, z1 = asked["voxels"]
    # The field counts voxels from the origin of space, whatever the volume's offset.
    from_origin = VoxelGrid(volume.grid.voxel_size, (0, 0, 0), (0, 0, 0))
    box = from_origin.to_box(VoxelBox((z0, y0, x0), (z1, y1, x1)))
    return volume.grid.to_voxels(box, "exact")


def _box(text: str) -> Box:
    """A box from ``z0:z1,y0:y1,x0:x1`` in nm."""
    spans = [span.split(":") for span in text.split(",")]
    try:
        (z0, z1), (y0, y1), (x0, x1) = (_numbers(span) for span in spans)
    except ValueError as error:
        raise BadInputError(
            f"'{text}' is not a box",
            fix="Write z0:z1,y0:y1,x0:x1 in nm, for example 0:4000,1000:2000,1000:2000",
        ) from error
    return Box((z0, y0, x0), (z1, y1, x1))


def _numbers(span: Sequence[str]) -> tuple[float, float]:
    low, high = map(float, span)
    return low, high
