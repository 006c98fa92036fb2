"""Kernels of the z-buffer: three axis-aligned views in one pass over the triangles.

Vertices are whole numbers of 1/4096 pixel, measured from the centre of the view: edge functions
are then exact, neighbouring triangles leave no crack at a pixel centre, and every machine covers
the same pixels. A pixel centre on an edge belongs to both triangles; the nearer wins, then the
earlier.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from segmend.core.sample import IMAGE_SIZE
from segmend.render.camera import HALF_DEPTH

SUBPIXEL_BITS = 12
SUBPIXEL = 1 << SUBPIXEL_BITS
"""Steps per pixel."""

LIMIT = 2**28
"""Largest coordinate in steps (300 image widths), so that products of two fit into int64."""

NO_FACE = np.uint32(0xFFFFFFFF)
"""Number of the visible triangle where there is none."""

SAME_DEPTH = np.float32(2e-7)
"""Depths closer than this are one surface: two touching segments share their triangles, whose
depths agree but for rounding (float32 has steps of 6e-8 below 1)."""

_END = IMAGE_SIZE - 1
_CENTER = IMAGE_SIZE // 2 * SUBPIXEL
_HALF = SUBPIXEL // 2
_DEPTH_SCALE = 1 / (2 * HALF_DEPTH * SUBPIXEL)


@njit(cache=True, nogil=True)
def _project(points, vertex, view):  # type: ignore[no-untyped-def]
    """Column, row and depth of a vertex in steps from the centre: `CAMERAS`, written out."""
    z, y, x = np.int64(points[vertex, 0]), np.int64(points[vertex, 1]), np.int64(points[vertex, 2])
    if view == 0:
        return -y, -z, x
    if view == 1:
        return x, -z, y
    return x, -y, -z


@njit(cache=True, nogil=True)
def _edge(ax, ay, bx, by, px, py):  # type: ignore[no-untyped-def]
    """Twice the signed area of the triangle a, b, p."""
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


@njit(cache=True, nogil=True)
def _pixels(a, b, c):  # type: ignore[no-untyped-def]
    """First and last pixel of the image whose centres lie within a triangle's extent on an axis."""
    shift = _CENTER - _HALF
    low, high = np.int64(min(a, b, c)) + shift, np.int64(max(a, b, c)) + shift
    # A shift rounds down, also below 0, and is much faster than Python's division.
    first, last = (low + SUBPIXEL - 1) >> SUBPIXEL_BITS, high >> SUBPIXEL_BITS
    return max(first, 0), min(last, _END)


@njit(cache=True, nogil=True)
def _cover(points, corners, view, pixels, number, depth, face_at):  # type: ignore[no-untyped-def]
    """Draw one triangle into one view, within a range of columns and of rows."""
    columns, rows = pixels
    a = _project(points, corners[0], view)
    b = _project(points, corners[1], view)
    c = _project(points, corners[2], view)
    area = _edge(a[0], a[1], b[0], b[1], c[0], c[1])
    if area == 0:
        return
    if area < 0:
        area, b, c = -area, c, b
    step_a, step_b, step_c = (b[1] - c[1], c[1] - a[1], a[1] - b[1])
    px = columns[0] * SUBPIXEL + _HALF - _CENTER
    for y in range(rows[0], rows[1] + 1):
        py = y * SUBPIXEL + _HALF - _CENTER
        weight_a = _edge(b[0], b[1], c[0], c[1], px, py)
        weight_b = _edge(c[0], c[1], a[0], a[1], px, py)
        weight_c = area - weight_a - weight_b
        for x in range(columns[0], columns[1] + 1):
            if weight_a >= 0 and weight_b >= 0 and weight_c >= 0:
                steps = np.float64(weight_a) * a[2] + np.float64(weight_b) * b[2]
                steps += np.float64(weight_c) * c[2]
                at = np.float32(steps / area * _DEPTH_SCALE + 0.5)
                if 0 <= at <= 1 and at < depth[view, y, x]:
                    depth[view, y, x] = at
                    face_at[view, y, x] = number
            weight_a += step_a * SUBPIXEL
            weight_b += step_b * SUBPIXEL
            weight_c += step_c * SUBPIXEL


@njit(cache=True, nogil=True)
def rasterise(points, faces, depth, face_at):  # type: ignore[no-untyped-def]
    """Draw a mesh into its own three z-buffers.

    Args:
        points: int32 ``(n, 3)``, steps from the centre of the view, ``(z, y, x)``.
        faces: uint32 ``(m, 3)``.
        depth: float32 ``(3, 224, 224)``, infinity where nothing was drawn yet; overwritten with 0
            at the front face of the view cube to 1 at its back face. What lies outside the cube
            is not drawn.
        face_at: uint32, the same shape; overwritten with the number of the visible triangle.
    """
    for number in range(faces.shape[0]):
        i, j, k = faces[number, 0], faces[number, 1], faces[number, 2]
        # Most triangles of a fine mesh lie between pixel centres in most views.
        z0, z1 = _pixels(points[i, 0], points[j, 0], points[k, 0])
        y0, y1 = _pixels(points[i, 1], points[j, 1], points[k, 1])
        x0, x1 = _pixels(points[i, 2], points[j, 2], points[k, 2])
        # Pixel centres lie symmetric about the middle: a turned axis mirrors the pixels.
        down_z, down_y = (_END - z1, _END - z0), (_END - y1, _END - y0)
        corners = (i, j, k)
        if y0 <= y1 and z0 <= z1:
            _cover(points, corners, 0, (down_y, down_z), number, depth, face_at)
        if x0 <= x1 and z0 <= z1:
            _cover(points, corners, 1, ((x0, x1), down_z), number, depth, face_at)
        if x0 <= x1 and y0 <= y1:
            _cover(points, corners, 2, ((x0, x1), down_y), number, depth, face_at)


