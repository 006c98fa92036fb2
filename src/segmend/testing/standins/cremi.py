"""CREMI: HDF5 of file format 0.2, cropped and padded, the test images, and the realigned archive.

Layout: https://cremi.org/data and cremi_python (reference/datasets.md, D).
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from segmend.catalog.record import Record
from segmend.core.box import VoxelBox
from segmend.synthetic.tissue import Tissue
from segmend.testing.standins.derived import dense, derive, of_shape, published_file, tissue

VOXEL_SIZE = (40.0, 4.0, 4.0)
PADDED_SHAPE = (20, 128, 128)
CROPPED = VoxelBox((3, 10, 12), (17, 114, 116))
SEEDS = {"cremi-a": 8, "cremi-b": 10, "cremi-c": 14}
"""Of tissue with a synapse in the labelled box."""

NO_CLEFT, UNLABELLED = 2**64 - 1, 2**64 - 2


def write(record: Record, published: Path, url: str) -> Record:
    """Write the files; see `segmend.testing.standins.WRITERS`."""
    seed = SEEDS[record.name]
    made, unlabelled = (tissue(s, PADDED_SHAPE, VOXEL_SIZE) for s in (seed, seed + 100))
    whole = VoxelBox((0, 0, 0), PADDED_SHAPE)
    paths = {name: published / Path(file.path).name for name, file in record.files.items()}
    _labelled(paths["main"], made, raw=CROPPED)
    _labelled(paths["padded"], made, raw=whole)
    for name, box in (("test", CROPPED), ("test-padded", whole)):
        with _file(paths[name]) as file:
            _array(file, "volumes/raw", unlabelled.em[box.slices])
    _realigned(paths["realigned"])
    files = {name: published_file(record.files[name], path, url) for name, path in paths.items()}
    return derive(record, files, of_shape(CROPPED.shape))


def labels_of(made: Tissue) -> dict[str, Any]:
    """Label layers of the cropped box as CREMI has them, uint64."""
    neurons = dense(made.neurons, np.uint64)[CROPPED.slices]
    clefts = dense(made.clefts, np.uint64)[CROPPED.slices]
    clefts = np.where(clefts == 0, np.uint64(NO_CLEFT), clefts)
    clefts[-1, :8, :8] = UNLABELLED
    return {"neuron_ids": neurons, "clefts": clefts}


def _file(path: Path) -> Any:
    file = h5py.File(path, "w")
    file.attrs["file_format"] = "0.2"
    return file


def _array(file: Any, key: str, array: Any, offset: Sequence[float] | None = None) -> None:
    data = file.create_dataset(key, data=array, chunks=True, compression="gzip")
    data.attrs["resolution"] = VOXEL_SIZE
    if offset is not None:
        data.attrs["offset"] = offset


def _labelled(path: Path, made: Tissue, *, raw: VoxelBox) -> None:
    """A training file; where the image is larger, labels and annotations have an offset."""
    corner = np.subtract(CROPPED.start, raw.start) * VOXEL_SIZE
    offset = tuple(corner.tolist()) if corner.any() else None
    with _file(path) as file:
        _array(file, "volumes/raw", made.em[raw.slices])
        for name, array in labels_of(made).items():
            _array(file, f"volumes/labels/{name}", array, offset)
        _annotations(file, made, offset)


def _annotations(file: Any, made: Tissue, offset: Sequence[float] | None) -> None:
    start = np.multiply(CROPPED.start, VOXEL_SIZE)
    points, kinds = [], []
    for synapse in made.synapses:
        for kind, point in (
            ("presynaptic_site", synapse.pre_point_nm),
            ("postsynaptic_site", synapse.post_point_nm),
        ):
            points.append(np.subtract(point, start))
            kinds.append(kind)
    ids = np.arange(1, len(points) + 1, dtype=np.uint64)
    group = file.create_group("annotations")
    if offset is not None:
        group.attrs["offset"] = offset
    group["ids"] = ids
    group["locations"] = np.array(points, np.float64).reshape(-1, 3)
    group.create_dataset("types", data=kinds, dtype=h5py.string_dtype(), shape=(len(kinds),))
    group["presynaptic_site/partners"] = ids.reshape(-1, 2)
    group.create_dataset("comments/target_ids", data=ids[:1])
    text = ["synthetic"][: len(ids[:1])]
    group.create_dataset("comments/comments", data=text, dtype=h5py.string_dtype())


def _realigned(path: Path) -> None:
    """One archive holds all three samples."""
    with tarfile.open(path, "w:gz") as archive:
        for name, seed in SEEDS.items():
            made = tissue(seed, PADDED_SHAPE, VOXEL_SIZE)
            labels = labels_of(made)["neuron_ids"]
            inner = path.with_name(f"sample_{name[-1].upper()}.augmented.0.hdf")
            with _file(inner) as file:
                _array(file, "volumes/raw", made.em[CROPPED.slices], (0.0, 0.0, 0.0))
                for key, array in (
                    ("neuron_ids_notransparency", labels),
                    ("mask", np.ones(labels.shape, np.uint8)),
                ):
                    _array(file, f"volumes/labels/{key}", array, (0.0, 0.0, 0.0))
            archive.add(inner, f"{path.name.removesuffix('.tar.gz')}/{inner.name}")
            inner.unlink()
