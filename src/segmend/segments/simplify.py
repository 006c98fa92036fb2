"""Fewer triangles, with a measured bound on how far the surface moved."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, require
from segmend.segments.canonical import Triangles, assemble
from segmend.segments.mesh import Mesh

FEWEST = 64
"""Meshes of fewer triangles are left as they are."""


def simplified(mesh: Mesh, error_nm: float) -> Mesh:
    """The coarsest of the halvings of a mesh that stay close to it.

    Triangles are halved by quadric edge collapse (fast_simplification), borders kept, until no
    triangles go or a vertex of either surface lies further than ``error_nm`` from the other
    surface; the last one within the bound is returned, with smooth normals. The bound is measured
    (`surface_distance`), not promised by the simplifier: where that spoils one corner at once, the
    mesh stays as it is.

    Args:
        mesh: Any mesh.
        error_nm: Largest distance of a vertex of one surface from the other, nm.

    Raises:
        BadInputError: if the error is not positive.
        MissingDependencyError: if fast-simplification is not installed.
    """
    if not (np.isfinite(error_nm) and error_nm > 0):
        raise BadInputError(f"a simplification needs a positive error, got {error_nm} nm")
    require("fast_simplification", extra="build")
    import fast_simplification

    best = mesh
    while len(best.faces) >= FEWEST:
        vertices, faces = fast_simplification.simplify(
            best.vertices.astype(np.float64),
            best.faces.astype(np.int32),
            target_count=len(best.faces) // 2,
            preserve_border=True,
        )
        if not len(faces) or len(faces) >= len(best.faces):
            break
        positions = vertices + np.array(mesh.origin_nm)
        triangles = Triangles(positions, faces.astype(np.uint32))
        coarser = assemble(triangles, "a simplified mesh", level_of_detail=mesh.level_of_detail)
        there = surface_distance(mesh.positions(), coarser, enough_nm=error_nm)
        back = surface_distance(coarser.positions(), mesh, enough_nm=error_nm)
        if coarser.empty or max(there.max(), back.max()) > error_nm:
            break
        best = coarser
    return best


def surface_distance(
    points: NDArray[np.float64], mesh: Mesh, *, enough_nm: float = 0.0
) -> NDArray[np.float64]:
    """How far points lie from a surface at most.

    Exact distance to the closest triangle that is found by descent from the nearest vertex, from
    triangle to neighbouring triangle. It is part of the surface, so that the true distance is never
    larger; it is smaller where another part of the surface passes closer by.

    Args:
        points: float64 ``(n, 3)``, nm, ``(z, y, x)``.
        mesh: The surface.
        enough_nm: Bounds below this are not made any smaller.

    Returns:
        float64 ``(n,)``, nm; infinite for an empty mesh.
    """
    from scipy.spatial import cKDTree

    if mesh.empty:
        return np.full(len(points), np.inf)
    positions = mesh.positions()
    used = np.unique(mesh.faces)
    out, nearest = cKDTree(positions[used]).query(points)
    far = np.flatnonzero(out > enough_nm)
    # Triangles of each vertex: sorted by vertex, with the place where each begins.
    corners = mesh.faces.ravel()
    order = np.argsort(corners, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(corners, minlength=len(positions)))])
    around = (order // 3, starts)
    _refine(points, used[nearest], positions, mesh.faces, around, (far, enough_nm**2, out))
    return out


@njit(cache=True, nogil=True)
def _refine(points, nearest, positions, faces, around, result):  # type: ignore[no-untyped-def]
    far, enough, out = result
    for i in far:
        least, closest = _closest(points[i], nearest[i], positions, faces, around)
        descends = True
        while descends and least > enough:
            descends = False
            for corner in range(3):
                found = _closest(points[i], faces[closest, corner], positions, faces, around)
                if found[0] < least:
                    least, closest = found
                    descends = True
                    break
        out[i] = np.sqrt(least)


@njit(cache=True, nogil=True)
def _closest(point, vertex, positions, faces, around):  # type: ignore[no-untyped-def]
    """Squared distance to the closest triangle around a vertex, and its number."""
    triangles, starts = around
    least, closest = np.inf, -1
    for at in range(starts[vertex], starts[vertex + 1]):
        a, b, c = faces[triangles[at]]
        squared = _squared(point, positions[a], positions[b], positions[c])
        if squared < least:
            least, closest = squared, triangles[at]
    return least, closest


@njit(cache=True, nogil=True)
def _squared(p, a, b, c):  # type: ignore[no-untyped-def]
    """Squared distance of a point from a triangle.

    From the face if the point lies above it, else from the nearest edge.
    """
    u, v, w = _minus(b, a), _minus(c, a), _minus(p, a)
    uu, uv, vv = _dot(u, u), _dot(u, v), _dot(v, v)
    wu, wv = _dot(w, u), _dot(w, v)
    area = uu * vv - uv * uv
    s, t = vv * wu - uv * wv, uu * wv - uv * wu
    if area > 0 and s >= 0 and t >= 0 and s + t <= area:
        s, t = s / area, t / area
        rest = (
            w[0] - s * u[0] - t * v[0],
            w[1] - s * u[1] - t * v[1],
            w[2] - s * u[2] - t * v[2],
        )
        return _dot(rest, rest)
    return min(_to_edge(w, u), min(_to_edge(w, v), _to_edge(_minus(p, b), _minus(c, b))))


@njit(cache=True, nogil=True)
def _to_edge(w, u):  # type: ignore[no-untyped-def]
    """Squared distance of ``w`` from the edge that leads from 0 to ``u``."""
    length = _dot(u, u)
    share = min(max(_dot(w, u) / length, 0.0), 1.0) if length > 0 else 0.0
    rest = (w[0] - share * u[0], w[1] - share * u[1], w[2] - share * u[2])
    return _dot(rest, rest)


@njit(cache=True, nogil=True, inline="always")
def _minus(a, b):  # type: ignore[no-untyped-def]
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@njit(cache=True, nogil=True, inline="always")
def _dot(u, v):  # type: ignore[no-untyped-def]
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]
