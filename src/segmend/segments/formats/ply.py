"""PLY files: ASCII and binary of both byte orders.

Format: G. Turk, "The PLY polygon file format", 1994.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.segments.canonical import Triangles
from segmend.segments.formats.text import Lines, face_array, fan, numbers, whole

MAX_HEADER = 1 << 16
"""Bytes within which a header must end."""

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_CORNERS = ("vertex_indices", "vertex_index")
_POSITION, _NORMAL = ("x", "y", "z"), ("nx", "ny", "nz")


@dataclass(frozen=True, slots=True)
class _Property:
    """One column.

    Attributes:
        name: For example ``x``.
        kind: NumPy type of a value.
        length: NumPy type of the length of a list; empty for a plain value.
    """

    name: str
    kind: str
    length: str = ""


@dataclass(frozen=True, slots=True)
class _Element:
    """Rows of one kind.

    Attributes:
        name: ``vertex``, ``face`` or another.
        count: Rows the header claims.
        properties: Columns in their order.
    """

    name: str
    count: int
    properties: list[_Property]

    @property
    def corners(self) -> int:
        """Place of the list of corners of a face, -1 if there is none."""
        names = [p.name if p.length else "" for p in self.properties]
        return next((i for i, name in enumerate(names) if name in _CORNERS), -1)


@dataclass(frozen=True, slots=True)
class _Header:
    order: str
    elements: list[_Element]
    stop: int
    lines: int


def parse_ply(data: bytes, name: str) -> Triangles:
    """The triangles of a PLY file, in its own units and axes.

    Polygons are cut into triangles from their first corner. Normals ``nx ny nz`` of vertices are
    kept. Elements other than vertices and faces are passed over.

    Raises:
        BadInputError: if the header is not well formed, claims more than the file holds, or lacks
            positions or corners; or if a row is not what the header says.
    """
    header = _header(data, name)
    read = _read_ascii if not header.order else _read_binary
    vertices, faces = read(data, header, name)
    if vertices is None or faces is None:
        raise BadInputError(
            f"{name} holds no mesh", found="elements 'vertex' and 'face' are needed"
        )
    element = next(element for element in header.elements if element.name == "vertex")
    columns = {prop.name: vertices[:, i] for i, prop in enumerate(element.properties)}
    positions = np.stack([columns[axis] for axis in _POSITION], axis=1)
    normals = None
    if all(axis in columns for axis in _NORMAL):
        normals = np.stack([columns[axis] for axis in _NORMAL], axis=1)
    return Triangles(positions, face_array(faces, len(positions), name), normals)


def _header(data: bytes, name: str) -> _Header:
    if data[:3] != b"ply":
        raise BadInputError(f"{name} is no PLY file", found=f"it starts with {data[:8]!r}")
    lines = Lines(data[:MAX_HEADER], name)
    order, elements = None, []
    for raw in lines:
        words = [word.decode("ascii", "replace") for word in raw]
        if words == ["end_header"]:
            break
        if words[0] == "format" and len(words) == 3 and words[1] in _ORDERS:
            order = _ORDERS[words[1]]
        elif words[0] == "element" and len(words) == 3:
            elements.append(_Element(words[1], whole(raw[2], lines), []))
        elif words[0] == "property" and elements:
            _add_property(words[1:], elements[-1], lines)
        elif words[0] not in ("ply", "comment", "obj_info"):
            raise lines.error(f"'{' '.join(words)[:80]}' has no place in a PLY header")
    else:
        raise BadInputError(f"the header of {name} does not end", found=f"{len(data)} bytes")
    header = _Header("?" if order is None else order, elements, lines.at, lines.number)
    _check_header(header, len(data) - lines.at, name)
    return header


def _add_property(words: list[str], element: _Element, lines: Lines) -> None:
    if len(words) == 2 and words[0] in _TYPES:
        element.properties.append(_Property(words[1], _TYPES[words[0]]))
    elif len(words) == 4 and words[0] == "list" and words[1] in _TYPES and words[2] in _TYPES:
        element.properties.append(_Property(words[3], _TYPES[words[2]], _TYPES[words[1]]))
    else:
        raise lines.error(f"'property {' '.join(words)[:80]}' is no property")


def _check_header(header: _Header, body: int, name: str) -> None:
    """Refuse what the file cannot hold before anything is made for it."""
    names = [element.name for element in header.elements]
    if header.order == "?" or len(set(names)) != len(names):
        raise BadInputError(
            f"the header of {name} must state one format and each element once",
            found=f"elements {names}",
        )
    for element in header.elements:
        # A value takes at least a digit and a blank; a list at least its length.
        sizes = [np.dtype(prop.length or prop.kind).itemsize for prop in element.properties]
        least = sum(sizes) if header.order else 2 * len(sizes)
        if not sizes or element.count < 0 or element.count * least > body + 1:
            raise BadInputError(
                f"{name} claims {element.count} rows of '{element.name}'",
                found=f"{body} bytes follow its header",
            )
        properties = [prop.name for prop in element.properties if not prop.length]
        once = all(properties.count(axis) == 1 for axis in _POSITION)
        if element.name == "vertex" and not (once and len(properties) == len(sizes)):
            raise BadInputError(
                f"vertices of {name} need x, y and z once each, and no lists", found=f"{properties}"
            )
        corners = element.properties[element.corners]
        whole_numbers = corners.kind[0] in "iu" and corners.length[:1] in ("i", "u")
        if element.name == "face" and (element.corners < 0 or not whole_numbers):
            raise BadInputError(f"faces of {name} need a list 'vertex_indices' of whole numbers")


_Read = tuple[NDArray[np.float64] | None, "array[int] | None"]


def _read_ascii(data: bytes, header: _Header, name: str) -> _Read:
    lines = Lines(data, name, header.stop, header.lines)
    rows = iter(lines)
    vertices, faces = None, None
    for element in header.elements:
        values, corners = array("d"), array("q")
        for _ in range(element.count):
            words = next(rows, None)
            if words is None:
                raise lines.error(f"the file ends before {element.count} rows of '{element.name}'")
            if element.name == "vertex":
                values.extend(numbers(words, len(element.properties), lines))
            elif element.name == "face":
                fan(_ascii_corners(words, element, lines), corners)
        if element.name == "vertex":
            vertices = np.frombuffer(values, np.float64).reshape(-1, len(element.properties))
        elif element.name == "face":
            faces = corners
    return vertices, faces


def _ascii_corners(words: list[bytes], element: _Element, lines: Lines) -> list[int]:
    at, found = 0, []
    for place, prop in enumerate(element.properties):
        length = 1
        if prop.length:
            length = whole(words[at], lines) if at < len(words) else -1
            at += 1
        if length < 0 or at + length > len(words):
            raise lines.error(f"'{prop.name}' is cut off")
        if place == element.corners:
            found = [whole(word, lines) for word in words[at : at + length]]
        at += length
    if len(found) < 3 or at != len(words):
        raise lines.error(f"{len(found)} corners and {len(words) - at} values too many")
    return found


def _read_binary(data: bytes, header: _Header, name: str) -> _Read:
    at, vertices, faces = header.stop, None, None
    for element in header.elements:
        # Lists of three are the rule: a row of them has one size, and most meshes nothing else.
        row = _row_type(element, header.order)
        stop = at + element.count * row.itemsize
        rows = np.frombuffer(data, row, element.count, at) if stop <= len(data) else None
        lengths = [f"n{i}" for i, prop in enumerate(element.properties) if prop.length]
        if rows is not None and all((rows[length] == 3).all() for length in lengths):
            at = stop
            if element.name == "vertex":
                columns = [rows[f"p{i}"] for i in range(len(element.properties))]
                vertices = np.stack([column.astype(np.float64) for column in columns], axis=1)
            elif element.name == "face":
                faces = array("q", rows[f"p{element.corners}"].astype(np.int64).tobytes())
        elif lengths:
            walked, at = _walk(data, at, element, header.order, name)
            faces = walked if element.name == "face" else faces
        else:
            raise _short(name, element)
    return vertices, faces


def _row_type(element: _Element, order: str) -> np.dtype[np.void]:
    """A row whose lists all have three items."""
    fields: list[tuple[str, str] | tuple[str, str, int]] = []
    for i, prop in enumerate(element.properties):
        if prop.length:
            fields += [(f"n{i}", order + prop.length), (f"p{i}", order + prop.kind, 3)]
        else:
            fields.append((f"p{i}", order + prop.kind))
    return np.dtype(fields)


def _walk(data: bytes, at: int, element: _Element, order: str, name: str) -> tuple[array[int], int]:
    """Row by row, where lists differ in length: corners as triangles, and where the rows end."""
    faces = array("q")
    types = [
        (np.dtype(order + prop.kind), np.dtype(order + prop.length) if prop.length else None)
        for prop in element.properties
    ]
    for _ in range(element.count):
        for place, (kind, length) in enumerate(types):
            count = 1
            if length is not None:
                if at + length.itemsize > len(data):
                    raise _short(name, element)
                count = int(np.frombuffer(data, length, 1, at)[0])
                at += length.itemsize
            if count < 0 or at + count * kind.itemsize > len(data):
                raise _short(name, element)
            if place == element.corners:
                if count < 3:
                    raise BadInputError(f"a face of {name} has {count} corners")
                fan(np.frombuffer(data, kind, count, at).tolist(), faces)
            at += count * kind.itemsize
    return faces, at


def _short(name: str, element: _Element) -> BadInputError:
    return BadInputError(
        f"{name} ends early", found=f"{element.count} rows of '{element.name}' are claimed"
    )
