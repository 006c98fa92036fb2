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
from segmend.render.camera import CAMERAS, HALF_DEPTH, XYZ

SUBPIXEL = 4096
"""Steps per pixel."""

LIMIT = 2**28
"""Largest coordinate in steps (300 image widths), so that products of two fit into int64."""

NO_FACE = np.uint32(0xFFFFFFFF)
"""Number of the visible triangle where there is none."""

SAME_DEPTH = np.float32(2e-7)
"""Depths closer than this are one surface: two touching segments share their triangles, whose
depths agree but for rounding (float32 has steps of 6e-8 below 1)."""

_CENTER = IMAGE_SIZE // 2 * SUBPIXEL
_HALF = SUBPIXEL // 2
_DEPTH_SCALE = 1 / (2 * HALF_DEPTH * SUBPIXEL)
# Per view: position of the axis in a (z, y, x) triple, and its sign.
_RIGHT = tuple((XYZ[c.right[0]], c.right[1]) for c in CAMERAS.values())
_DOWN = tuple((XYZ[c.up[0]], -c.up[1]) for c in CAMERAS.values())
_FORWARD = tuple((XYZ[c.forward[0]], c.forward[1]) for c in CAMERAS.values())


@njit(cache=True, nogil=True)
def _first(low):  # type: ignore[no-untyped-def]
    """First pixel whose centre is at or behind a coordinate."""
    return (low + _CENTER + _HALF - 1) // SUBPIXEL


@njit(cache=True, nogil=True)
def _last(high):  # type: ignore[no-untyped-def]
    """Last pixel whose centre is at or before a coordinate."""
    return (high + _CENTER - _HALF) // SUBPIXEL


@njit(cache=True, nogil=True)
def _project(points, vertex, view):  # type: ignore[no-untyped-def]
    """Column, row and depth of a vertex, steps from the centre of the view."""
    right, down, forward = _RIGHT[view], _DOWN[view], _FORWARD[view]
    column = np.int64(points[vertex, right[0]]) * right[1]
    row = np.int64(points[vertex, down[0]]) * down[1]
    depth = np.int64(points[vertex, forward[0]]) * forward[1]
    return column, row, depth


@njit(cache=True, nogil=True)
def _edge(ax, ay, bx, by, px, py):  # type: ignore[no-untyped-def]
    """Twice the signed area of the triangle a, b, p."""
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


@njit(cache=True, nogil=True)
def _cover(points, face, number, view, depth, owner):  # type: ignore[no-untyped-def]
    """Draw one triangle into one view."""
    ax, ay, az = _project(points, face[0], view)
    bx, by, bz = _project(points, face[1], view)
    cx, cy, cz = _project(points, face[2], view)
    area = _edge(ax, ay, bx, by, cx, cy)
    if area == 0:
        return
    first_x, last_x = max(_first(min(ax, bx, cx)), 0), min(_last(max(ax, bx, cx)), IMAGE_SIZE - 1)
    first_y, last_y = max(_first(min(ay, by, cy)), 0), min(_last(max(ay, by, cy)), IMAGE_SIZE - 1)
    sign = 1 if area > 0 else -1
    for y in range(first_y, last_y + 1):
        py = y * SUBPIXEL + _HALF - _CENTER
        for x in range(first_x, last_x + 1):
            px = x * SUBPIXEL + _HALF - _CENTER
            a = _edge(bx, by, cx, cy, px, py) * sign
            b = _edge(cx, cy, ax, ay, px, py) * sign
            c = _edge(ax, ay, bx, by, px, py) * sign
            if a < 0 or b < 0 or c < 0:
                continue
            steps = (np.float64(a) * az + np.float64(b) * bz + np.float64(c) * cz) / (area * sign)
            at = np.float32(steps * _DEPTH_SCALE + 0.5)
            if 0 <= at <= 1 and at < depth[view, y, x]:
                depth[view, y, x] = at
                owner[view, y, x] = number


@njit(cache=True, nogil=True)
def rasterise(points, faces, depth, owner):  # type: ignore[no-untyped-def]
    """Draw a mesh into its own three z-buffers.

    Args:
        points: int32 ``(n, 3)``, steps from the centre of the view, ``(z, y, x)``.
        faces: uint32 ``(m, 3)``.
        depth: float32 ``(3, 224, 224)``, infinity where nothing was drawn yet; overwritten with 0
            at the front face of the view cube to 1 at its back face. What lies outside the cube
            is not drawn.
        owner: uint32, the same shape; overwritten with the number of the visible triangle.
    """
    for number in range(faces.shape[0]):
        i, j, k = faces[number, 0], faces[number, 1], faces[number, 2]
        z = _holds_center(points[i, 0], points[j, 0], points[k, 0])
        y = _holds_center(points[i, 1], points[j, 1], points[k, 1])
        x = _holds_center(points[i, 2], points[j, 2], points[k, 2])
        # Most triangles of a fine mesh lie between pixel centres in most views.
        if y and z:
            _cover(points, (i, j, k), number, 0, depth, owner)
        if x and z:
            _cover(points, (i, j, k), number, 1, depth, owner)
        if x and y:
            _cover(points, (i, j, k), number, 2, depth, owner)


@njit(cache=True, nogil=True)
def _holds_center(a, b, c):  # type: ignore[no-untyped-def]
    """Whether the extent of a triangle along an axis holds the centre of a pixel of the image.

    Centres lie symmetric about the middle of the image, so the sign of the axis does not matter.
    """
    low, high = np.int64(min(a, b, c)), np.int64(max(a, b, c))
    if high < -_CENTER or low > _CENTER:
        return False
    return _first(low) <= _last(high)


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
    area = np.float64(_edge(ax, ay, bx, by, cx, cy))
    a = np.float64(_edge(bx, by, cx, cy, px, py)) / area
    b = np.float64(_edge(cx, cy, ax, ay, px, py)) / area
    c = np.float64(_edge(ax, ay, bx, by, px, py)) / area
    nz = a * normals[i, 0] + b * normals[j, 0] + c * normals[k, 0]
    ny = a * normals[i, 1] + b * normals[j, 1] + c * normals[k, 1]
    nx = a * normals[i, 2] + b * normals[j, 2] + c * normals[k, 2]
    length = np.sqrt(nz * nz + ny * ny + nx * nx)
    if length < 1e-3:
        # Opposite vertex normals cancel; the triangle itself still has a side.
        nz, ny, nx = _face_normal(points, i, j, k)
        length = np.sqrt(nz * nz + ny * ny + nx * nx)
    return nz / length, ny / length, nx / length


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