@njit(cache=True, nogil=True)
def faces_camera(points, faces, owner, view, y, x):  # type: ignore[no-untyped-def]
    """Whether the outer side of the visible triangle is turned to the camera."""
    number = owner[view, y, x]
    ax, ay, _ = _project(points, faces[number, 0], view)
    bx, by, _ = _project(points, faces[number, 1], view)
    cx, cy, _ = _project(points, faces[number, 2], view)
    # Rows grow downwards: counter-clockwise on the image is a negative area.
    return _edge(ax, ay, bx, by, cx, cy) < 0


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def shade(points, faces, normals, owner, wanted, out):  # type: ignore[no-untyped-def]
    """Write the interpolated unit normal of every visible pixel of one mesh.

    Args:
        points: int32 ``(n, 3)``, as in `rasterise`.
        faces: uint32 ``(m, 3)``.
        normals: float32 ``(n, 3)``, ``(z, y, x)``.
        owner: uint32 ``(3, 224, 224)``: the visible triangle.
        wanted: bool, the same shape: pixels to shade.
        out: float32 ``(3, 3, 224, 224)``: view, component x, y, z, row, column.
    """
    for view in range(owner.shape[0]):
        for y in range(IMAGE_SIZE):
            for x in range(IMAGE_SIZE):
                if wanted[view, y, x]:
                    number = owner[view, y, x]
                    corners = (faces[number, 0], faces[number, 1], faces[number, 2])
                    n = _pixel_normal(points, normals, corners, view, y, x)
                    out[view, 0, y, x], out[view, 1, y, x], out[view, 2, y, x] = n[2], n[1], n[0]


@njit(cache=True, nogil=True)
def _pixel_normal(points, normals, corners, view, y, x):  # type: ignore[no-untyped-def]
    i, j, k = corners
    ax, ay, _ = _project(points, i, view)
    bx, by, _ = _project(points, j, view)
    cx, cy, _ = _project(points, k, view)
    px, py = x * SUBPIXEL + _HALF - _CENTER, y * SUBPIXEL + _HALF - _CENTER
    share = 1 / np.float64(_edge(ax, ay, bx, by, cx, cy))
    a = _edge(bx, by, cx, cy, px, py) * share
    b = _edge(cx, cy, ax, ay, px, py) * share
    c = _edge(ax, ay, bx, by, px, py) * share
    nz = a * normals[i, 0] + b * normals[j, 0] + c * normals[k, 0]
    ny = a * normals[i, 1] + b * normals[j, 1] + c * normals[k, 1]
    nx = a * normals[i, 2] + b * normals[j, 2] + c * normals[k, 2]
    length = np.sqrt(nz * nz + ny * ny + nx * nx)
    if length < 1e-3:
        # Opposite vertex normals cancel; the triangle itself still has a side.
        nz, ny, nx = _face_normal(points, i, j, k)
        length = np.sqrt(nz * nz + ny * ny + nx * nx)
    scale = 1 / length
    return nz * scale, ny * scale, nx * scale


@njit(cache=True, nogil=True)
def fuse(first, second, depth, owner):  # type: ignore[no-untyped-def]
    """Decide for each pixel which of two drawings is in front.

    Args:
        first: Points, faces, depth and visible triangle of A, as in `rasterise`.
        second: The same of B.
        depth: float32 ``(3, 224, 224)``, zeros; overwritten on the foreground.
        owner: int8, the same shape, -1; overwritten with 0 (A) or 1 (B) on the foreground.
    """
    points_b, faces_b, depth_b, face_b = second
    depth_a = first[2]
    for view in range(depth.shape[0]):
        for y in range(IMAGE_SIZE):
            for x in range(IMAGE_SIZE):
                a, b = depth_a[view, y, x], depth_b[view, y, x]
                if a == np.inf and b == np.inf:
                    continue
                winner = 0 if a < b else 1
                if abs(a - b) <= SAME_DEPTH:
                    turned_away = not faces_camera(first[0], first[1], first[3], view, y, x)
                    to_b = turned_away and faces_camera(points_b, faces_b, face_b, view, y, x)
                    winner = 1 if to_b else 0
                owner[view, y, x] = winner
                depth[view, y, x] = b if winner else a
