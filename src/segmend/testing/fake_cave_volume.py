"""The bucket of a fake CAVE: supervoxels as a precomputed volume, meshes of roots."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import zmesh

from segmend.core.box import Triple
from segmend.testing.fake_cave_graph import Refused
from segmend.testing.fake_cave_history import BITS_FOR_LAYER, History

KEY = "mip0"


@dataclass(frozen=True, slots=True)
class VolumeAnswers:
    """Bytes by path, below ``/watershed``.

    Attributes:
        history: Whose supervoxels.
    """

    history: History

    def info(self) -> dict[str, Any]:
        """The ``info`` of the supervoxels, in the precomputed format."""
        grid = self.history.grid
        return {
            "type": "segmentation",
            "data_type": "uint64",
            "num_channels": 1,
            "mesh": "mesh",
            "scales": [
                {
                    "key": KEY,
                    "encoding": "raw",
                    "resolution": [_number(v) for v in grid.voxel_size[::-1]],
                    "size": list(grid.shape[::-1]),
                    "voxel_offset": list(self._corner()[::-1]),
                    "chunk_sizes": [[64, 64, 64]],
                }
            ],
        }

    def graph_info(self, url: str, table: str) -> dict[str, Any]:
        """What the graph's ``info`` adds: where the bucket is and how ids are coded."""
        coding = self.history.coding
        layers = range(1, coding.layers + 1)
        return self.info() | {
            "data_dir": f"{url}/watershed",
            "app": {"supported_api_versions": [0, 1], "table_id": table},
            "verify_mesh": False,
            "chunks_start_at_voxel_offset": True,
            "mesh_metadata": {
                "max_meshed_layer": coding.layers,
                "unsharded_mesh_dir": "dynamic",
                "uniform_draco_grid_size": 10,
            },
            "graph": {
                "chunk_size": list(coding.chunk[::-1]),
                "n_layers": coding.layers,
                "n_bits_for_layer_id": BITS_FOR_LAYER,
                "cv_mip": 0,
                "spatial_bit_masks": {str(layer): coding.bits(layer) for layer in layers},
            },
        }

    def chunk(self, name: str) -> bytes:
        """One chunk, raw: x fastest, as a C array of ``(z, y, x)`` is."""
        spans = re.fullmatch(r"(\d+)-(\d+)_(\d+)-(\d+)_(\d+)-(\d+)", name)
        if spans is None:
            raise Refused(404, f"no chunk {name}")
        x0, x1, y0, y1, z0, z1 = (int(v) for v in spans.groups())
        oz, oy, ox = self._corner()
        part = self.history.supervoxels[z0 - oz : z1 - oz, y0 - oy : y1 - oy, x0 - ox : x1 - ox]
        return np.ascontiguousarray(part, "<u8").tobytes()

    def manifest(self, root: int) -> dict[str, Any]:
        """Names of the fragments that make up the mesh of a root."""
        if root not in self.history.created:
            raise Refused(404, f"{root} is not a root")
        nodes = self.history.leaves(root, 2)
        return {"fragments": [f"{node}:0" for node in nodes], "seg_ids": nodes}

    def fragment(self, name: str) -> bytes:
        """The surface of a root within one chunk, in the legacy mesh format."""
        coding = self.history.coding
        node = int(name.partition(":")[0])
        place = coding.place(node)
        root = coding.code(coding.layers, (0, 0, 0), coding.number(node))
        pieces = [p for p in self.history.pieces_of(root) if place in self.history.chunks_of[p]]
        if not pieces:
            raise Refused(404, f"no fragment {name}")
        vertices, faces = self._surface(np.array(pieces) + 1, place)
        return struct.pack("<I", len(vertices)) + vertices.tobytes() + faces.tobytes()

    def _surface(self, numbers: Any, place: Triple) -> tuple[Any, Any]:
        grid, chunk = self.history.grid, self.history.coding.chunk
        low = [p * c for p, c in zip(place, chunk, strict=True)]
        # One voxel beyond the chunk, so that the surfaces of neighbours meet.
        spans = tuple(slice(a, a + c + 1) for a, c in zip(low, chunk, strict=True))
        inside = np.isin(self.history.pieces[spans], numbers)
        # Beyond the volume there is nothing: its faces are closed.
        beyond = [
            (int(a == 0), int(span.stop > n))
            for a, span, n in zip(low, spans, grid.shape, strict=True)
        ]
        padded = np.pad(inside, beyond)
        mesher = zmesh.Mesher(grid.voxel_size)
        mesher.mesh(np.ascontiguousarray(padded, np.uint8))
        if not mesher.ids():
            return np.zeros((0, 3), "<f4"), np.zeros((0, 3), "<u4")
        mesh = mesher.get(mesher.ids()[0], normals=False, reduction_factor=0)
        shift = [a - int(a == 0) for a in low]
        corner = np.array(grid.offset) + (np.array(shift) + 0.5) * np.array(grid.voxel_size)
        vertices = (np.asarray(mesh.vertices) + corner)[:, ::-1]
        return np.ascontiguousarray(vertices, "<f4"), np.ascontiguousarray(mesh.faces, "<u4")

    def _corner(self) -> Triple:
        grid = self.history.grid
        z, y, x = (round(o / s) for o, s in zip(grid.offset, grid.voxel_size, strict=True))
        return (z, y, x)


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else value
