"""One form for every mesh: whatever order a file gives its triangles in, the same bytes here.

Served meshes come in fragments that repeat the vertices of their seams, STL repeats every vertex,
and two readers of one file may order it differently. In canonical form no vertex is stored twice
or unused, no triangle is degenerate, vertices are sorted by position and triangles by vertices.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.box import Box
from segmend.core.errors import BadInputError
from segmend.segments.mesh import Mesh
from segmend.segments.normals import smooth_normals

LIMIT_NM = 1e11
"""Coordinates from here on, 100 m, are refused."""

LATTICE = 2.0**16
"""Positions are rounded to this fraction of a nm, so that below `LIMIT_NM` an origin and a float32
add up in float64 without rounding: the canonical form of a canonical mesh is the mesh."""

Rows = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Triangles:
    """Triangles as a file gives them, in nm, checked by nobody yet.

    Attributes:
        positions: float64 ``(n, 3)``, nm, ``(z, y, x)``.
        faces: uint32 ``(m, 3)``, counter-clockwise from outside in the frame ``(x, y, z)``.
        normals: float ``(n, 3)``, outward, ``(z, y, x)``, of any length; None if the file has none.
    """

    positions: NDArray[np.float64]
    faces: NDArray[np.uint32]
    normals: NDArray[np.floating] | None = None


def assemble(triangles: Triangles, name: str, *, level_of_detail: int = 0) -> Mesh:
    """The mesh, in canonical form, of what a file holds.

    Normals of the file are kept, and two vertices at one place with different normals stay two (a
    hard edge). Where the file has none they are smooth (`smooth_normals`).

    Args:
        triangles: What was read.
        name: What errors call it.
        level_of_detail: Stored with the mesh; 0 is the finest.

    Raises:
        BadInputError: if a number is not finite, a coordinate reaches `LIMIT_NM`, or a face names a
            vertex that does not exist.
    """
    _check(triangles, name)
    if not len(triangles.faces):
        nothing = np.empty((0, 3), np.float32)
        return Mesh(nothing, np.empty((0, 3), np.uint32), nothing, level_of_detail=level_of_detail)
    units = None if triangles.normals is None else _units(triangles.normals)
    used = np.zeros(len(triangles.positions), np.bool_)
    used[triangles.faces] = True
    while True:
        origin, vertices = _relative(triangles.positions, used)
        kept, faces = _merged(vertices, units, triangles.faces)
        # Without its degenerate triangles a mesh may begin further on.
        if not len(kept) or not np.floor(vertices[kept].min(axis=0)).any():
            break
        used[:] = False
        used[kept] = True
    vertices = vertices[kept]
    normals = smooth_normals(vertices, faces) if units is None else units[kept]
    z, y, x = origin.tolist()
    return Mesh(vertices, faces, normals, (z, y, x), level_of_detail)


def canonical(mesh: Mesh) -> Mesh:
    """The canonical form of a mesh.

    Exactly equal vertices (position and normal) are one, triangles with two corners at one place
    and vertices of no triangle are left out; vertices are sorted by ``(z, y, x)``, each triangle
    starts at its first vertex (winding kept) and triangles are sorted by vertices. The origin is
    the whole nm below the first corner of the mesh.
    """
    triangles = Triangles(mesh.positions(), mesh.faces, mesh.normals)
    return assemble(triangles, "a mesh", level_of_detail=mesh.level_of_detail)


def mesh_digest(mesh: Mesh) -> str:
    """What a mesh is, whatever its order: sha256 of its canonical form, 64 hex digits.

    Hashed, little-endian: ``segmend mesh 1`` and a line feed, origin (three float64), numbers of
    vertices and faces (two uint64), vertices, faces, normals; not the level of detail.
    """
    form = canonical(mesh)
    digest = hashlib.sha256(b"segmend mesh 1\n")
    digest.update(np.array(form.origin_nm, "<f8").tobytes())
    digest.update(np.array([len(form.vertices), len(form.faces)], "<u8").tobytes())
    for array, kind in ((form.vertices, "<f4"), (form.faces, "<u4"), (form.normals, "<f4")):
        digest.update(array.astype(kind, copy=False).tobytes())
    return digest.hexdigest()


def crop(mesh: Mesh, box: Box) -> Mesh:
    """The triangles whose bounds touch a box, whole: none is cut.

    Normals stay as they were, so that a cropped mesh is drawn like the whole one.
    """
    inside = touching(mesh, box)
    faces = mesh.faces[inside]
    used, faces = _compacted(faces, len(mesh.vertices))
    vertices, normals = mesh.vertices[used], mesh.normals[used]
    return Mesh(vertices, faces, normals, mesh.origin_nm, mesh.level_of_detail)


def touching(mesh: Mesh, box: Box) -> NDArray[np.bool_]:
    """Which triangles have bounds that touch a box: bool ``(m,)``."""
    inside = np.ones(len(mesh.faces), np.bool_)
    for axis in range(3):
        at = mesh.vertices[:, axis].astype(np.float64) + mesh.origin_nm[axis]
        corners = [at[mesh.faces[:, k]] for k in range(3)]
        inside &= np.minimum.reduce(corners) <= box.stop[axis]
        inside &= np.maximum.reduce(corners) >= box.start[axis]
    return inside


def _check(triangles: Triangles, name: str) -> None:
    positions, faces, normals = triangles.positions, triangles.faces, triangles.normals
    if not (np.abs(positions) < LIMIT_NM).all():
        bad = int((~(np.abs(positions) < LIMIT_NM)).any(axis=1).sum())
        raise BadInputError(
            f"positions of {name} must be finite and below {LIMIT_NM:g} nm",
            found=f"{bad} of {len(positions)} vertices are not",
        )
    if faces.size and int(faces.max()) >= len(positions):
        raise BadInputError(
            f"a face of {name} names vertex {int(faces.max())}",
            found=f"it has {len(positions)} vertices",
        )
    if normals is not None and not np.isfinite(normals).all():
        raise BadInputError(f"normals of {name} must be finite", found="NaN or infinity")


def _relative(
    positions: NDArray[np.float64], used: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Positions from the whole nm below the lowest of the used ones."""
    low = positions.min(axis=0, where=used[:, None], initial=np.inf)
    origin = np.floor(np.rint(low * LATTICE) / LATTICE)
    # Adding zero makes -0.0 and 0.0 one place.
    steps = positions - origin
    steps *= LATTICE
    np.rint(steps, out=steps)
    vertices = (steps / LATTICE).astype(np.float32) + np.float32(0)
    return origin, vertices


