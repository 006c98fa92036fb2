"""FIB-25: one HDF5 file with image, ground truth and two automatic segmentations."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from segmend.catalog.record import Record
from segmend.testing.standins.derived import dense, derive, published_file, tissue

SHAPE = (48, 72, 64)
VOXEL_SIZE = (10.0, 10.0, 10.0)


def write(record: Record, published: Path, url: str) -> Record:
    """Write the file; see `segmend.testing.standins.WRITERS`."""
    made = tissue(41, SHAPE, VOXEL_SIZE)
    supervoxels = dense(made.automatic, np.uint64)
    # Supervoxels are finer than segments: cut each along a plane.
    supervoxels[:, SHAPE[1] // 2 :] += supervoxels.max() * (supervoxels[:, SHAPE[1] // 2 :] > 0)
    arrays = {
        "image": made.em,
        "neurons": dense(made.neurons, np.uint64),
        "automatic": dense(made.automatic, np.uint64),
        "supervoxels": supervoxels,
    }
    path = published / Path(record.files["main"].path).name
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            data = file.create_dataset(
                record.layers[name].key, data=array, chunks=True, compression="gzip"
            )
            data.attrs["resolution"] = VOXEL_SIZE
    return derive(record, {"main": published_file(record.files["main"], path, url)})
