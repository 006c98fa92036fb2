"""Kernels of the z-buffer: three axis-aligned views in one pass over the triangles.

Vertices are whole numbers of 1/4096 pixel, measured from the centre of the view: edge functions
are then exact, neighbouring triangles leave no crack at a pixel centre, and every machine covers
the same pixels. A pixel centre on an edge belongs to both triangles; the nearer wins, then the
earlier.

A pixel of a z-buffer is one uint64 *key*: the bits of its depth (float32, never negative, so that
bits order like depths) above the number of its triangle. The smallest key is the visible triangle.
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

NOTHING = np.uint64(0xFFFFFFFFFFFFFFFF)
"""Key of a pixel where no triangle was drawn."""

_END = IMAGE_SIZE - 1
_CENTER = IMAGE_SIZE // 2 * SUBPIXEL
_HALF = SUBPIXEL // 2
_DEPTH_SCALE = 1 / (2 * HALF_DEPTH * SUBPIXEL)
_DEPTH_BITS = np.uint64(32)


@njit(cache=True, nogil=True)
def fixed_points(vertices, shift, scale, out):  # type: ignore[no-untyped-def]
    """Vertices in whole steps from the centre of the view.

    Args:
        vertices: float32 ``(n, 3)``, nm, ``(z, y, x)``.
        shift: float64 ``(3,)`` nm, added to every vertex.
        scale: Steps per nm.
        out: int32 ``(n, 3)``, overwritten; without meaning where a coordinate reaches `LIMIT`.

    Returns:
        The largest coordinate, in steps; 0 without vertices.
    """
    largest = 0.0
    for i in range(vertices.shape[0]):
        for axis in range(3):
            step = np.rint((vertices[i, axis] + shift[axis]) * scale)
            largest = max(largest, abs(step))
            out[i, axis] = np.int32(min(max(step, -LIMIT), LIMIT))
    return largest


@njit(cache=True, nogil=True)
def edge(ax, ay, bx, by, px, py):  # type: ignore[no-untyped-def]
    """Twice the signed area of the triangle a, b, p."""
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


@njit(cache=True, nogil=True)
def _pixels(a, b, c):  # type: ignore[no-untyped-def]
    """First and last pixel of the image whose centres lie within a triangle's extent on an axis."""
    shift = _CENTER - _HALF
    low, high = min(a, b, c) + shift, max(a, b, c) + shift
    # A shift rounds down, also below 0, and is much faster than Python's division.
    first, last = (low + SUBPIXEL - 1) >> SUBPIXEL_BITS, high >> SUBPIXEL_BITS
    return max(first, 0), min(last, _END)


@njit(cache=True, nogil=True, inline="always")
def _cover(keys, number, corners, columns, rows):  # type: ignore[no-untyped-def]
    """Draw one triangle into one view, within a range of columns and of rows.

    Most ranges hold one to four pixels: nothing in here branches on what the data say, because a
    branch that is guessed wrong costs more than a pixel.

    Args:
        keys: uint64, the pixels of the view, row after row.
        number: The triangle's number.
        corners: Column, row and depth of each corner in steps from the centre, int64.
        columns: First and last.
        rows: First and last.
    """
    a, b, c = corners
    area = edge(a[0], a[1], b[0], b[1], c[0], c[1])
    if area == 0:
        return
    turn = 1 if area > 0 else -1
    share = _DEPTH_SCALE / np.float64(area)
    # The depth of each corner, per unit of its weight.
    depth_a, depth_b, depth_c = a[2] * share, b[2] * share, c[2] * share
    px = columns[0] * SUBPIXEL + _HALF - _CENTER
    py = rows[0] * SUBPIXEL + _HALF - _CENTER
    row_a, row_b = edge(b[0], b[1], c[0], c[1], px, py), edge(c[0], c[1], a[0], a[1], px, py)
    for y in range(rows[0], rows[1] + 1):
        weight_a, weight_b = row_a, row_b
        for x in range(columns[0], columns[1] + 1):
            weight_c = area - weight_a - weight_b
            at = np.float32(weight_a * depth_a + weight_b * depth_b + weight_c * depth_c + 0.5)
            # One sign bit tells whether any weight is negative.
            inside = weight_a * turn | weight_b * turn | weight_c * turn >= 0
            key = np.uint64(at.view(np.uint32)) << _DEPTH_BITS | number
            pixel = np.uint64(y * IMAGE_SIZE + x)
            key = key if inside & (at >= 0) & (at <= 1) else NOTHING
            keys[pixel] = min(keys[pixel], key)
            weight_a += (b[1] - c[1]) * SUBPIXEL
            weight_b += (c[1] - a[1]) * SUBPIXEL
        row_a += (c[0] - b[0]) * SUBPIXEL
        row_b += (a[0] - c[0]) * SUBPIXEL


@njit(cache=True, nogil=True)
def rasterise(points, faces, keys):  # type: ignore[no-untyped-def]
    """Draw a mesh into its own three z-buffers, with the cameras of `CAMERAS`.

    Args:
        points: int32 ``(n, 3)``, steps from the centre of the view, ``(z, y, x)``.
        faces: uint32 ``(m, 3)``.
        keys: uint64 ``(3, 224, 224)``, `NOTHING` where nothing was drawn yet; overwritten. Depth
            is 0 at the front face of the view cube and 1 at its back face; what lies outside the
            cube is not drawn.
    """
    front, side, top = keys[0].ravel(), keys[1].ravel(), keys[2].ravel()
    for number in range(faces.shape[0]):
        i, j, k = faces[number, 0], faces[number, 1], faces[number, 2]
        za, zb, zc = np.int64(points[i, 0]), np.int64(points[j, 0]), np.int64(points[k, 0])
        ya, yb, yc = np.int64(points[i, 1]), np.int64(points[j, 1]), np.int64(points[k, 1])
        xa, xb, xc = np.int64(points[i, 2]), np.int64(points[j, 2]), np.int64(points[k, 2])
        # Most triangles of a fine mesh lie between pixel centres in most views.
        z0, z1 = _pixels(za, zb, zc)
        y0, y1 = _pixels(ya, yb, yc)
        x0, x1 = _pixels(xa, xb, xc)
        # Pixel centres lie symmetric about the middle: a turned axis mirrors the pixels.
        down_z, down_y = (_END - z1, _END - z0), (_END - y1, _END - y0)
        name = np.uint64(number)
        if y0 <= y1 and z0 <= z1:
            corners = ((-ya, -za, xa), (-yb, -zb, xb), (-yc, -zc, xc))
            _cover(front, name, corners, down_y, down_z)
        if x0 <= x1 and z0 <= z1:
            corners = ((xa, -za, ya), (xb, -zb, yb), (xc, -zc, yc))
            _cover(side, name, corners, (x0, x1), down_z)
        if x0 <= x1 and y0 <= y1:
            corners = ((xa, -ya, -za), (xb, -yb, -zb), (xc, -yc, -zc))
            _cover(top, name, corners, (x0, x1), down_y)
