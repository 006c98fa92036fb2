"""The volumes that `bench_volumes` reads, written once by the peers' own writers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import h5py
import numpy as np

CHUNK = (64, 64, 64)
SIDE = 512
LABELS_BLOCK = {"compressed_segmentation_block_size": [8, 8, 8]}
SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "preshift_bits": 3,
    "hash": "murmurhash3_x86_128",
    "minishard_bits": 3,
    "shard_bits": 2,
    "minishard_index_encoding": "gzip",
    "data_encoding": "gzip",
}

PRECOMPUTED = {
    "em-raw": ("raw", {}),
    "em-jpeg": ("jpeg", {"jpeg_quality": 85}),
    "labels-cseg": ("compressed_segmentation", LABELS_BLOCK),
    "labels-sharded": ("compressed_segmentation", {**LABELS_BLOCK, "sharding": SHARDING}),
}

ZARR = {"em-zarr": "blosc", "labels-zarr": "blosc"}
HDF5 = ("em-hdf5", "labels-hdf5")


def write_all(data: Path, folder: Path) -> None:
    """EM (FIB-25, mirrored to 512^3) and uint64 labels (mouse), in every format."""
    with h5py.File(data / "fib25" / "fib25.h5") as file:
        small = file["volumes/raw"][:]
    em = np.pad(small, [(0, SIDE - n) for n in small.shape], mode="symmetric")
    with h5py.File(data / "mouse512" / "mouse512.h5") as file:
        labels = file["labels"][:].astype(np.uint64)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("em", em), ("labels", labels)):
        np.save(folder / f"{name}.npy", array)
        _write_hdf5(folder / f"{name}-hdf5.h5", array)
        _write_zarr(folder / f"{name}-zarr", array)
        for volume in PRECOMPUTED:
            if volume.startswith(name):
                _write_precomputed(folder / volume, array, *PRECOMPUTED[volume])


def _write_precomputed(folder: Path, array: np.ndarray, encoding: str, extra: dict) -> None:
    import tensorstore as ts

    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": str(folder)},
        "multiscale_metadata": {"type": "image", "data_type": str(array.dtype), "num_channels": 1},
        "scale_metadata": {
            "key": "s",
            "size": array.shape[::-1],
            "encoding": encoding,
            "chunk_size": CHUNK,
            "resolution": [10, 10, 10],
            **extra,
        },
    }
    ts.open(spec, create=True).result()[..., 0].T.write(array).result()


def _write_zarr(folder: Path, array: np.ndarray) -> None:
    import zarr

    out = zarr.create_array(
        folder,
        shape=array.shape,
        chunks=CHUNK,
        dtype=array.dtype,
        compressors=zarr.codecs.BloscCodec(cname="zstd", clevel=5),
        attributes={"resolution": [10, 10, 10], "offset": [0, 0, 0]},
    )
    out[...] = array


def _write_hdf5(path: Path, array: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("volume", data=array, chunks=CHUNK, compression="gzip")
        data.attrs["resolution"] = (10.0, 10.0, 10.0)
        data.attrs["offset"] = (0.0, 0.0, 0.0)


def evict(place: Path) -> None:
    """Drop the clean pages of a file or folder from the page cache."""
    for path in [place, *place.rglob("*")]:
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]), Path(sys.argv[2]))
