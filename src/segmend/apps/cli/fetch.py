"""``segmend fetch``: a data set, a box of a volume, or a plain file, to this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click

from segmend.apps.cli.options import as_json, box_of
from segmend.apps.progress import Progress
from segmend.core.box import Box, VoxelBox
from segmend.core.errors import BadInputError, SegmendError, require
from segmend.core.grid import VoxelGrid
from segmend.store.fetch import fetch as fetch_file
from segmend.volumes.export.plan import Kind


@click.command(
    epilog="Example: segmend fetch precomputed://gs://bucket/em --box 0:4000,0:2000,0:2000 "
    "--to em.h5"
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
@click.option(
    "--size",
    nargs=3,
    type=click.IntRange(1),
    metavar="Z Y X",
    help="Box of a data set: so many voxels from where its own box starts.",
)
@click.option("--region", help="Box of a data set: a region of its tissue, by name.")
@click.option("--to", type=click.Path(path_type=Path), help="What to write.")
@click.option(
    "--link",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the files of a data set here; the data folder gets links.",
)
@click.option("--version", help="Version of the segmentation (default: the record's).")
@click.option("--volume", help="Volume of a data set; 'all' for the files of every one.")
@click.option("--layer", "layers", multiple=True, help="Layer of a data set; may be repeated.")
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
@click.option("--benchmark", "of_rows", is_flag=True, help="SOURCE is a benchmark: its shards.")
@click.option("--revision", help="Of a benchmark: branch, tag or commit of the hub.")
@click.option("--split", "splits", multiple=True, help="Of a benchmark; may be repeated.")
@click.option("--bytes", "n_bytes", type=click.IntRange(1), help="Of a benchmark: at most so many.")
@click.option("--sha256", help="Of a plain file: 64 hex digits that it must have.")
@as_json
def fetch(source: str, to: Path | None, as_json: bool, **asked: Any) -> None:
    """Copy SOURCE to this machine: a data set by name, or a path or URL that segmend reads.

    The files of a data set (`segmend datasets list`) go to where segmend.open looks for them, the
    data folder (SEGMEND_DATA, by default data), verified and unpacked; what is there is left. Of
    one that is published as cubes come those that the box touches; tables and tracings, which no
    box cuts, come by name (--layer), and what was left is said with its size. Of a
    data set that is read from where it lies, a box goes into one HDF5 file: volumes/raw and
    volumes/labels/...; without --box, --voxels, --size or --region the box that its record names.

    Of the volume at a path or URL, --box or --voxels says which box is copied. The suffix of --to
    chooses what is written: .h5 (HDF5 as CREMI has it), .zarr (OME-Zarr 0.5), or a Neuroglancer
    precomputed folder if it has none. It appears when all of it was written and read back; until
    then it grows in a hidden folder beside, and the same command goes on where a broken one
    stopped. Where it comes from, and its checksum, are written into it.

    Without them, a path or URL is a plain file, and is downloaded as it is; --benchmark, or a
    SOURCE that begins with hf://, fetches a benchmark's shards into the folder --to, all or part of
    them, each checked against its sha256. The same command goes on where a broken one stopped, and
    mends shards that were damaged since.
    """
    if asked["of_rows"] or source.startswith("hf://"):
        _fetch_benchmark(source, to, asked, as_json=as_json)
        return
    _refuse(asked, ("revision", "splits", "n_bytes"), "is for benchmarks: add --benchmark")
    asked = {name: value for name, value in asked.items() if name not in _OF_BENCHMARKS}
    boxes = [n for n in ("box", "voxels", "size", "region") if asked[n] not in (None, ())]
    if len(boxes) > 1:
        raise BadInputError(f"--{boxes[0]} and --{boxes[1]} cannot both be given")
    if _is_dataset(source):
        _fetch_dataset(source, to, asked, as_json=as_json)
        return
    if to is None:
        raise BadInputError(f"where is {source} to be written?", fix="Say it: --to PATH")
    _refuse(asked, _OF_DATASETS, f"is for data sets, and {source} is a path or URL")
    if not boxes:
        _download(source, to, asked, as_json=as_json)
    else:
        _export(source, to, asked, as_json=as_json)


_OF_BENCHMARKS = ("of_rows", "revision", "splits", "n_bytes")
_OF_DATASETS = ("size", "region", "link", "version", "volume", "layers")
_OF_PLACES = ("kind", "key", "channel", "sha256")


def _is_dataset(source: str) -> bool:
    """Whether a data set is meant: its name, a record's file, or a word that is nothing else."""
    from segmend.catalog.record import record_names

    if source in record_names() or source.endswith(".toml"):
        return True
    return bool(re.fullmatch(r"\w[\w-]*", source)) and not Path(source).exists()


