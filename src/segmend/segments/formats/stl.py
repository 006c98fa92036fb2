"""STL files, binary and ASCII: triangles without shared vertices or units.

Format: 3D Systems, "StereoLithography interface specification", 1989. Facet normals repeat what the
winding says (many writers leave them zero) and are not read.
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.segments.canonical import Triangles
from segmend.segments.formats.text import Lines, numbers

_HEAD = 84
_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def parse_stl(data: bytes, name: str) -> Triangles:
    """The triangles of an STL file, in its own units and axes.

    Raises:
        BadInputError: if a binary file's size is not what its count says, or an ASCII file is not
            well formed to its end.
    """
    # Binary files may begin with "solid" too; only their size tells.
    count = int.from_bytes(data[80:_HEAD], "little") if len(data) >= _HEAD else -1
    if len(data) == _HEAD + _RECORD.itemsize * count:
        corners = np.frombuffer(data, _RECORD, count, _HEAD)["corners"].reshape(-1, 3)
    elif data[:5].lower() == b"solid":
        corners = _ascii(Lines(data, name))
    else:
        raise BadInputError(
            f"{name} is truncated or no STL file",
            found=f"{len(data)} bytes, {max(count, 0)} triangles claimed",
        )
    faces = np.arange(len(corners), dtype=np.uint32).reshape(-1, 3)
    return Triangles(corners.astype(np.float64), faces)


_FACET = (b"facet", b"outer", b"vertex", b"vertex", b"vertex", b"endloop", b"endfacet")


def _ascii(lines: Lines) -> NDArray[np.float64]:
    corners = array("d")
    step = -1  # the title comes first
    for words in lines:
        keyword = words[0].lower()
        if step == -1 or (step == 0 and keyword == b"solid"):
            step = 0
        elif step == 0 and keyword == b"endsolid":
            step = -2
            break
        elif keyword != _FACET[step]:
            raise lines.error(f"'{_FACET[step].decode()}' was expected")
        else:
            if keyword == b"vertex":
                corners.extend(numbers(words[1:], 3, lines))
            step = (step + 1) % len(_FACET)
    if step != -2:
        raise lines.error("the file ends before 'endsolid'")
    return np.frombuffer(corners, np.float64).reshape(-1, 3)