def _units(normals: NDArray[np.floating]) -> NDArray[np.float32]:
    """Unit normals; zero stays zero."""
    wide = normals.astype(np.float64)
    length = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    already = np.abs(length - 1) < 1e-6  # float32 unit vectors stay as they are, to the bit
    length[already | (length == 0)] = 1
    return (wide / length[:, None]).astype(np.float32) + np.float32(0)


def _merged(
    vertices: NDArray[np.float32], normals: NDArray[np.float32] | None, faces: Rows
) -> tuple[NDArray[np.int64], Rows]:
    """Sort out repeated vertices and degenerate faces.

    Returns:
        The vertices to keep, in order, and the faces that name them by their place in it.
    """
    rows = vertices if normals is None else np.concatenate([vertices, normals], axis=1)
    bits: Rows = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    order = sorted_order(bits)
    first = np.ones(len(bits), np.bool_)
    in_order = bits[order]
    first[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    number = np.empty(len(bits), np.uint32)
    number[order] = np.cumsum(first) - 1
    kept = order[first]
    faces = number[faces]
    places = vertices[kept]
    a, b, c = (places[faces[:, k]] for k in range(3))
    flat = (a == b).all(axis=1) | (b == c).all(axis=1) | (c == a).all(axis=1)
    faces = _turned(faces[~flat])
    used, faces = _compacted(faces, len(kept))
    return kept[used], np.ascontiguousarray(faces[sorted_order(faces)])


def _compacted(faces: Rows, count: int) -> tuple[NDArray[np.bool_], Rows]:
    """Which vertices are used, and the faces numbered by their place among these."""
    used = np.zeros(count, np.bool_)
    used[faces] = True
    place = (np.cumsum(used) - 1).astype(np.uint32)
    return used, place[faces]


def _turned(faces: Rows) -> Rows:
    """Each triangle begun at its lowest vertex, its winding kept."""
    start = np.argmin(faces, axis=1)
    columns = (start[:, None] + np.arange(3)) % 3
    return np.take_along_axis(faces, columns, axis=1)


_DIGIT = 16


def sorted_order(rows: Rows) -> NDArray[np.int64]:
    """The order that sorts rows, first column first; equal rows keep theirs.

    A radix sort: its time does not depend on what a stranger's file holds, and a canonical form
    takes about two thirds of the time that it would take with `numpy.lexsort`.

    Args:
        rows: uint32 ``(n, k)``.

    Returns:
        int64 ``(n,)``.
    """
    order = np.arange(len(rows), dtype=np.int64)
    if len(rows) > 1:
        _radix(rows, order, np.empty_like(order))
    return order


@njit(cache=True, nogil=True)
def _radix(rows, order, spare):  # type: ignore[no-untyped-def]
    """Sort ``order`` in place, lowest digit first."""
    mask = np.uint32((1 << _DIGIT) - 1)
    for column in range(rows.shape[1] - 1, -1, -1):
        for shift in (np.uint32(0), np.uint32(_DIGIT)):
            # Where each digit's rows begin.
            place = np.zeros((1 << _DIGIT) + 1, np.int64)
            largest = 0
            for i in range(len(order)):
                digit = np.int64(rows[i, column] >> shift & mask) + 1
                place[digit] += 1
                largest = max(largest, place[digit])
            if largest == len(order):
                continue
            for i in range(1 << _DIGIT):
                place[i + 1] += place[i]
            for i in range(len(order)):
                digit = np.int64(rows[order[i], column] >> shift & mask)
                spare[place[digit]] = order[i]
                place[digit] += 1
            for i in range(len(order)):
                order[i] = spare[i]
