"""Draco meshes from strangers: what the header claims is checked before the native decoder runs.

A few bytes can claim billions of triangles, for which the decoder would reserve memory first.
Layout of the header: the Draco bitstream specification 2.2, sections "DecodeHeader",
"DecodeMetadata" and "DecodeConnectivityData".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, require

MAX_FACES = 20_000_000
"""Triangles of one fragment."""

_METADATA_FLAG = 0x8000
_SEQUENTIAL, _EDGEBREAKER = 0, 1
_DEPTH = 8


def decode_draco(data: bytes, name: str) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """Decode one Draco triangle mesh.

    Args:
        data: The encoded mesh.
        name: What errors call it.

    Returns:
        Positions as stored, float64 ``(n, 3)``, order ``(x, y, z)``, and faces, uint32 ``(m, 3)``.

    Raises:
        BadInputError: if this is no Draco mesh, claims more than its bytes can hold, is damaged,
            or has faces that name no vertex.
        MissingDependencyError: if DracoPy is not installed.
    """
    require("DracoPy", extra="build")
    import DracoPy

    claimed_faces, claimed_points = claimed_counts(data, name)
    try:
        mesh = DracoPy.decode(data)
    except (DracoPy.FileTypeException, ValueError, OverflowError, MemoryError) as error:
        raise BadInputError(f"{name} is a damaged Draco mesh", found=str(error)) from error
    points = np.asarray(mesh.points, np.float64)
    faces = np.asarray(mesh.faces)
    if points.ndim != 2 or points.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise BadInputError(
            f"{name} is no triangle mesh in space",
            found=f"points {points.shape}, faces {faces.shape}",
        )
    if len(faces) > claimed_faces or len(points) > max(claimed_points, 3 * claimed_faces):
        raise BadInputError(
            f"{name} holds more than its header says",
            found=f"{len(faces)} triangles, {claimed_faces} claimed",
        )
    if faces.size and not 0 <= int(faces.min()) <= int(faces.max()) < len(points):
        raise BadInputError(
            f"a face of {name} names vertex {faces.max()}", found=f"it has {len(points)} vertices"
        )
    return points, faces.astype(np.uint32)


def claimed_counts(data: bytes, name: str) -> tuple[int, int]:
    """How many triangles and vertices a Draco mesh says it holds.

    Raises:
        BadInputError: if this is no Draco 2.2 mesh or the counts cannot be true.
    """
    if data[:5] != b"DRACO" or len(data) < 12:
        raise BadInputError(f"{name} is no Draco file", found=f"it starts with {data[:8]!r}")
    version, kind, method = (data[5], data[6]), data[7], data[8]
    if version != (2, 2) or kind != 1 or method not in (_SEQUENTIAL, _EDGEBREAKER):
        raise BadInputError(
            f"{name} is no Draco mesh of bitstream 2.2",
            found=f"version {version}, encoder type {kind}, method {method}",
        )
    cursor = _Cursor(data, 11, name)
    if int.from_bytes(data[9:11], "little") & _METADATA_FLAG:
        _skip_metadata(cursor)
    if method == _EDGEBREAKER:
        cursor.skip(1)
        points, faces = cursor.varint(), cursor.varint()
    else:
        faces, points = cursor.varint(), cursor.varint()
    if faces > MAX_FACES or points > 3 * MAX_FACES:
        raise BadInputError(
            f"{name} claims {faces} triangles and {points} vertices",
            found=f"it has {len(data)} bytes; at most {MAX_FACES} triangles are read",
        )
    return faces, points


@dataclass(slots=True)
class _Cursor:
    data: bytes
    at: int
    name: str

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.data):
            raise BadInputError(f"{self.name} is truncated in its Draco header")

    def byte(self) -> int:
        self.skip(1)
        return self.data[self.at - 1]

    def varint(self) -> int:
        """An unsigned LEB128 number of at most 64 bits."""
        value = 0
        for shift in range(0, 64, 7):
            part = self.byte()
            value |= (part & 0x7F) << shift
            if part < 0x80:
                return value
        raise BadInputError(f"{self.name} holds an endless number in its Draco header")


def _skip_metadata(cursor: _Cursor) -> None:
    for _ in range(cursor.varint()):
        cursor.varint()
        _skip_entries(cursor, _DEPTH)
    _skip_entries(cursor, _DEPTH)


def _skip_entries(cursor: _Cursor, depth: int) -> None:
    """One block of named values and the blocks nested in it."""
    if depth == 0:
        raise BadInputError(f"{cursor.name} nests its metadata more than {_DEPTH} deep")
    for _ in range(cursor.varint()):
        cursor.skip(cursor.byte())
        cursor.skip(cursor.varint())
    for _ in range(cursor.varint()):
        cursor.skip(cursor.byte())
        _skip_entries(cursor, depth - 1)