def _refuse(asked: dict[str, Any], names: Sequence[str], why: str) -> None:
    for name in names:
        if asked[name] not in (None, ()):
            words = {"kind": "as", "layers": "layer", "splits": "split", "n_bytes": "bytes"}
            option = words.get(name, name)
            raise BadInputError(f"--{option} {why}")


def _fetch_benchmark(source: str, to: Path | None, asked: dict[str, Any], *, as_json: bool) -> None:
    from segmend.shards.download import choose_shards, fetch_benchmark
    from segmend.shards.reader import Benchmark

    others = [name for name in asked if name not in _OF_BENCHMARKS]
    _refuse(asked, others, f"is not for benchmarks, and {source} is read as one")
    if to is None:
        raise BadInputError(f"where is {source} to be written?", fix="Say it: --to FOLDER")
    opened = Benchmark.open(source, revision=asked["revision"])
    shards = choose_shards(opened, splits=asked["splits"], n_bytes=asked["n_bytes"])
    with Progress(quiet=as_json) as progress:
        progress.say(repr(opened))
        made = fetch_benchmark(
            opened,
            to,
            shards=shards,
            report=lambda done, total: progress.report("downloading", done, total),
        )
    if as_json:
        said = {"path": str(made.folder), "shards": made.n_shards, "bytes": made.n_bytes}
        told = {"kept": made.kept, "mended": made.mended, "revision": opened.revision}
        click.echo(json.dumps(said | told | {"licence": opened.licence}))
        return
    of = f"{made.n_shards} of {len(opened.shards)} shards"
    click.echo(f"{made.folder}: {of}, {made.n_bytes} bytes")
    for path, groups in made.mended.items():
        click.echo(f"{path}: was damaged; {groups} row groups were fetched again")
    click.echo(f"revision {opened.revision}; licence: {opened.licence or 'the card names none'}")


def _fetch_dataset(name: str, to: Path | None, asked: dict[str, Any], *, as_json: bool) -> None:
    require("h5py", extra="build")
    from segmend.apps.fetching import Request, fetch_dataset

    _refuse(asked, _OF_PLACES, f"is for a path or URL, and '{name}' is a data set")
    request = Request(
        version=asked["version"] or "",
        volume=asked["volume"] or "",
        layers=asked["layers"],
        region=asked["region"] or "",
        box_of=partial(_box, asked) if asked["box"] is not None or asked["voxels"] else None,
        size=asked["size"] or (),
        voxel_size=asked["voxel_size"] or (),
        absent=asked["absent"],
        to=to,
        link=asked["link"],
    )
    with Progress(quiet=as_json) as progress:
        made = fetch_dataset(name, request, say=progress.say, report=progress.report)
    if as_json:
        files = [
            {"path": str(f.path), "checked": f.checked or None, "fresh": f.fresh}
            for f in made.files
        ]
        exported = None if made.exported is None else str(made.exported)
        left = [{"path": w.path, "layers": w.names, "bytes": w.n_bytes} for w in made.left]
        said = {"files": files, "exported": exported, "layers": made.layers, "not_taken": left}
        click.echo(json.dumps(said))
        return
    for file in made.files:
        checked = f"has its {file.checked}" if file.checked else "nobody says what it should be"
        click.echo(f"{file.path}: {'fetched' if file.fresh else 'was there'}, {checked}")
    for key, told in (made.layers or {}).items():
        click.echo(f"{made.exported}:{key}: sha256 of the voxels {told['sha256']}")


def _export(source: str, to: Path, asked: dict[str, Any], *, as_json: bool) -> None:
    require("h5py", extra="build")
    from segmend.volumes.export.export import export_box, unfinished
    from segmend.volumes.open import infer, open_volume

    if asked["sha256"]:
        raise BadInputError("--sha256 is for plain files, and this is a box of a volume")
    found = infer(source)
    volume = open_volume(
        found.place, driver=found.format, key=asked["key"], channel=asked["channel"]
    )
    if asked["voxel_size"]:
        volume = volume.at(asked["voxel_size"])
    voxels = volume.grid.to_voxels(_box(asked, volume.grid))
    with Progress(quiet=as_json) as progress:
        progress.say(f"{source} is read as {found.format}: {found.because}")
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


def _box(asked: dict[str, Any], grid: VoxelGrid) -> Box:
    """The box that was asked for, by the voxels of a grid."""
    if asked["box"] is not None:
        return grid.to_box(grid.to_voxels(box_of(asked["box"])))
    x0, x1, y0, y1, z0, z1 = asked["voxels"]
    # The field counts voxels from the origin of space, whatever the volume's offset.
    from_origin = VoxelGrid(grid.voxel_size, (0, 0, 0), (0, 0, 0))
    box = from_origin.to_box(VoxelBox((z0, y0, x0), (z1, y1, x1)))
    grid.to_voxels(box, "exact")
    return box
