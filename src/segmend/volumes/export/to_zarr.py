"""Export to OME-Zarr 0.5, which is Zarr v3 with a place in space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from zlib_ng import zlib_ng

from segmend.core.box import VoxelBox
from segmend.volumes.drivers.zarr import open_zarr
from segmend.volumes.export.plan import Plan
from segmend.volumes.export.to_hdf5 import COMPRESSION_LEVEL, padded
from segmend.volumes.export.work import Work
from segmend.volumes.volume import Volume

_GZIP = 16 + zlib_ng.MAX_WBITS  # a member without name or date
_ARRAY, _ATTRIBUTE = "0", "segmend_provenance"


class ToZarr:
    """One scale, regular chunks, gzip. Metadata as the Zarr v3 and OME-NGFF 0.5 texts define it."""

    name = "ome-zarr"

    def check(self, plan: Plan) -> None:
        """Zarr can say everything."""

    def chunk_name(self, plan: Plan, chunk: VoxelBox) -> str:
        """``0/c/z/y/x``, by place in the chunk grid."""
        z, y, x = (a // n for a, n in zip(chunk.start, plan.chunk, strict=True))
        return f"{_ARRAY}/c/{z}/{y}/{x}"

    def encode(self, plan: Plan, voxels: NDArray[Any]) -> bytes:
        """A gzip member without a date; Zarr stores chunks at the edge whole."""
        data = padded(plan, voxels).tobytes()
        return zlib_ng.compress(data, COMPRESSION_LEVEL, _GZIP)

    def assemble(self, plan: Plan, work: Work, provenance: bytes) -> Path:
        """Add the metadata."""
        told = {"ome": _ome(plan), _ATTRIBUTE: json.loads(provenance)}
        group = {"zarr_format": 3, "node_type": "group", "attributes": told}
        work.write_file(f"{_ARRAY}/zarr.json", json.dumps(_array(plan), indent=1).encode())
        work.write_file("zarr.json", json.dumps(group, indent=1).encode())
        return work.data

    def open(self, plan: Plan, path: Path) -> Volume:  # noqa: ARG002
        """Through the driver that users open it with."""
        return open_zarr(path)

    def provenance(self, path: Path) -> bytes | None:
        """An attribute of the group."""
        try:
            group = json.loads((path / "zarr.json").read_bytes())
            return json.dumps(group["attributes"][_ATTRIBUTE]).encode()
        except (OSError, ValueError, LookupError, TypeError):
            return None


def _array(plan: Plan) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(plan.voxels.shape),
        "data_type": plan.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(plan.chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "gzip", "configuration": {"level": COMPRESSION_LEVEL}},
        ],
        "dimension_names": ["z", "y", "x"],
        "attributes": {},
    }


def _ome(plan: Plan) -> dict[str, Any]:
    grid = plan.grid
    # OME-NGFF places the centre of the first voxel, segmend its corner.
    centre = grid.to_box(VoxelBox((0, 0, 0), (1, 1, 1))).center
    transformations = [
        {"type": "scale", "scale": list(grid.voxel_size)},
        {"type": "translation", "translation": list(centre)},
    ]
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": plan.kind,
                "axes": [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"],
                "datasets": [{"path": _ARRAY, "coordinateTransformations": transformations}],
            }
        ],
    }
