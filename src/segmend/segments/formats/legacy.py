"""Neuroglancer's single-resolution ("legacy") meshes: manifests and fragments.

Format: https://neuroglancer-docs.web.app/datasource/precomputed/mesh.html, "Legacy
single-resolution mesh format".
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError


class _Manifest(msgspec.Struct):
    fragments: list[str]


def legacy_manifest(data: bytes, name: str) -> tuple[str, ...]:
    """The fragments that make up a segment's mesh.

    Args:
        data: Content of ``{segment id}:0``.
        name: What errors call it.

    Raises:
        BadInputError: if this is no JSON object with a list of names ``fragments``.
    """
    try:
        manifest = msgspec.json.decode(data, type=_Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadInputError(f"{name} is no mesh manifest", found=str(error)) from error
    return tuple(manifest.fragments)


def legacy_fragment(data: bytes, name: str) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Decode one fragment.

    Args:
        data: uint32 number of vertices, float32 positions, uint32 faces, little-endian.
        name: What errors call it.

    Returns:
        Positions, float32 ``(n, 3)``, nm, ``(x, y, z)``, and faces, uint32 ``(m, 3)``.

    Raises:
        BadInputError: if the size does not fit the number of vertices, or a face names a vertex
            that does not exist.
    """
    if len(data) < 4:
        raise BadInputError(f"{name} is no mesh fragment", found=f"it has {len(data)} bytes")
    count = int.from_bytes(data[:4], "little")
    start = 4 + 12 * count
    if start > len(data) or (len(data) - start) % 12:
        raise BadInputError(
            f"{name} is truncated or no mesh fragment",
            found=f"{count} vertices claimed in {len(data)} bytes",
        )
    vertices = np.frombuffer(data, "<f4", 3 * count, 4).reshape(-1, 3)
    faces = np.frombuffer(data, "<u4", offset=start).reshape(-1, 3)
    if faces.size and int(faces.max()) >= count:
        raise BadInputError(
            f"a face of {name} names vertex {int(faces.max())}", found=f"it has {count} vertices"
        )
    return vertices, faces
