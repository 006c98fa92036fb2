"""One drawing of one or two segments: three views, exact occlusion, and what is made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Point
from segmend.core.errors import BadInputError
from segmend.core.sample import (
    GEOMETRY_SHAPE,
    IMAGE_SIZE,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_BACKGROUND,
    VIEWS,
    channel,
)
from segmend.render.camera import pixel_size
from segmend.render.encoding import ENCODINGS, HALF_ONE, encoded_depth, srgb_coded, write_half
from segmend.render.raster import LIMIT, NOTHING, SUBPIXEL, fixed_points, rasterise
from segmend.render.shading import fuse, shade
from segmend.segments.mesh import Mesh

Encoding = Literal["metric", "published"]
Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

_SHAPE = (len(VIEWS), IMAGE_SIZE, IMAGE_SIZE)


@dataclass(frozen=True, slots=True)
class Frame:
    """What the three cameras see, views in the order of `VIEWS`, row 0 up.

    Attributes:
        depth: float32 ``(3, 224, 224)``: 0 at the front face to 1 at the back face of the view
            cube, linear in nm, one scale for all segments; background 0.
        normals: float32 ``(3, 3, 224, 224)``: view, world component x, y, z, row, column. The
            unit normal that points out of the segment, also where we look into an opened tube and
            see its wall from inside: there it points away from the camera. Background 0.
        owner: int8 ``(3, 224, 224)``: the segment in front: 0 A, 1 B, -1 background.
        cover_a: bool ``(3, 224, 224)``: silhouette of A, also where B hides it.
        cover_b: bool ``(3, 224, 224)``: silhouette of B, also where A hides it.
    """

    depth: Floats
    normals: Floats
    owner: NDArray[np.int8]
    cover_a: Flags
    cover_b: Flags


def draw(meshes: Sequence[Mesh], *, center_nm: Point, half_extent_nm: float) -> Frame:
    """Draw one or two meshes with the cameras of `segmend.render.camera`.

    What lies outside the view cube (half-width 1.2 times the half-extent) is not drawn. Where A and
    B have the same depth, the surface that is turned to the camera wins, then one that the
    positions of the two triangles decide: exchanging A and B exchanges them in the drawing too.

    Args:
        meshes: A, or A and B.
        center_nm: Centre of the views, ``(z, y, x)`` nm.
        half_extent_nm: Half-width of the images, nm.

    Raises:
        BadInputError: for another number of meshes, a half-extent that is not positive, a centre
            that is not finite, or a mesh that reaches more than 300 image widths away.
    """
    if not 1 <= len(meshes) <= 2:
        raise BadInputError(f"one or two meshes can be drawn, got {len(meshes)}")
    if not (np.isfinite(half_extent_nm) and half_extent_nm > 0):
        raise BadInputError(f"a view's half-extent must be positive, got {half_extent_nm} nm")
    if len(center_nm) != 3 or not np.isfinite(center_nm).all():
        raise BadInputError(f"a view's centre must be three finite coordinates, got {center_nm}")
    drawn = [_rasterised(mesh, center_nm, half_extent_nm) for mesh in meshes]
    first, second = drawn[0], drawn[1] if len(drawn) == 2 else _nothing()
    depth, owner = np.empty(_SHAPE, np.float32), np.empty(_SHAPE, np.int8)
    cover_a, cover_b = np.empty(_SHAPE, np.bool_), np.empty(_SHAPE, np.bool_)
    fuse(first, second, (depth, owner, cover_a, cover_b))
    normals = np.zeros((len(VIEWS), 3, IMAGE_SIZE, IMAGE_SIZE), np.float32)
    for number, (mesh, (points, faces, keys)) in enumerate(zip(meshes, drawn, strict=True)):
        shade((points, faces, mesh.normals), keys, owner, number, normals)
    return Frame(depth, normals, owner, cover_a, cover_b)


def encode_geometry(frame: Frame, encoding: Encoding) -> NDArray[np.float16]:
    """The seven channels of a row's geometry.

    Args:
        frame: A drawing.
        encoding: ``metric``: depth as in the frame but at least 2**-11 on the foreground, linear
            unit normals. ``published``: as in the published rows of ConnectomeBench2 (reference
            1.6): depth stretched to 0..1 over each view's foreground, normals as 8-bit sRGB read
            back without undoing the curve; occlusion stays true.

    Returns:
        float16 ``(3, 7, 224, 224)``: view, channel (`CHANNELS`), row, column; background 0.

    Raises:
        BadInputError: for another encoding.
    """
    if encoding not in ENCODINGS:
        raise BadInputError(
            f"there is no geometry encoding '{encoding}'", fix=f"Use one of {ENCODINGS}"
        )
    out = np.empty(GEOMETRY_SHAPE, np.float16)
    foreground = frame.owner >= 0
    flags = {"silhouette": foreground, "mask_a": frame.cover_a, "mask_b": frame.cover_b}
    for name, flag in flags.items():
        # The bits of 1.0: NumPy converts from bool to half ten times slower.
        np.multiply(flag, HALF_ONE, out=out.view(np.uint16)[:, channel(name)])
    depth = encoded_depth(frame.depth, foreground, encoding)
    write_half(depth, foreground, out[:, channel("depth")])
    normals = srgb_coded(frame.normals) if encoding == "published" else frame.normals
    for axis, name in enumerate(("normal_x", "normal_y", "normal_z")):
        write_half(normals[:, axis], foreground, out[:, channel(name)])
    return out


def split_masks(frame: Frame) -> dict[str, NDArray[np.uint8]]:
    """For each view, which side of a split is in front.

    Args:
        frame: A drawing of the two sides.

    Returns:
        uint8 ``(224, 224)`` by view: 0 A, 128 B, 255 background.
    """
    values = np.array([SPLIT_MASK_A, SPLIT_MASK_B, SPLIT_MASK_BACKGROUND], np.uint8)
    # Owner -1, the background, is the last of the three values.
    return {view: values[frame.owner[i]] for i, view in enumerate(VIEWS)}


_Drawn = tuple[NDArray[np.int32], NDArray[np.uint32], NDArray[np.uint64]]


def _rasterised(mesh: Mesh, center_nm: Point, half_extent_nm: float) -> _Drawn:
    """Points, faces and z-buffers of a mesh."""
    scale = SUBPIXEL / pixel_size(half_extent_nm)
    shift = np.array(mesh.origin_nm) - np.array(center_nm)
    points = np.empty(mesh.vertices.shape, np.int32)
    largest = fixed_points(mesh.vertices, shift, scale, points)
    if not largest < LIMIT:
        raise BadInputError(
            f"a mesh reaches {largest / SUBPIXEL:.0f} pixels from the view's centre",
            found=f"at most {LIMIT // SUBPIXEL} can be drawn",
            fix="Crop the mesh to the view cube",
        )
    keys = _empty_keys()
    rasterise(points, mesh.faces, keys)
    return points, mesh.faces, keys


def _nothing() -> _Drawn:
    return np.empty((0, 3), np.int32), np.empty((0, 3), np.uint32), _empty_keys()


def _empty_keys() -> NDArray[np.uint64]:
    return np.full(_SHAPE, NOTHING)
