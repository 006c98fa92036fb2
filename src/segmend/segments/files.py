"""Meshes from files that say nothing of units: OBJ, PLY and STL."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from segmend.core.errors import BadInputError, ReadFailedError, UnknownNameError
from segmend.segments.canonical import Triangles, assemble
from segmend.segments.formats.obj import parse_obj
from segmend.segments.formats.ply import parse_ply
from segmend.segments.formats.stl import parse_stl
from segmend.segments.mesh import Mesh

Axes = Literal["xyz", "zyx"]

MAX_BYTES = 2**31
"""Larger files are refused; a binary STL of 40 million triangles fits."""

_PARSERS: dict[str, Callable[[bytes, str], Triangles]] = {
    ".obj": parse_obj,
    ".ply": parse_ply,
    ".stl": parse_stl,
}


def read_mesh(path: str | Path, *, unit_nm: float, axes: Axes = "xyz") -> Mesh:
    """Read a mesh file; its suffix tells the format.

    Normals of vertices are kept where the file has them (OBJ, PLY); otherwise they are smooth.

    Args:
        path: A file ``.obj``, ``.ply`` or ``.stl``.
        unit_nm: Length of the file's unit in nm. The formats do not say, so there is no default.
        axes: What the three numbers of a position are; these formats mean ``xyz``. Files written
            from arrays without turning them round hold ``zyx``. Triangles are taken as
            counter-clockwise from outside in the file's own frame, as the formats demand.

    Returns:
        The mesh in nm, in canonical form.

    Raises:
        BadInputError: if the file is not what its suffix says, is damaged, or is above 2 GiB; or
            for a unit that is not positive.
        UnknownNameError: for another suffix or axes.
        ReadFailedError: if the file cannot be read.
    """
    path = Path(path)
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None or axes not in ("xyz", "zyx"):
        raise UnknownNameError(
            f"{path} cannot be read as a mesh with axes '{axes}'",
            fix=f"Formats are {', '.join(_PARSERS)}; axes are 'xyz' or 'zyx'",
        )
    if not (math.isfinite(unit_nm) and unit_nm > 0):
        raise BadInputError(f"the unit of {path} must have a length, got {unit_nm} nm")
    read = parse(_content(path), str(path))
    turned = slice(None, None, -1) if axes == "xyz" else slice(None)
    # A frame (z, y, x) taken for a right-handed one is a mirror: outside becomes inside.
    faces = read.faces if axes == "xyz" else read.faces[:, ::-1]
    normals = None if read.normals is None else read.normals[:, turned]
    return assemble(Triangles(read.positions[:, turned] * unit_nm, faces, normals), str(path))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error), url=str(path)) from error
    if len(data) > MAX_BYTES:
        raise BadInputError(f"{path} is too large", found=f"more than {MAX_BYTES >> 30} GiB")
    return data
