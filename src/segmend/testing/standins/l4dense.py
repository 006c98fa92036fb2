"""L4dense: folders of HDF5 cubes and the tables beside them (reference/datasets.md, B)."""

from __future__ import annotations

import functools
import shutil
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np

from segmend.catalog.record import Layer, Record
from segmend.core.box import Point
from segmend.core.grid import VoxelGrid
from segmend.synthetic.tissue import Tissue
from segmend.testing.standins.derived import derive, tissue
from segmend.testing.standins.l4dense_interfaces import write_folder
from segmend.testing.standins.l4dense_tables import TableTruth, write_tables
from segmend.testing.standins.l4dense_tracings import write_tracings

CUBE = 40
GRID = (2, 3, 2)
SHAPE = (78, 124, 86)
"""Like the published image it ends inside the cubes along z and beyond them along y and x."""

VOXEL_SIZE = (28.0, 11.24, 11.24)
TABLES = ("axons", "dendrites", "synapses", "segments", "connectome")
TRACINGS = (
    "connectem-cubes",
    "connectem-neurites",
    "typeem-cubes",
    "manual-neurons",
    "inhibitory-axons",
)


def write(record: Record, published: Path, url: str) -> Record:
    """Write the files; see `segmend.testing.standins.WRITERS`."""
    arrays = _cube_arrays()
    files = {}
    for name, layer in record.layers.items():
        if layer.agglomerates:  # the same cubes, mapped on reading
            continue
        file = record.files[layer.file]
        folder = published / Path(file.path).name
        folder.mkdir(exist_ok=True)
        _write_cubes(folder, arrays[name])
        files[layer.file] = msgspec.structs.replace(file, urls=(f"{url}/{folder.name}",))
    write_tables(published, masked_tissue())
    for name in TABLES:
        file = record.files[name]
        files[name] = msgspec.structs.replace(file, urls=(f"{url}/{Path(file.path).name}",))
    for name in (*TRACINGS, "synem-interfaces"):
        file = record.files[name]
        folder = published / Path(file.path).relative_to("l4dense2019")
        if name == "synem-interfaces":
            write_folder(folder)
        else:
            write_tracings(name, folder, masked_tissue(), truth())
        # Fetched as well: most tests are about what lies in them.
        shutil.copytree(folder, published.parent / file.path, dirs_exist_ok=True)
        where = folder.relative_to(published).as_posix()
        files[name] = msgspec.structs.replace(file, urls=(f"{url}/{where}",))
    derived = derive(record, files, _smaller)
    stored = (min(CUBE * n, whole) for n, whole in zip(GRID, SHAPE, strict=True))
    z, y, x = (n * size for n, size in zip(stored, VOXEL_SIZE, strict=True))
    return msgspec.structs.replace(derived, default_box_nm=((0.0, 0.0, 0.0), (z, y, x)))


@functools.lru_cache(maxsize=1)
def masked_tissue() -> Tissue:
    """The tissue without neurons in the border that the segmentation leaves free."""
    z, y, x = (CUBE * n for n in GRID)
    made = tissue(31, (z, y, x), VOXEL_SIZE)
    # Segmentation and vessels leave a border of the image free, as the published ones do.
    inside = np.zeros(made.em.shape, np.bool_)
    inside[4:-4, 6:-6, 6:-6] = True
    grid = VoxelGrid(VOXEL_SIZE, (0, 0, 0), made.em.shape)

    def within(*points: Point) -> bool:
        return all(bool(inside[grid.voxel_at(point)]) for point in points)

    return replace(
        made,
        neurons=np.where(inside, made.neurons, np.uint64(0)),
        automatic=np.where(inside, made.automatic, np.uint64(0)),
        synapses=tuple(
            s for s in made.synapses if within(s.pre_point_nm, s.post_point_nm, s.center_nm)
        ),
    )


@functools.lru_cache(maxsize=1)
def truth() -> TableTruth:
    """What the tables say."""
    with tempfile.TemporaryDirectory() as folder:
        return write_tables(Path(folder), masked_tissue())


def layer_arrays() -> dict[str, Any]:
    """What the layers hold, ``(z, y, x)``; 0 beyond the cubes, where they are certified absent."""
    made = {}
    for name, array in _cube_arrays().items():
        made[name] = np.zeros(SHAPE, array.dtype)
        there = tuple(slice(min(a, b)) for a, b in zip(SHAPE, array.shape, strict=True))
        made[name][there] = array[there]
    return made


def _cube_arrays() -> dict[str, Any]:
    """What the cubes hold, and the neurites that they are mapped to, ``(z, y, x)``."""
    made, known = masked_tissue(), truth()
    vessels = np.zeros(made.em.shape, np.uint8)
    vessels[:, 10:20, 10:20] = 1
    neurites = np.zeros(made.em.shape, np.uint64)
    for number, neuron in enumerate((*known.axons, *known.dendrites), 1):
        neurites[made.neurons == neuron] = number
    return {
        "image": made.em,
        "supervoxels": known.supervoxels,
        "neurons": known.mapped,
        "neurites": neurites,
        "vessels": vessels,
    }


def _smaller(layer: Layer) -> Layer:
    smaller = {"cube_shape": [CUBE] * 3, "grid_shape": list(GRID), "shape": list(SHAPE)}
    options = layer.options | smaller
    return msgspec.structs.replace(layer, options=options)


def _write_cubes(folder: Path, array: Any) -> None:
    for z, y, x in product(*map(range, GRID)):
        part = tuple(slice(CUBE * i, CUBE * (i + 1)) for i in (z, y, x))
        # MATLAB's data(x, y, z) lies in the file as data[z, y, x].
        with h5py.File(folder / f"x{x}y{y}z{z}.hdf5", "w") as file:
            file.attrs["info"] = "segmend.testing.standins"
            file["data"] = array[part]
