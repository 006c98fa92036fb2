"""L4dense: folders of HDF5 cubes as MATLAB writes them (reference/datasets.md, B)."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np

from segmend.catalog.record import Layer, Record
from segmend.testing.standins.derived import dense, derive, tissue

CUBE = 40
GRID = (2, 3, 2)
VOXEL_SIZE = (28.0, 11.24, 11.24)


def write(record: Record, published: Path, url: str) -> Record:
    """Write the files; see `segmend.testing.standins.WRITERS`."""
    arrays = layer_arrays()
    files = {}
    for name, layer in record.layers.items():
        file = record.files[layer.file]
        folder = published / Path(file.path).name
        folder.mkdir(exist_ok=True)
        _write_cubes(folder, arrays[name])
        files[layer.file] = msgspec.structs.replace(file, urls=(f"{url}/{folder.name}",))
    derived = derive(record, files, _smaller)
    z, y, x = (CUBE * n * v for n, v in zip(GRID, VOXEL_SIZE, strict=True))
    return msgspec.structs.replace(derived, default_box_nm=((0.0, 0.0, 0.0), (z, y, x)))


def layer_arrays() -> dict[str, Any]:
    """What the cubes hold, ``(z, y, x)``."""
    z, y, x = (CUBE * n for n in GRID)
    made = tissue(31, (z, y, x), VOXEL_SIZE)
    # Segmentation and vessels leave a border of the image free, as the published ones do.
    inside = np.zeros(made.em.shape, np.bool_)
    inside[4:-4, 6:-6, 6:-6] = True
    vessels = np.zeros(made.em.shape, np.uint8)
    vessels[:, 10:20, 10:20] = 1
    return {
        "image": made.em,
        "supervoxels": np.where(inside, dense(made.automatic, np.uint32), np.uint32(0)),
        "neurons": np.where(inside, dense(made.neurons, np.uint32), np.uint32(0)),
        "vessels": vessels,
    }


def _smaller(layer: Layer) -> Layer:
    options = layer.options | {"cube_shape": [CUBE] * 3, "grid_shape": list(GRID)}
    return msgspec.structs.replace(layer, options=options)


def _write_cubes(folder: Path, array: Any) -> None:
    for z, y, x in product(*map(range, GRID)):
        part = tuple(slice(CUBE * i, CUBE * (i + 1)) for i in (z, y, x))
        # MATLAB's data(x, y, z) lies in the file as data[z, y, x].
        with h5py.File(folder / f"x{x}y{y}z{z}.hdf5", "w") as file:
            file.attrs["info"] = "segmend.testing.standins"
            file["data"] = array[part]
