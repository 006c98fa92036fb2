"""Which published files a volume of a data set needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import product
from urllib.parse import quote

from segmend.catalog.record import File, Layer, Record
from segmend.core.box import Box
from segmend.core.errors import BadInputError, OutOfBoundsError
from segmend.core.grid import VoxelGrid
from segmend.core.registry import unknown_name
from segmend.volumes.drivers.hdf5_cubes import CUBE_NAME

ALL = "all"
"""In place of a volume: all of them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One download.

    Attributes:
        file: What is recorded of the file, or of the folder that it lies in.
        member: Its name in that folder; empty where it is the file itself.
    """

    file: File
    member: str = ""

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it is published, mirrors in order."""
        member = f"/{quote(self.member)}" if self.member else ""
        return tuple(f"{url}{member}" for url in self.file.urls)


def wanted_files(
    record: Record, version: str, volume: str, *, layers: Collection[str], box: Box | None
) -> tuple[Wanted, ...]:
    """What must be fetched; for the arguments see `segmend.catalog.fetching.fetch_files`."""
    files_of = {name: record.files[beside.file] for name, beside in record.annotations.items()}
    unasked = [name for name, file in files_of.items() if not file.listed]
    tables = [name for name in layers or unasked if name in record.annotations]
    named = [name for name in layers if name not in record.annotations]
    chosen = _layers(record, version, volume, named) if named or not layers else []
    # Neurites of layers that are mapped on reading come with their tables.
    tables += [name for _, layer in chosen for name in layer.agglomerates]
    files = [files_of[name] for name in tables]
    # What nobody publishes the user has.
    extra = [Wanted(file) for file in files if file.urls]
    return tuple(dict.fromkeys([*_each(record, chosen, box), *extra]))


def _layers(
    record: Record, version: str, volume: str, names: Collection[str]
) -> list[tuple[str, Layer]]:
    """The wanted layers that lie in files, by name."""
    if version and version not in (record.version, *record.versions):
        known = {record.version: None, **record.versions}
        raise unknown_name(f"version of '{record.name}'", version, known)
    volumes = [volume or record.volume]
    if record.cases or not record.volumes:
        volumes = [""]
    elif volume == ALL:
        volumes = list(record.volumes)
    elif volumes[0] not in record.volumes:
        raise unknown_name(f"volume of '{record.name}'", volume, record.volumes)
    found = [record.layers_of(version or record.version, name) for name in volumes]
    known_layers = {name: None for layers in found for name in layers}
    for name in names:
        if name not in known_layers:
            raise unknown_name(f"layer of '{record.name}'", name, known_layers)
    chosen = [(n, layer) for layers in found for n, layer in layers.items()]
    return [(n, layer) for n, layer in chosen if not layer.urls and n in (names or known_layers)]


def _each(
    record: Record, layers: Collection[tuple[str, Layer]], box: Box | None
) -> Iterator[Wanted]:
    for name, layer in layers:
        file = record.files[layer.file]
        if layer.driver == "hdf5-cubes":
            for cube in _cubes(record, name, layer, box):
                yield Wanted(file, cube)
        else:
            yield Wanted(file)


def cube_grid(layer: Layer) -> VoxelGrid:
    """The grid of a layer that is published as cubes, as its record states it."""
    shape = layer.options.get("shape") or [
        n * m for n, m in zip(layer.options["cube_shape"], layer.options["grid_shape"], strict=True)
    ]
    assert layer.voxel_size_nm is not None
    return VoxelGrid(layer.voxel_size_nm, layer.offset_nm or (0, 0, 0), shape)


def _cubes(record: Record, name: str, layer: Layer, box: Box | None) -> Iterator[str]:
    """File names of the cubes that a box touches; none where all of it lies beyond them."""
    cube, counts, grid = layer.options["cube_shape"], layer.options["grid_shape"], cube_grid(layer)
    if box is None:
        raise BadInputError(
            f"'{record.name}' is published as cubes of {tuple(cube)} voxels, {tuple(counts)} of "
            f"them for '{name}'",
            fix="Say which part: --box z0:z1,y0:y1,x0:x1 in nm, or --voxels, and --layer for less",
        )
    voxels = grid.voxels.intersect(grid.to_voxels(box))
    if voxels is None:
        raise OutOfBoundsError(
            f"{box} lies outside layer '{name}' of '{record.name}'", found=f"it covers {grid.box}"
        )
    touched = [
        range(a // n, min(-(-b // n), count))
        for a, b, n, count in zip(voxels.start, voxels.stop, cube, counts, strict=True)
    ]
    absent = {tuple(index) for index in layer.options.get("absent_cubes", ())}
    for z, y, x in product(*touched):
        if (z, y, x) not in absent:
            yield layer.options.get("name", CUBE_NAME).format(x=x, y=y, z=z)
