"""Export to a Neuroglancer precomputed folder.

Chunks are stored as a plain web server must send them: a ``.gz`` file beside a missing chunk, as
cloud-volume writes it, looks like an absent chunk to tensorstore and to Neuroglancer. So images are
raw, and labels are compressed by their own encoding.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple, VoxelBox
from segmend.core.errors import BadInputError
from segmend.volumes.drivers.precomputed import open_precomputed
from segmend.volumes.export.compressed_labels import BLOCK, encode_labels
from segmend.volumes.export.plan import Plan
from segmend.volumes.export.work import Work
from segmend.volumes.volume import Volume

_PROVENANCE = "provenance.json"


class ToPrecomputed:
    """One scale; raw, or compressed_segmentation for labels of 32 and 64 bits."""

    name = "precomputed"

    def check(self, plan: Plan) -> None:
        """The format counts the offset in whole voxels."""
        grid = plan.grid
        if any(a % n for a, n in zip(grid.offset_pm, grid.voxel_size_pm, strict=True)):
            raise BadInputError(
                "a precomputed folder cannot say where this box lies",
                found=f"offset {grid.offset} nm is no whole number of {grid.voxel_size} nm voxels",
                fix="Export to .zarr or .h5",
            )

    def chunk_name(self, plan: Plan, chunk: VoxelBox) -> str:
        """``scale/x0-x1_y0-y1_z0-z1``, in voxels from the origin of space."""
        box = chunk.shift(_offset(plan))
        spans = zip(reversed(box.start), reversed(box.stop), strict=True)
        return f"{_scale_key(plan)}/" + "_".join(f"{a}-{b}" for a, b in spans)

    def encode(self, plan: Plan, voxels: NDArray[Any]) -> bytes:
        """Chunks at the edge are cut off there; x is fastest."""
        if _compressed(plan):
            return encode_labels(voxels)
        return np.ascontiguousarray(voxels).tobytes()

    def assemble(self, plan: Plan, work: Work, provenance: bytes) -> Path:
        """Add the metadata."""
        work.write_file(_PROVENANCE, provenance)
        work.write_file("info", json.dumps(_info(plan), indent=1).encode())
        return work.data

    def open(self, plan: Plan, path: Path) -> Volume:  # noqa: ARG002
        """Through the driver that users open it with."""
        return open_precomputed(path)

    def provenance(self, path: Path) -> bytes | None:
        """A file in the folder."""
        try:
            return (path / _PROVENANCE).read_bytes()
        except OSError:
            return None


def _info(plan: Plan) -> dict[str, Any]:
    scale: dict[str, Any] = {
        "key": _scale_key(plan),
        "size": list(reversed(plan.voxels.shape)),
        "resolution": list(reversed(plan.grid.voxel_size)),
        "voxel_offset": list(reversed(_offset(plan))),
        "chunk_sizes": [list(reversed(plan.chunk))],
        "encoding": "compressed_segmentation" if _compressed(plan) else "raw",
    }
    if _compressed(plan):
        scale["compressed_segmentation_block_size"] = [BLOCK] * 3
    return {
        "@type": "neuroglancer_multiscale_volume",
        "type": "segmentation" if plan.kind == "labels" else "image",
        "data_type": plan.dtype.name,
        "num_channels": 1,
        "scales": [scale],
    }


def _compressed(plan: Plan) -> bool:
    return plan.kind == "labels" and plan.dtype.name in ("uint32", "uint64")


def _scale_key(plan: Plan) -> str:
    return "_".join(f"{size:g}" for size in reversed(plan.grid.voxel_size))


def _offset(plan: Plan) -> Triple:
    grid = plan.grid
    z, y, x = (a // n for a, n in zip(grid.offset_pm, grid.voxel_size_pm, strict=True))
    return (z, y, x)
