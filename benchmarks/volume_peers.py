"""One box out of one volume, by segmend and by the peers. Every read opens the volume anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorstore as ts
from cloudvolume import CloudVolume
from volume_files import HDF5, PRECOMPUTED, ZARR

from segmend.core.box import VoxelBox
from segmend.volumes.drivers.hdf5 import open_hdf5
from segmend.volumes.drivers.precomputed import open_precomputed
from segmend.volumes.drivers.zarr import open_zarr
from segmend.volumes.volume import Volume

Read = Callable[[VoxelBox], np.ndarray]


def ours(name: str, root: str) -> Callable[[], Volume]:
    """How segmend opens a volume below a folder or URL."""
    if name in PRECOMPUTED:
        return lambda: open_precomputed(f"{root}/{name}")
    if name in ZARR:
        return lambda: open_zarr(f"{root}/{name}")
    return lambda: open_hdf5(Path(root) / f"{name}.h5", "volume")


def tensorstore_of(name: str, root: str) -> Any:
    """The volume in tensorstore, ``(z, y, x)``."""
    base = (
        {"driver": "http", "base_url": f"{root}/{name}/"}
        if root.startswith("http")
        else {"driver": "file", "path": f"{root}/{name}/"}
    )
    if name in ZARR:
        return ts.open({"driver": "zarr3", "kvstore": base}).result()
    opened = ts.open({"driver": "neuroglancer_precomputed", "kvstore": base}).result()
    return opened[..., 0].T


def into_empty(store: Any, box: VoxelBox) -> np.ndarray:
    """Read by tensorstore into an array of NumPy's, whose memory comes in huge pages."""
    out = np.empty(box.shape, store.dtype.numpy_dtype)
    ts.array(out, copy=False, write=True).write(store[box.slices]).result()
    return out


def cloud_volume_of(name: str, root: str) -> Any:
    """The volume in cloud-volume."""
    place = root if root.startswith("http") else f"file://{root}"
    return CloudVolume(f"precomputed://{place}/{name}", progress=False)


def by_cloud_volume(volume: Any, box: VoxelBox) -> np.ndarray:
    """Read by cloud-volume, ``(z, y, x)``."""
    return np.asarray(volume[box.slices[::-1]])[..., 0].T


def peers(name: str, root: str) -> dict[str, Read]:
    """What else reads the volume, each opening it anew."""
    if name in HDF5:
        return {"h5py": lambda box: _by_h5py(Path(root) / f"{name}.h5", box)}
    found: dict[str, Read] = {
        "tensorstore into np.empty": lambda box: into_empty(tensorstore_of(name, root), box),
        "tensorstore read()": lambda box: tensorstore_of(name, root)[box.slices].read().result(),
    }
    if name in PRECOMPUTED:
        found["cloud-volume"] = lambda box: by_cloud_volume(cloud_volume_of(name, root), box)
    return found


def patch_readers(name: str, root: str) -> dict[str, Read]:
    """As `peers`, with us first, but each keeps the volume open."""
    volume = ours(name, root)()
    readers: dict[str, Read] = {"segmend": lambda box: volume.read_voxels(box).data}
    if name in HDF5:
        data = h5py.File(Path(root) / f"{name}.h5")["volume"]
        return readers | {"h5py": lambda box: data[box.slices]}
    store = tensorstore_of(name, root)
    readers["tensorstore into np.empty"] = lambda box: into_empty(store, box)
    if name in PRECOMPUTED:
        cloud = cloud_volume_of(name, root)
        readers["cloud-volume"] = lambda box: by_cloud_volume(cloud, box)
    return readers


def _by_h5py(path: Path, box: VoxelBox) -> np.ndarray:
    with h5py.File(path) as file:
        return file["volume"][box.slices]
