"""SynEM: cubes of synapses, vesicle clouds and mitochondria (reference/datasets.md, B.9)."""

from __future__ import annotations

import functools
from pathlib import Path

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

from segmend.catalog.record import Part, Record
from segmend.core.box import Triple
from segmend.core.grid import VoxelGrid
from segmend.synthetic.tissue import Tissue
from segmend.testing.standins.derived import derive, published_file, tissue

VOXEL_SIZE = (28.0, 11.24, 11.24)
CODES = {"background": 1, "synapse": 2, "vesicle": 3, "mitochondrion": 4}
"""As the exporter numbers them: from one."""

SEEDS = {1: 61, 2: 64, 3: 66, 4: 68, 5: 69, 6: 70, 7: 71}
"""Of tissue with a synapse in it, by cube."""

CLOUD_NM = 120.0
"""Radius of a vesicle cloud, around the presynaptic point."""


def write(record: Record, published: Path, url: str) -> Record:
    """Write the files; see `segmend.testing.standins.WRITERS`."""
    files = {}
    for number in SEEDS:
        file = record.files[f"cube-{number}"]
        path = published / Path(file.path).name
        with h5py.File(path, "w") as made:
            made.attrs["info"] = "segmend.testing.standins.l4dense_synem"
            # MATLAB's data(x, y, z) lies in the file as data[z, y, x].
            made["em"] = cube(number).em
            made["label"] = cube_labels(number)
            for name, code in CODES.items():
                made["label"].attrs[name] = np.uint8(code)
        files[f"cube-{number}"] = published_file(file, path, url)
    derived = derive(record, files)
    volumes = {name: _smaller(part, name) for name, part in derived.volumes.items()}
    return msgspec.structs.replace(derived, volumes=volumes)


def cube(number: int) -> Tissue:
    """The tissue of a cube, 1 to 7."""
    return tissue(SEEDS[number], shape(number), VOXEL_SIZE)


def shape(number: int) -> Triple:
    """Voxels of a cube; the seventh is larger, as the published one is."""
    return (28, 72, 72) if number < 7 else (32, 96, 96)


@functools.lru_cache(maxsize=8)
def cube_labels(number: int) -> NDArray[np.uint8]:
    """Codes of a cube, ``(z, y, x)``."""
    made = cube(number)
    codes = np.full(made.em.shape, CODES["background"], np.uint8)
    centers = VoxelGrid(VOXEL_SIZE, (0, 0, 0), made.em.shape).centers(
        np.indices(made.em.shape).reshape(3, -1).T
    )
    for synapse in made.synapses:
        far = np.linalg.norm(centers - np.array(synapse.pre_point_nm), axis=1)
        near = (far < CLOUD_NM).reshape(made.em.shape)
        codes[near & (made.neurons == synapse.pre_neuron)] = CODES["vesicle"]
    codes[made.mitochondria > 0] = CODES["mitochondrion"]
    codes[made.clefts > 0] = CODES["synapse"]
    return codes


def _smaller(part: Part, name: str) -> Part:
    number = int(name.removeprefix("cube-"))
    layers = {
        key: msgspec.structs.replace(layer, shape=shape(number))
        for key, layer in part.layers.items()
    }
    return msgspec.structs.replace(part, layers=layers)
