"""From the z-buffers of A and B to what a frame holds: the nearer one, its normal, both covers."""

from __future__ import annotations

import numpy as np
from numba import njit

from segmend.core.sample import IMAGE_SIZE
from segmend.render.raster import NOTHING, SUBPIXEL, edge

SAME_DEPTH = np.float32(2e-7)
"""Depths closer than this are one surface: two touching segments share their triangles, whose
depths agree but for rounding (float32 has steps of 6e-8 below 1)."""

CANCELLED = 1e-3
"""Shorter sums of three weighted unit normals have no direction worth trusting."""

_MIDDLE = IMAGE_SIZE // 2 * SUBPIXEL - SUBPIXEL // 2


@njit(cache=True, nogil=True)
def fuse(first, second, out):  # type: ignore[no-untyped-def]
    """Decide for each pixel which of two drawings is in front.

    Args:
        first: Points, faces and keys of A, as in `rasterise`.
        second: The same of B.
        out: Arrays ``(3, 224, 224)`` of a `Frame`, overwritten: depth float32, owner int8, covers
            of A and of B bool.
    """
    points_a, faces_a, keys_a = first
    points_b, faces_b, keys_b = second
    depth, owner, cover_a, cover_b = out
    for view in range(depth.shape[0]):
        for y in range(IMAGE_SIZE):
            for x in range(IMAGE_SIZE):
                a, b = keys_a[view, y, x], keys_b[view, y, x]
                cover_a[view, y, x], cover_b[view, y, x] = a != NOTHING, b != NOTHING
                if a == NOTHING and b == NOTHING:
                    owner[view, y, x], depth[view, y, x] = -1, 0
                    continue
                near_a, near_b = _depth(a), _depth(b)
                winner = 0 if a < b else 1
                if abs(near_a - near_b) <= SAME_DEPTH:
                    winner = _first_of_two((points_a, faces_a, a), (points_b, faces_b, b), view)
                owner[view, y, x] = winner
                depth[view, y, x] = near_b if winner else near_a


@njit(cache=True, nogil=True, error_model="numpy")
def shade(mesh, keys, owner, number, out):  # type: ignore[no-untyped-def]
    """Write the interpolated unit normal of every pixel in which one mesh is in front.

    Args:
        mesh: Points and faces as in `rasterise`; normals, float32 ``(n, 3)``, ``(z, y, x)``.
        keys: Its z-buffers.
        owner: int8 ``(3, 224, 224)``: the mesh in front.
        number: Which one this is.
        out: float32 ``(3, 3, 224, 224)``: view, component x, y, z, row, column.
    """
    points, faces, normals = mesh
    for view in range(owner.shape[0]):
        for y in range(IMAGE_SIZE):
            for x in range(IMAGE_SIZE):
                if owner[view, y, x] == number:
                    face = _face(keys[view, y, x])
                    corners = (faces[face, 0], faces[face, 1], faces[face, 2])
                    n = _pixel_normal(points, normals, corners, view, y, x)
                    out[view, 0, y, x], out[view, 1, y, x], out[view, 2, y, x] = n[2], n[1], n[0]


@njit(cache=True, nogil=True, inline="always")
def _depth(key):  # type: ignore[no-untyped-def]
    """Depth of a key; not a number for `NOTHING`."""
    return np.uint32(key >> np.uint64(32)).view(np.float32)


@njit(cache=True, nogil=True, inline="always")
def _face(key):  # type: ignore[no-untyped-def]
    return key & np.uint64(0xFFFFFFFF)


@njit(cache=True, nogil=True, inline="always")
def _project(points, vertex, view):  # type: ignore[no-untyped-def]
    """Column and row of a vertex in steps from the centre: `CAMERAS`, written out."""
    z, y, x = np.int64(points[vertex, 0]), np.int64(points[vertex, 1]), np.int64(points[vertex, 2])
    if view == 0:
        return -y, -z
    if view == 1:
        return x, -z
    return x, -y


