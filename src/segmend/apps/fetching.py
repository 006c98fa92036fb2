"""A data set of the catalogue, its files or a box of it, to this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmend.apps.datasets import licence_text
from segmend.catalog.classes import tells_classes
from segmend.catalog.dataset import Dataset
from segmend.catalog.dataset import open as open_dataset
from segmend.catalog.fetching import Fetched, Report, fetch_files, refuse_forbidden
from segmend.catalog.opening import open_layer
from segmend.catalog.record import Layer, Record, load_record
from segmend.catalog.wanted import cube_grid
from segmend.catalog.whole import CUBES, Whole, cut_layers, mapped_layers, told, whole_files
from segmend.core.box import Box, VoxelBox
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.core.registry import unknown_name
from segmend.core.settings import settings
from segmend.volumes.export.layers import BoxLayer, export_layers
from segmend.volumes.volume import Volume

RAW, LABELS = "volumes/raw", "volumes/labels"
"""Where an exported file keeps the image and, by layer, the labels; neurons as CREMI calls them."""

NEURON_IDS = f"{LABELS}/neuron_ids"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, beside the name.

    Attributes:
        version: Version of the segmentation; empty: the record's.
        volume: Which volume; empty: the record's; ``all``: the files of every one.
        layers: Which layers; empty: what a box cuts, or the image and what tells classes.
        region: Name of a region, in place of a box.
        box_of: The box that the caller said, by the voxels of the image.
        size: Voxels ``(z, y, x)`` from the start of the record's box, where the caller said so.
        voxel_size: Scale, where the caller said one.
        absent: What certified absent voxels are written as; None: they are an error.
        to: The file to write, where the caller named one.
        link: Folder that is to hold the bytes of fetched files.
    """

    version: str = ""
    volume: str = ""
    layers: Sequence[str] = ()
    region: str = ""
    box_of: Callable[[VoxelGrid], Box] | None = None
    size: Sequence[int] = ()
    voxel_size: Sequence[float] = ()
    absent: int | None = None
    to: Path | None = None
    link: Path | None = None


@dataclass(frozen=True, slots=True)
class Copied:
    """What is now on this machine.

    Attributes:
        files: Published files.
        exported: The file with a box, if one was written.
        layers: Where each layer in it comes from, by key.
        left: Published files that no box cuts, and that nobody asked for by name.
    """

    files: tuple[Fetched, ...] = ()
    exported: Path | None = None
    layers: Mapping[str, Mapping[str, Any]] | None = None
    left: tuple[Whole, ...] = ()


def fetch_dataset(
    name: str, request: Request, *, say: Callable[[str], None], report: Report
) -> Copied:
    """Fetch the files of a data set, a box of it, or both.

    Files go to where `segmend.catalog.dataset.open` looks for them. A box of a data set that is
    read from where it lies goes into one HDF5 file, by default below the data folder.

    Args:
        name: Name in the catalogue, or a record's file.
        request: What of it.
        say: Told what people should know.
        report: Told how far it is.

    Raises:
        UnknownNameError: for an unknown data set, version, volume, layer or region.
        BadInputError: if the terms of use forbid it, or the request does not fit the data set.
        SegmendError: as `fetch_files` and `export_layers`.
    """
    record, folder = load_record(name)
    if record.generated:
        raise BadInputError(
            f"'{record.name}' is generated, not fetched",
            fix=f"Open it: segmend.open('{record.name}', seed=1)",
        )
    say(f"{record.title}; licence: {licence_text(record.licence)}")
    say(f"cite: {' '.join(record.citation.split())}")
    place = folder or settings().data_dir
    if not record.files:
        if request.link is not None:
            raise BadInputError(
                f"'{record.name}' has no files to link to, it is read from where it lies",
                fix="Say where the box is to be written: --to PATH",
            )
        return _box(name, request, place, say, report)
    return _files(name, record, request, place, say, report)


def _files(
    name: str,
    record: Record,
    request: Request,
    place: Path,
    say: Callable[[str], None],
    report: Report,
) -> Copied:
    cubes = [layer for layer in record.layers.values() if layer.driver == CUBES]
    if not cubes and request.to is None and (request.box_of or request.size or request.region):
        raise BadInputError(
            f"'{record.name}' is published as whole files",
            found="a box of it was asked for",
            fix="Say where the box is to be written: --to PATH.h5; or ask without a box",
        )
    left: tuple[Whole, ...] = ()
    if cubes and not request.layers:
        left = whole_files(record, place)
        for line in told(left, mapped_layers(record)):
            say(line)
    # By the grid that the record states: there may be nothing yet to open.
    box = _wanted(record, cube_grid(cubes[0]), request) if cubes else None
    files = fetch_files(
        record,
        place,
        version=request.version,
        volume=request.volume,
        layers=request.layers or (cut_layers(record) if cubes else ()),
        box=box,
        link=request.link,
        report=report,
    )
    if request.to is None:
        return Copied(files, left=left)
    made = _box(name, request, place, say, report)
    return Copied(files, made.exported, made.layers, left)


