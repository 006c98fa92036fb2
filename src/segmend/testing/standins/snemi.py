"""SNEMI3D: zip files with TIFF stacks, a mirror with labels of the test volume, HDF5 variants."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile

from segmend.catalog.record import Record
from segmend.testing.standins.derived import (
    dense,
    derive,
    of_shape,
    published_file,
    tissue,
    write_zip,
)

SHAPE = (20, 112, 112)
VOXEL_SIZE = (30.0, 6.0, 6.0)


def write(record: Record, published: Path, url: str) -> Record:
    """Write the files; see `segmend.testing.standins.WRITERS`."""
    train, test = _volume(4), _volume(3)
    main, mirror = published / "snemi.zip", published / "mirror-snemi.zip"
    images = {"image/train-input.tif": train["raw"], "image/test-input.tif": test["raw"]}
    images |= {"seg/train-labels.tif": train["neurons"]}
    write_zip(main, {name: _tiff(array) for name, array in images.items()})
    labelled = {name: _tiff(array) for name, array in images.items()}
    # As many archives are made: with a folder of their own name at the top.
    labelled["seg/test-labels.h5"] = _labels_h5(test["neurons"])
    write_zip(mirror, {f"snemi/{name}": data for name, data in labelled.items()})
    paths = {"main": main, "mirror": mirror}
    for name, volume in (("h5-train", train), ("h5-test", test)):
        paths[name] = published / f"{name}.h5"
        with h5py.File(paths[name], "w") as file:
            file["volumes/raw"] = volume["raw"]
            file["volumes/labels/neuron_ids"] = volume["neurons"].astype(np.uint64)
    files = {name: published_file(record.files[name], path, url) for name, path in paths.items()}
    return derive(record, files, of_shape(SHAPE))


def _volume(seed: int) -> dict[str, Any]:
    made = tissue(seed, SHAPE, VOXEL_SIZE)
    neurons = np.where(made.classes == 0, np.uint64(0), made.neurons)
    return {"raw": made.em, "neurons": dense(neurons, np.uint16)}


def _tiff(array: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, photometric="minisblack")
    return buffer.getvalue()


def _labels_h5(labels: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["main"] = labels
    return buffer.getvalue()
