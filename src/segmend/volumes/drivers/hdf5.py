"""HDF5 in the CREMI layout: a 3-D data set with attributes ``resolution`` and ``offset`` in nm."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError, ReadFailedError, SchemaError, require
from segmend.core.grid import VoxelGrid
from segmend.core.registry import unknown_name
from segmend.volumes.volume import Volume

CHUNK_CACHE_BYTES = 256 * 2**20
"""Decompressed chunks that HDF5 keeps per data set: sites that lie close together share them."""

CHUNK_SLOTS = 10_007
"""Hash slots of that cache; HDF5 asks for a prime well above the number of chunks it holds."""


@dataclass(frozen=True, slots=True)
class Hdf5Driver:
    """One data set of one HDF5 file; opened on the first read of each process."""

    path: Path
    key: str
    grid: VoxelGrid
    dtype: np.dtype[Any]

    @property
    def source(self) -> str:
        """File and key."""
        return f"{self.path}:{self.key}"

    def read(self, voxels: VoxelBox, out: NDArray[Any]) -> Sequence[VoxelBox]:
        """Read a box; HDF5 stores every voxel, so everything inside is data."""
        dataset = _dataset(self.path, self.key)
        try:
            out[...] = dataset[voxels.slices]
        except OSError as error:
            raise ReadFailedError(
                f"cannot read voxels {voxels.start} to {voxels.stop} of {self.source}",
                found=str(error),
                fix="Check the file: it may be truncated or damaged",
            ) from error
        return ()


def open_hdf5(path: str | Path, key: str) -> Volume:
    """Open one data set of an HDF5 file as a volume.

    Args:
        path: The file.
        key: The data set in it, for example ``volumes/raw``.

    Raises:
        ReadFailedError: if the file is missing or is not HDF5.
        UnknownNameError: if the key does not exist; the message lists what does.
        SchemaError: if the data set is not a 3-D array of integers with a voxel size.
    """
    require("h5py", extra="build")
    file = Path(path).absolute()
    dataset = _dataset(file, key)
    where = f"{file}:{key}"
    if dataset.ndim != 3 or dataset.dtype.kind not in "iu":
        raise SchemaError(
            f"{where} cannot be a volume",
            found=f"it has shape {dataset.shape} and dtype {dataset.dtype}",
            fix="A volume is a 3-D array (z, y, x) of integers",
        )
    if "resolution" not in dataset.attrs:
        raise SchemaError(
            f"{where} does not say how large its voxels are",
            found=f"attributes: {sorted(dataset.attrs) or 'none'}",
            fix="Write an attribute 'resolution': nm per voxel (z, y, x); segmend never guesses it",
        )
    offset = dataset.attrs.get("offset", (0.0, 0.0, 0.0))
    try:
        grid = VoxelGrid(tuple(dataset.attrs["resolution"]), tuple(offset), dataset.shape)
    except (BadInputError, TypeError) as error:
        raise SchemaError(f"{where} has unusable attributes", found=str(error)) from error
    return Volume(Hdf5Driver(file, key, grid, np.dtype(dataset.dtype)))


def _dataset(file: Path, key: str) -> Any:
    if not file.is_file():
        raise ReadFailedError(
            f"there is no file {file}",
            fix="Check the path; paths in a plan start at the plan's own folder",
        )
    return _open_dataset(file, file.stat().st_mtime_ns, key)


@functools.lru_cache(maxsize=64)
def _open_dataset(file: Path, mtime_ns: int, key: str) -> Any:
    # Kept open: HDF5's cache of decompressed chunks lives and dies with the data set's handle.
    import h5py

    root = _open_file(file, mtime_ns)
    if key in root and isinstance(root[key], h5py.Dataset):
        return root[key]
    known: dict[str, object] = {}
    root.visititems(lambda name, item: known.update({name: 1} if hasattr(item, "shape") else {}))
    raise unknown_name(f"data set in {file}", key, known)


@functools.lru_cache(maxsize=16)
def _open_file(file: Path, mtime_ns: int) -> Any:  # noqa: ARG001  a changed file is another one
    import h5py

    try:
        return h5py.File(file, "r", rdcc_nbytes=CHUNK_CACHE_BYTES, rdcc_nslots=CHUNK_SLOTS)
    except OSError as error:
        raise ReadFailedError(f"{file} is not a readable HDF5 file", found=str(error)) from error
