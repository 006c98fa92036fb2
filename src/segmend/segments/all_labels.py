"""Meshes of all segments of a block at once, by zmesh."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, GridMismatchError, require
from segmend.core.grid import VoxelGrid
from segmend.core.ids import as_ids
from segmend.segments.canonical import Triangles, assemble
from segmend.segments.mesh import Mesh
from segmend.segments.simplify import simplified


def mesh_all(
    labels: NDArray[Any], grid: VoxelGrid, *, error_nm: float | None = None
) -> Iterator[tuple[int, Mesh]]:
    """The surface of every segment of a block, one pass over the voxels for all of them.

    Marching cubes (zmesh) with vertices half-way between voxel centres. Where the border of the
    block cuts a segment its mesh stays open, as in `mesh_from_mask`. Normals are smooth.

    Args:
        labels: Integer ids ``(z, y, x)``; 0 is background.
        grid: Where the labels lie.
        error_nm: Leave out triangles within this bound (`simplified`). None: keep all.

    Yields:
        Id and mesh, in the order of ids; only segments that have a surface in the block.

    Raises:
        BadInputError: if labels are no 3-D array of ids, or the error is not positive.
        GridMismatchError: if labels and grid have different shapes.
        MissingDependencyError: if zmesh is not installed.
    """
    if labels.ndim != 3:
        raise BadInputError("labels are an array (z, y, x)", found=f"got shape {labels.shape}")
    if labels.shape != grid.shape:
        raise GridMismatchError(
            "labels and grid must have one shape", found=f"labels {labels.shape}, grid {grid.shape}"
        )
    if error_nm is not None and not (np.isfinite(error_nm) and error_nm > 0):
        raise BadInputError(f"a simplification needs a positive error, got {error_nm} nm")
    require("zmesh", extra="build")
    ids = labels if labels.dtype.kind == "u" else as_ids(labels)
    return _meshes(np.ascontiguousarray(ids), grid, error_nm)


def _meshes(
    ids: NDArray[Any], grid: VoxelGrid, error_nm: float | None
) -> Iterator[tuple[int, Mesh]]:
    import zmesh

    mesher = zmesh.Mesher(grid.voxel_size)
    if min(ids.shape) > 1:
        mesher.mesh(ids)
    for segment_id in sorted(mesher.ids()):
        # zmesh puts voxel 0 at 0; "centered" moves it to half a voxel, where its centre is.
        read = mesher.get(segment_id, normals=False, voxel_centered=True)
        mesher.erase(segment_id)
        positions = read.vertices.astype(np.float64) + np.array(grid.offset)
        # It takes the array's axes for a right-handed frame; (z, y, x) is a left-handed one.
        mesh = assemble(Triangles(positions, read.faces[:, ::-1]), f"segment {segment_id}")
        yield int(segment_id), mesh if error_nm is None else simplified(mesh, error_nm)
