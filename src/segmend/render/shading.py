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
def compose(first, second, out):  # type: ignore[no-untyped-def]
    """Decide for each pixel which of two drawings is in front, and shade it.

    Args:
        first: Points, faces and keys of A, as in `rasterise`, and its normals, float32 ``(n, 3)``,
            ``(z, y, x)``.
        second: The same of B.
        out: Arrays of a `Frame`, overwritten: depth float32 and owner int8 ``(3, 224, 224)``,
            normals float32 ``(3, 3, 224, 224)``, covers of A and of B, bool ``(3, 224, 224)``.
    """
    depth, owner, normals, cover_a, cover_b = out
    for view in range(depth.shape[0]):
        for y in range(IMAGE_SIZE):
            for x in range(IMAGE_SIZE):
                pixel = y * IMAGE_SIZE + x
                key_a, key_b = first[2][view, pixel], second[2][view, pixel]
                cover_a[view, y, x], cover_b[view, y, x] = key_a != NOTHING, key_b != NOTHING
                if key_a == NOTHING and key_b == NOTHING:
                    owner[view, y, x], depth[view, y, x] = -1, 0
                    for axis in range(3):
                        normals[view, axis, y, x] = 0
                    continue
                winner = _winner(first, second, (key_a, key_b), (view, y, x))
                owner[view, y, x] = winner
                depth[view, y, x] = _depth(key_b if winner else key_a)
                if winner:
                    n = _pixel_normal(second, _face(key_b), view, y, x)
                else:
                    n = _pixel_normal(first, _face(key_a), view, y, x)
                for axis in range(3):
                    normals[view, axis, y, x] = n[2 - axis]


@njit(cache=True, nogil=True, inline="always")
def _depth(key):  # type: ignore[no-untyped-def]
    return np.uint32(key >> np.uint64(32)).view(np.float32)


@njit(cache=True, nogil=True, inline="always")
def _face(key):  # type: ignore[no-untyped-def]
    return key & np.uint64(0xFFFFFFFF)


@njit(cache=True, nogil=True, inline="always")
def _winner(first, second, keys, at):  # type: ignore[no-untyped-def]
    """0 if A is in front, 1 if B is."""
    key_a, key_b = keys
    if key_a == NOTHING or key_b == NOTHING:
        return 1 if key_a == NOTHING else 0
    a, b = _depth(key_a), _depth(key_b)
    if abs(a - b) > SAME_DEPTH:
        return 0 if a < b else 1
    turned_away = not _faces_camera(first, _face(key_a), at[0])
    return 1 if turned_away and _faces_camera(second, _face(key_b), at[0]) else 0


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
def _faces_camera(drawing, number, view):  # type: ignore[no-untyped-def]
    """Whether the outer side of a triangle is turned to the camera."""
    points, faces = drawing[0], drawing[1]
    ax, ay = _project(points, faces[number, 0], view)
    bx, by = _project(points, faces[number, 1], view)
    cx, cy = _project(points, faces[number, 2], view)
    # Rows grow downwards: counter-clockwise on the image is a negative area.
    return edge(ax, ay, bx, by, cx, cy) < 0


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
def _pixel_normal(drawing, number, view, y, x):  # type: ignore[no-untyped-def]
    """Unit normal (z, y, x) at a pixel's centre, interpolated between a triangle's corners."""
    points, faces, _, normals = drawing
    i, j, k = faces[number, 0], faces[number, 1], faces[number, 2]
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
