"""Meshes that a data set serves: opened by URL, read by segment, box and pixel size."""

from __future__ import annotations

from pathlib import Path

import msgspec

from segmend.core.errors import BadInputError
from segmend.segments.formats.multires import MULTIRES_TYPE, multires_info
from segmend.segments.legacy_meshes import LegacyMeshes
from segmend.segments.mesh_source import MeshSource, Winding
from segmend.segments.multires_meshes import MultiresMeshes
from segmend.store.open import open_store
from segmend.store.store import Request, Store
from segmend.volumes.drivers.precomputed_shards import ShardedKeys

LEGACY_TYPE = "neuroglancer_legacy_mesh"
_TYPES = (MULTIRES_TYPE, LEGACY_TYPE)


def open_meshes(
    url: str | Path, *, legacy: bool = False, winding: Winding = "outward"
) -> MeshSource:
    """Open the meshes of a Neuroglancer precomputed data set.

    Args:
        url: The folder of the meshes, or of a segmentation whose ``info`` names one; a path,
            ``file://``, ``http(s)://``, ``s3://`` or ``gs://``, with or without
            ``precomputed://``.
        legacy: The folder holds single-resolution meshes and has no ``info`` to say so.
        winding: Where the stored triangles are counter-clockwise from: ``outward`` (as zmesh and
            igneous write them) or ``inward``. The formats do not say, and Neuroglancer lights both
            sides alike. Normals depend on it.

    Raises:
        BadInputError: if there is no ``info`` (and not ``legacy``), it describes no meshes, or the
            winding is another.
        ReadFailedError: if ``info`` cannot be read.
    """
    if winding not in ("outward", "inward"):
        raise BadInputError(f"triangles are wound 'outward' or 'inward', not '{winding}'")
    place = str(url).removeprefix("precomputed://").rstrip("/")
    store = open_store(place)
    if legacy:
        return LegacyMeshes(store, winding)
    info = store.read("info")
    if info is None:
        raise BadInputError(
            f"there are no meshes at {store.url}",
            found="no file 'info'",
            fix="Check the URL; single-resolution meshes without one are opened with legacy=True",
        )
    found = _described(info, f"{store.url}/info")
    if found.kind in _TYPES or not found.mesh:
        return _source(store, info, winding)
    # A volume, which says where its meshes lie; its word makes up for their info.
    Request(found.mesh)
    store = open_store(f"{place}/{found.mesh}")
    info = store.read("info")
    return LegacyMeshes(store, winding) if info is None else _source(store, info, winding)


class _Described(msgspec.Struct):
    kind: str = msgspec.field(name="@type", default="")
    mesh: str = ""


def _described(info: bytes, name: str) -> _Described:
    try:
        return msgspec.json.decode(info, type=_Described)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadInputError(f"{name} describes no meshes", found=str(error)) from error


def _source(store: Store, info: bytes, winding: Winding) -> MeshSource:
    name = f"{store.url}/info"
    kind = _described(info, name).kind
    if kind not in _TYPES:
        raise BadInputError(
            f"{name} describes no meshes",
            found=f"its '@type' is '{kind}' and it names no folder 'mesh'",
            fix=f"Meshes are of type {' or '.join(_TYPES)}",
        )
    if kind == LEGACY_TYPE:
        return LegacyMeshes(store, winding)
    read = multires_info(info, name)
    shards = None if read.sharding is None else ShardedKeys("", read.sharding)
    return MultiresMeshes(store, winding, read, shards)
