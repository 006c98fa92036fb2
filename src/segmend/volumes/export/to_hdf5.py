"""Export to HDF5 in the CREMI layout.

HDF5 does not survive being killed while it writes. So the chunks are compressed into files of their
own first, as for the other formats, and copied into an HDF5 file at the end, as they are.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from segmend.core.box import VoxelBox
from segmend.store.atomic import output_errors
from segmend.volumes.drivers.hdf5 import open_hdf5
from segmend.volumes.export.plan import Plan, pieces
from segmend.volumes.export.work import Work
from segmend.volumes.volume import Volume

KEYS = {"image": "volumes/raw", "labels": "volumes/labels/neuron_ids"}
"""Where CREMI (cremi.org, file format 0.2) keeps grey values and neurons."""

COMPRESSION_LEVEL = 1
"""Of zlib-ng's 0 to 9: exporting is to keep up with the network."""

_ATTRIBUTE = "segmend_provenance"

VERSIONS = ("v108", "v110")
"""From 1.8 on an attribute may be longer than 64 kB; 1.10 is the newest that everybody reads."""


class ToHdf5:
    """One data set, chunked, compressed with deflate, ``resolution`` and ``offset`` in nm."""

    name = "hdf5"

    def check(self, plan: Plan) -> None:
        """HDF5 can say everything."""

    def chunk_name(self, plan: Plan, chunk: VoxelBox) -> str:  # noqa: ARG002
        """By first voxel."""
        return "{}-{}-{}".format(*chunk.start)

    def encode(self, plan: Plan, voxels: NDArray[Any]) -> bytes:
        """A zlib stream; HDF5 stores chunks at the edge whole."""
        content = padded(plan, voxels).tobytes()
        return zlib_ng.compress(content, COMPRESSION_LEVEL)

    def assemble(self, plan: Plan, work: Work, provenance: bytes) -> Path:
        """Copy the chunks into a new file."""
        import h5py

        # Two exports of one plan share the work folder, and must not share this file.
        path = work.folder / f"{secrets.token_hex(8)}.h5"
        with output_errors(path), h5py.File(path, "w", libver=VERSIONS) as file:
            data = file.create_dataset(
                KEYS[plan.kind],
                plan.voxels.shape,
                plan.dtype,
                chunks=plan.chunk,
                compression="gzip",
                compression_opts=COMPRESSION_LEVEL,
            )
            data.attrs["resolution"] = plan.grid.voxel_size
            data.attrs["offset"] = plan.grid.offset
            file.attrs[_ATTRIBUTE] = provenance.decode()
            for chunk in pieces(VoxelBox((0, 0, 0), plan.voxels.shape), plan.chunk):
                chunk_bytes = work.read_file(self.chunk_name(plan, chunk))
                data.id.write_direct_chunk(chunk.start, chunk_bytes)
        return path

    def open(self, plan: Plan, path: Path) -> Volume:
        """Through the driver that users open it with."""
        return open_hdf5(path, KEYS[plan.kind])

    def provenance(self, path: Path) -> bytes | None:
        """An attribute of the file."""
        import h5py

        try:
            with h5py.File(path, "r") as file:
                return str(file.attrs[_ATTRIBUTE]).encode()
        except (OSError, KeyError):
            return None


def padded(plan: Plan, voxels: NDArray[Any]) -> NDArray[Any]:
    """Voxels as a whole chunk, zeros beyond the edge of the volume."""
    if voxels.shape == plan.chunk:
        return np.ascontiguousarray(voxels)
    whole = np.zeros(plan.chunk, voxels.dtype)
    whole[tuple(slice(n) for n in voxels.shape)] = voxels
    return whole