@njit(cache=True, nogil=True, inline="always")
def _faces_camera(points, faces, number, view):  # type: ignore[no-untyped-def]
    """Whether the outer side of a triangle is turned to the camera."""
    ax, ay = _project(points, faces[number, 0], view)
    bx, by = _project(points, faces[number, 1], view)
    cx, cy = _project(points, faces[number, 2], view)
    # Rows grow downwards: counter-clockwise on the image is a negative area.
    return edge(ax, ay, bx, by, cx, cy) < 0


@njit(cache=True, nogil=True)
def _first_of_two(first, second, view):  # type: ignore[no-untyped-def]
    """Which of two triangles at one depth is seen: 0 or 1.

    Whichever drawing is called A, the same triangle is seen.

    Args:
        first: Points and faces of A, and its key at the pixel.
        second: The same of B.
        view: Number of the view.
    """
    points_a, faces_a, a = first
    points_b, faces_b, b = second
    towards_a = _faces_camera(points_a, faces_a, _face(a), view)
    towards_b = _faces_camera(points_b, faces_b, _face(b), view)
    if towards_a != towards_b:
        return 1 if towards_b else 0
    if _depth(a) != _depth(b):
        return 1 if _depth(b) < _depth(a) else 0
    for axis in range(3):
        from_a = _corner_sum(points_a, faces_a, _face(a), axis)
        from_b = _corner_sum(points_b, faces_b, _face(b), axis)
        if from_a != from_b:
            return 1 if from_b < from_a else 0
    return 0


@njit(cache=True, nogil=True, inline="always")
def _corner_sum(points, faces, number, axis):  # type: ignore[no-untyped-def]
    i, j, k = faces[number, 0], faces[number, 1], faces[number, 2]
    return np.int64(points[i, axis]) + np.int64(points[j, axis]) + np.int64(points[k, axis])


@njit(cache=True, nogil=True, inline="always")
def _face_normal(points, i, j, k):  # type: ignore[no-untyped-def]
    """Outward normal (z, y, x) of a triangle, not normalised."""
    u = (
        np.float64(points[j, 0]) - points[i, 0],
        np.float64(points[j, 1]) - points[i, 1],
        np.float64(points[j, 2]) - points[i, 2],
    )
    v = (
        np.float64(points[k, 0]) - points[i, 0],
        np.float64(points[k, 1]) - points[i, 1],
        np.float64(points[k, 2]) - points[i, 2],
    )
    # The cross product of (x, y, z) vectors, written in the order (z, y, x).
    return u[2] * v[1] - u[1] * v[2], u[0] * v[2] - u[2] * v[0], u[1] * v[0] - u[0] * v[1]


@njit(cache=True, nogil=True, inline="always")
def _pixel_normal(points, normals, corners, view, y, x):  # type: ignore[no-untyped-def]
    """Unit normal (z, y, x) at a pixel's centre, interpolated between a triangle's corners."""
    i, j, k = corners
    ax, ay = _project(points, i, view)
    bx, by = _project(points, j, view)
    cx, cy = _project(points, k, view)
    px, py = x * SUBPIXEL - _MIDDLE, y * SUBPIXEL - _MIDDLE
    # Weights need no division by the area: the sum is made a unit vector afterwards.
    a, b = edge(bx, by, cx, cy, px, py), edge(cx, cy, ax, ay, px, py)
    area = edge(ax, ay, bx, by, cx, cy)
    if area < 0:
        area, a, b = -area, -a, -b
    c = area - a - b
    nz = a * normals[i, 0] + b * normals[j, 0] + c * normals[k, 0]
    ny = a * normals[i, 1] + b * normals[j, 1] + c * normals[k, 1]
    nx = a * normals[i, 2] + b * normals[j, 2] + c * normals[k, 2]
    length = np.sqrt(nz * nz + ny * ny + nx * nx)
    if length < CANCELLED * area:
        # Opposite vertex normals cancel; the triangle itself still has a side.
        nz, ny, nx = _face_normal(points, i, j, k)
        length = np.sqrt(nz * nz + ny * ny + nx * nx)
    scale = 1 / length
    return nz * scale, ny * scale, nx * scale
