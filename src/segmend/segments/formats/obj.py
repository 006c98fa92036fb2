"""Wavefront OBJ files: ``v``, ``vn`` and ``f``; the rest (textures, groups) says nothing of shape.

Format: Wavefront, "Advanced Visualizer manual", appendix B1.
"""

from __future__ import annotations

from array import array

import numpy as np

from segmend.segments.canonical import Triangles
from segmend.segments.formats.text import MAX_NUMBER, Lines, face_array, fan, numbers, whole


def parse_obj(data: bytes, name: str) -> Triangles:
    """The triangles of an OBJ file, in its own units and axes.

    Polygons are cut into triangles from their first corner. Normals are kept if every corner of
    every face names one.

    Raises:
        BadInputError: for a line that is not well formed, or a corner that names no vertex.
    """
    lines = Lines(data, name)
    vertices, normals = array("d"), array("d")
    faces, face_normals = array("q"), array("q")
    for words in lines:
        if words[0] == b"v":
            vertices.extend(numbers(words[1:], 3, lines))
        elif words[0] == b"vn":
            normals.extend(numbers(words[1:], 3, lines))
        elif words[0] == b"f" and len(words) == 4 and _plain(words[1] + words[2] + words[3]):
            faces.extend((int(words[1]) - 1, int(words[2]) - 1, int(words[3]) - 1))
            face_normals.extend((_NONE, _NONE, _NONE))
        elif words[0] == b"f":
            counts = (len(vertices) // 3, len(normals) // 3)
            corners = [_corner(word, counts, lines) for word in words[1:]]
            if len(corners) < 3:
                raise lines.error(f"a face needs three corners, it has {len(corners)}")
            fan([corner for corner, _ in corners], faces)
            fan([normal for _, normal in corners], face_normals)
    positions = np.frombuffer(vertices, np.float64).reshape(-1, 3)
    numbered = face_array(faces, len(positions), name)
    if not len(face_normals) or min(face_normals) < 0:
        return Triangles(positions, numbered)
    directions = np.frombuffer(normals, np.float64).reshape(-1, 3)
    named = face_array(face_normals, len(directions), name)
    # A corner is a pair of position and normal: equal pairs become one vertex later.
    soup = np.arange(numbered.size, dtype=np.uint32).reshape(-1, 3)
    return Triangles(positions[numbered.ravel()], soup, directions[named.ravel()])


_NONE = -1


def _plain(words: bytes) -> bool:
    """Whether corners are short numbers of vertices and nothing else, as most are."""
    return words.isdigit() and len(words) <= MAX_NUMBER // 3


def _corner(word: bytes, counts: tuple[int, int], lines: Lines) -> tuple[int, int]:
    """Vertex and normal of a corner ``v``, ``v/vt``, ``v//vn`` or ``v/vt/vn``, from 0.

    The normal is -1 if none is named.
    """
    parts = word.split(b"/")
    if len(parts) > 3:
        raise lines.error("a corner has at most three numbers")
    vertex = _index(parts[0], counts[0], lines)
    if len(parts) < 3 or not parts[2]:
        return vertex, _NONE
    return vertex, _index(parts[2], counts[1], lines)


def _index(word: bytes, count: int, lines: Lines) -> int:
    """A number from 1, or from the end if negative, as one from 0."""
    number = whole(word, lines)
    index = number - 1 if number > 0 else count + number
    # Files may name vertices that come later; only the end of the file tells how many there are.
    if number == 0 or index < 0 or index > 2**32:
        raise lines.error(f"corner {number} names nothing")
    return index
