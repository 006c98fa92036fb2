"""The surface of one segment: triangles with smooth outward normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Point
from segmend.core.errors import BadInputError, GridMismatchError
from segmend.core.grid import VoxelGrid
from segmend.segments.rows import rows_of
from segmend.segments.surface_nets import SPARE, count_elements, packed_mask, surface_nets

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Mesh:
    """A triangle mesh in nm.

    Positions are kept relative to an origin near the mesh, because float32 resolves only 0.06 nm
    at 10^6 nm.

    Attributes:
        vertices: float32 ``(n, 3)``, nm from ``origin_nm``, order ``(z, y, x)``.
        faces: uint32 ``(m, 3)``: vertices of each triangle, counter-clockwise seen from outside
            the segment in the right-handed frame ``(x, y, z)``.
        normals: float32 ``(n, 3)``: unit normals that point out of the segment, ``(z, y, x)``;
            zero where nothing tells the direction (a renderer takes the triangle's own).
        origin_nm: Where ``vertices`` are measured from, ``(z, y, x)`` nm.
        level_of_detail: 0 for the finest that its source has, then coarser.

    Raises:
        BadInputError: if shapes or dtypes disagree, a number is not finite or a face names a
            vertex that does not exist.
    """

    vertices: Floats
    faces: NDArray[np.uint32]
    normals: Floats
    origin_nm: Point = (0.0, 0.0, 0.0)
    level_of_detail: int = 0

    def __post_init__(self) -> None:
        _check_array("vertices", self.vertices, np.float32)
        _check_array("normals", self.normals, np.float32)
        _check_array("faces", self.faces, np.uint32)
        if self.normals.shape != self.vertices.shape:
            raise BadInputError(
                "a mesh needs one normal for every vertex",
                found=f"{len(self.vertices)} vertices, {len(self.normals)} normals",
            )
        if len(self.origin_nm) != 3 or not np.isfinite(self.origin_nm).all():
            raise BadInputError(
                "a mesh is placed by three finite coordinates (z, y, x)",
                found=f"origin_nm {self.origin_nm}",
            )
        if self.level_of_detail < 0:
            raise BadInputError(f"a level of detail is at least 0, got {self.level_of_detail}")
        if self.faces.size and int(self.faces.max()) >= len(self.vertices):
            raise BadInputError(
                f"a face names vertex {int(self.faces.max())}",
                found=f"the mesh has {len(self.vertices)} vertices",
            )

    @property
    def empty(self) -> bool:
        """Whether there is no triangle."""
        return len(self.faces) == 0

    def positions(self) -> NDArray[np.float64]:
        """Vertices as absolute positions: float64 ``(n, 3)``, nm, ``(z, y, x)``."""
        return self.vertices.astype(np.float64) + np.array(self.origin_nm)


def mesh_from_mask(mask: NDArray[np.bool_], grid: VoxelGrid) -> Mesh:
    """The surface between the voxels of a mask and the rest.

    Surface nets: one vertex for each cube between eight voxel centres that holds both, at the mean
    of its crossed edges' midpoints, so never further than half a voxel diagonal from the true
    boundary. Normals are the gradient of the mask smoothed over 6 x 6 x 6 voxels, in nm, so that
    anisotropic voxels are shaded right. Where the array's border cuts the mask the surface
    stays open, half a voxel inside the border: no cap is drawn that is not in the tissue.

    Args:
        mask: bool ``(z, y, x)``.
        grid: Where the mask lies.

    Returns:
        The mesh, without triangles if the mask is empty or fills the array.

    Raises:
        BadInputError: if the mask is not a 3-D bool array.
        GridMismatchError: if mask and grid have different shapes.
    """
    if mask.dtype != np.bool_ or mask.ndim != 3:
        raise BadInputError(
            "a mesh is made from a bool array (z, y, x)",
            found=f"got {mask.dtype} with shape {mask.shape}",
        )
    return mesh_from_codes(mask.view(np.uint8), (1,), grid)


def mesh_from_codes(codes: NDArray[np.uint8], wanted: tuple[int, ...], grid: VoxelGrid) -> Mesh:
    """As `mesh_from_mask`, of the voxels that hold one of some codes.

    Args:
        codes: uint8 ``(z, y, x)``.
        wanted: One or two codes: those inside the surface.
        grid: Where the codes lie.

    Raises:
        GridMismatchError: if codes and grid have different shapes.
    """
    shape = codes.shape
    if shape != grid.shape:
        raise GridMismatchError(
            "mask and grid must have one shape", found=f"mask {shape}, grid {grid.shape}"
        )
    if min(shape) < 2:
        nothing = np.empty((0, 3), np.float32)
        return Mesh(nothing, np.empty((0, 3), np.uint32), nothing, grid.offset)
    words = packed_mask(rows_of(codes), np.uint8(wanted[0]), np.uint8(wanted[-1]))
    crossed = np.zeros(words.shape[:2], np.bool_)
    n, m = count_elements(words, shape, crossed)
    vertices, normals = np.empty((n, 3), np.float32), np.empty((n, 3), np.float32)
    faces = np.empty((m + SPARE, 3), np.uint32)
    size = np.array(grid.voxel_size)
    surface_nets(words, shape, crossed, size, (vertices, normals, faces))
    return Mesh(vertices, faces[:m], normals, grid.offset)


def _check_array(name: str, array: NDArray[np.generic], dtype: type) -> None:
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype != dtype:
        raise BadInputError(
            f"mesh {name} must be an array (n, 3) of {np.dtype(dtype)}",
            found=f"got {array.dtype} with shape {array.shape}",
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array).all(axis=1)).sum())
        raise BadInputError(
            f"mesh {name} must be finite", found=f"{bad} of {len(array)} rows hold NaN or infinity"
        )
