"""Smooth vertex normals of a mesh that came without any."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

CANCELLED = 1e-6
"""A sum of weighted unit normals shorter than this, in radians, has no direction worth trusting."""


def smooth_normals(vertices: NDArray[np.float32], faces: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Vertex normals: the mean of the touching triangles', weighted by the angle at the vertex.

    Angles make the result independent of how a surface is cut into triangles (Thuermer and
    Wuethrich 1998, "Computing vertex normals from polygonal facets").

    Args:
        vertices: float32 ``(n, 3)``, ``(z, y, x)``.
        faces: uint32 ``(m, 3)``, counter-clockwise seen from outside in the frame ``(x, y, z)``.

    Returns:
        float32 ``(n, 3)``, unit normals that point out, ``(z, y, x)``; zero where triangles
        cancel each other or have no area (a renderer takes the triangle's own there).
    """
    sums = np.zeros(vertices.shape, np.float64)
    _add_faces(vertices, faces, sums)
    length = np.sqrt(np.einsum("ij,ij->i", sums, sums))
    sums[length < CANCELLED] = 0
    return (sums / np.maximum(length, CANCELLED)[:, None]).astype(np.float32)


@njit(cache=True, nogil=True)
def _add_faces(vertices, faces, sums):  # type: ignore[no-untyped-def]
    """Add every triangle's unit normal to its corners, times its angle there."""
    edges, lengths, angles = np.empty((3, 3)), np.empty(3), np.empty(3)
    for m in range(len(faces)):
        for k in range(3):
            a, b = faces[m, k], faces[m, (k + 1) % 3]
            for axis in range(3):
                edges[k, axis] = np.float64(vertices[b, axis]) - np.float64(vertices[a, axis])
            lengths[k] = np.sqrt(edges[k, 0] ** 2 + edges[k, 1] ** 2 + edges[k, 2] ** 2)
        u, v = edges[0], edges[1]
        # The cross product of (x, y, z) vectors, written in the order (z, y, x).
        nz, ny, nx = u[2] * v[1] - u[1] * v[2], u[0] * v[2] - u[2] * v[0], u[1] * v[0] - u[0] * v[1]
        double_area = np.sqrt(nz * nz + ny * ny + nx * nx)
        if double_area == 0:
            continue
        for k in range(3):
            back = edges[(k + 2) % 3]
            dot = edges[k, 0] * back[0] + edges[k, 1] * back[1] + edges[k, 2] * back[2]
            angles[k] = _arccos(-dot / (lengths[k] * lengths[(k + 2) % 3]))
        for k in range(3):
            share = angles[k] / double_area
            sums[faces[m, k], 0] += nz * share
            sums[faces[m, k], 1] += ny * share
            sums[faces[m, k], 2] += nx * share


@njit(cache=True, nogil=True, inline="always")
def _arccos(cosine):  # type: ignore[no-untyped-def]
    """Angle to 7e-5 (Abramowitz and Stegun 4.4.45), of operations that round alike everywhere."""
    c = min(abs(cosine), 1.0)
    angle = np.sqrt(1 - c) * (1.5707288 + c * (-0.2121144 + c * (0.0742610 - c * 0.0187293)))
    return angle if cosine >= 0 else np.pi - angle