def _box(
    name: str,
    request: Request,
    place: Path,
    say: Callable[[str], None],
    report: Report,
) -> Copied:
    refuse_forbidden(load_record(name)[0], "download")
    dataset = open_dataset(name, version=request.version or None, volume=request.volume or None)
    image = dataset.image
    if request.voxel_size:
        image = image.at(request.voxel_size)
    if request.region:
        box = image.grid.to_box(image.grid.to_voxels(dataset.region(request.region)))
    else:
        box = _wanted(dataset.record, image.grid, request, whole=request.to is not None)
    opened = _layers(dataset, image, request, say)
    dataset.check_box(box, [n for n in opened if n == "image" or dataset.layers[n].labels])
    final = request.to or _default_path(dataset, image.grid, box, place)
    final.absolute().parent.mkdir(parents=True, exist_ok=True)
    say(f"{box} of {', '.join(opened)} to {final}")
    layers = {
        _key(layer, dataset.layers[layer]): BoxLayer(
            volume,
            volume.grid.to_voxels(box),
            "image" if dataset.layers[layer].labels is None else "labels",
            request.absent,
        )
        for layer, volume in opened.items()
    }
    return Copied((), final, export_layers(layers, final, report=report))


def _wanted(record: Record, grid: VoxelGrid, request: Request, *, whole: bool = False) -> Box:
    """The box that is asked for, else the record's, else (if ``whole``) all of it."""
    if request.box_of is not None:
        return request.box_of(grid)
    default = record.default_box_nm
    if default is None and whole and not request.size:
        return grid.box
    if default is None:
        raise BadInputError(
            f"which box of '{record.name}'?",
            found="its record names none",
            fix="Say it: --box z0:z1,y0:y1,x0:x1 in nm, or --voxels x0 x1 y0 y1 z0 z1",
        )
    if not request.size:
        return Box(*default)
    (z, y, x), (a, b, c) = grid.to_voxels(Box(*default)).start, request.size
    return grid.to_box(VoxelBox((z, y, x), (z + a, y + b, x + c)))


def _layers(
    dataset: Dataset, image: Volume, request: Request, say: Callable[[str], None]
) -> dict[str, Volume]:
    """The layers to copy by name, labels at the scale of the image where they have it."""
    known = dataset.layers
    for name in request.layers:
        if name not in known:
            raise unknown_name(f"layer of '{dataset.name}'", name, known)
    telling = [n for n, layer in known.items() if layer.labels and tells_classes(layer.labels)]
    names = list(request.layers) or ["image", *telling]
    left = [name for name in known if name not in names]
    if left:
        say(f"not taken: {', '.join(left)} (take them with --layer)")
    opened = {}
    for name in names:
        volume = image if name == "image" else _open(dataset, name)
        size = image.grid.voxel_size
        opened[name] = volume.at(size) if size in volume.voxel_sizes else volume
    return opened


def _open(dataset: Dataset, name: str) -> Volume:
    layer = dataset.layers[name]
    return open_layer(dataset.record, name, layer, at=dataset.at, volume=dataset.volume)


def _key(name: str, layer: Layer) -> str:
    if name == "image":
        return RAW
    if layer.labels is None:
        return f"volumes/{name}"
    return NEURON_IDS if name == "neurons" else f"{LABELS}/{name}"


def _default_path(dataset: Dataset, grid: VoxelGrid, box: Box, place: Path) -> Path:
    """Below the data folder, by version, first voxel counted from the origin, and shape."""
    corner = VoxelGrid(grid.voxel_size, (0, 0, 0), (0, 0, 0)).to_voxels(box).start
    shape = grid.to_voxels(box).shape
    parts = [dataset.name, dataset.version, dataset.volume]
    z, y, x = corner
    size = "x".join(map(str, shape))
    stem = "_".join([*(part for part in parts if part), f"z{z}y{y}x{x}", size])
    return place / (dataset.record.folder or dataset.name) / f"{stem}.h5"
