"""Open Zarr arrays and OME-Zarr images as volumes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError, require
from segmend.core.grid import VoxelGrid
from segmend.store.cache import cached
from segmend.store.open import open_store
from segmend.store.store import Request, Store
from segmend.volumes.chunked import ChunkedDriver
from segmend.volumes.drivers.ome_zarr import (
    Multiscale,
    Origin,
    Reference,
    find_multiscale,
    stated_scales,
)
from segmend.volumes.drivers.zarr2 import parse_zarray
from segmend.volumes.drivers.zarr3 import parse_zarr_json
from segmend.volumes.drivers.zarr_array import StoredArray, ZarrLayout
from segmend.volumes.drivers.zarr_shards import ShardedLayout, index_size
from segmend.volumes.metadata import canonical, check_path, join, probe_json, read_json
from segmend.volumes.named_axes import Axes
from segmend.volumes.placement import Placed, choose_axes, place, stated_by_attributes
from segmend.volumes.volume import Volume

FILES = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
"""What may describe a node, the newest version first."""


@dataclass(frozen=True, slots=True)
class _Node:
    """One node of a hierarchy: an array or a group.

    Attributes:
        path: Where in the store.
        version: 2 or 3.
        is_array: Whether it is an array.
        document: Its metadata.
        attributes: The user's attributes.
    """

    path: str
    version: Literal[2, 3]
    is_array: bool
    document: dict[str, Any]
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Asked:
    """How the caller wants a node opened."""

    placed: Placed
    multiscale: int | str | None
    origin: Origin
    absent: int | Literal["fill"] | None


def open_zarr(
    store: Store | str | Path,
    path: str = "",
    *,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    axes: Sequence[str] | None = None,
    take: Mapping[str, int] | None = None,
    absent: int | Literal["fill"] | None = None,
    multiscale: int | str | None = None,
    origin: Origin = "center",
) -> Volume:
    """Open a Zarr array (version 2 or 3, sharded or not) or an OME-Zarr image (0.4 or 0.5).

    Arrays are read by segmend's own engine; bool is read as uint8. A chunk that is not stored is
    *certified absent*: Zarr says that it counts as the array's fill value, and writers leave out
    chunks that hold nothing else. segmend takes nobody's word for it but the caller's, see
    ``absent``.

    Args:
        store: A store, or the path or URL of one.
        path: The array or the image group within it.
        voxel_size: nm per voxel ``(z, y, x)`` of the array, or of the first scale of an image;
            needed where the metadata do not say (OME units; attributes ``resolution`` or
            ``voxel_size``), else it must agree.
        offset: Corner of the first voxel, nm ``(z, y, x)``, likewise.
        axes: Names of the axes in their stored order, for example ``"xyz"``; where the metadata
            name none and it is not given, three axes are taken as z, y, x.
        take: Element to take of each axis that is not z, y or x, for example ``{"c": 0}``.
        absent: What absent voxels count as in bare arrays; ``"fill"``: the array's fill value.
        multiscale: Which image of a group that holds several, by name or number.
        origin: What OME translations name: the centre of the first voxel, as OME-Zarr says, or the
            ``corner``, as some writers mean.

    Returns:
        The array, or the first scale of the image; `Volume.at` chooses others.

    Raises:
        ReadFailedError: if nothing is there, or it cannot be read.
        SchemaError: if it is no volume, or does not say how large its voxels are.
        BadInputError: for arguments that do not fit it.
    """
    require("numcodecs", extra="build")
    root = store if isinstance(store, Store) else open_store(store)
    placed = Placed(voxel_size, offset, axes, take or {})
    asked = _Asked(placed, multiscale, origin, absent)
    node = _read_node(root, path.strip("/"))
    if node is None:
        where = join(root.url, path)
        raise ReadFailedError(
            f"there is no Zarr array or group at {where}",
            found=f"none of {', '.join(FILES)} is there",
            fix="Check the path; it ends at the folder that holds one of these files",
            reason="missing",
            url=where,
        )
    return _open_array(root, node, asked) if node.is_array else _open_group(root, node, asked)


def _read_node(store: Store, path: str) -> _Node | None:
    check_path(store, path)
    found = probe_json(store, [join(path, name) for name in FILES])
    if found is None:
        return None
    name, document = FILES[found[0]], found[1]
    if name == "zarr.json":
        attributes = document.get("attributes", {})
        if not isinstance(attributes, dict):
            raise SchemaError(f"{join(store.url, path, name)} has unusable attributes")
        is_group = document.get("node_type") == "group"
        return _Node(path, 3, not is_group, document, attributes)
    attributes = document if name == ".zattrs" else read_json(store, [join(path, ".zattrs")])[0]
    return _Node(path, 2, name == ".zarray", document, attributes or {})


def _parse(node: _Node, store: Store) -> StoredArray:
    where = join(store.url, node.path)
    if node.version == 3:
        return parse_zarr_json(node.document, path=node.path, where=where)
    return parse_zarray(node.document, node.attributes, path=node.path, where=where)


def _open_array(store: Store, node: _Node, asked: _Asked) -> Volume:
    """One array: its own attributes place it, or the image that it is a scale of."""
    where = join(store.url, node.path)
    array = _parse(node, store)
    group, _, name = node.path.rpartition("/")
    if not {"resolution", "voxel_size"} & array.attributes.keys() and name:
        parent = _read_node(store, group)
        image = parent and find_multiscale(parent.attributes, chosen=asked.multiscale, where=where)
        if parent and image and name in image.paths:
            return _open_image(store, parent, image, asked, first=image.paths.index(name))
    axes = choose_axes(array.shape, array.names, asked.placed, where=where)
    stated = stated_by_attributes(array.attributes, axes, where)
    grid = place(axes.zyx(array.shape), stated, asked.placed, where)
    own = cached(store, *canonical([node.document, node.attributes]))
    driver = ChunkedDriver(own, _layout(array, axes, grid))
    return Volume(driver, absent=_absent([array], asked, where))


def _open_group(store: Store, node: _Node, asked: _Asked) -> Volume:
    where = join(store.url, node.path)
    image = find_multiscale(node.attributes, chosen=asked.multiscale, where=where)
    if image is None:
        ome = node.attributes.get("ome")
        labels = (ome if isinstance(ome, dict) else node.attributes).get("labels")
        raise SchemaError(
            f"{where} is a Zarr group without a multiscale image",
            found=f"labels {labels}; attributes: {sorted(node.attributes) or 'none'}",
            fix="Name an array or an image in it with path=",
        )
    return _open_image(store, node, image, asked, first=0)


def _open_image(
    store: Store, group: _Node, image: Multiscale, asked: _Asked, *, first: int
) -> Volume:
    where = join(store.url, group.path)
    for path in image.paths:
        try:
            Request(join(group.path, path))
        except BadInputError as error:
            raise SchemaError(f"{where} has a scale at '{path}'", found=str(error)) from error
    nodes = _scale_nodes(store, group, image, where)
    arrays = [_parse(node, store) for node in nodes]
    if len({array.volume_dtype for array in arrays}) > 1:
        raise SchemaError(
            f"the scales of {where} do not hold the same",
            found=f"dtypes {[str(array.volume_dtype) for array in arrays]}",
        )
    every = [choose_axes(a.shape, image.axis_names, asked.placed, where=where) for a in arrays]
    reference = Reference(first, asked.placed, asked.origin)
    stated = stated_scales(image, every[0], reference, where)
    own = cached(store, *canonical([group.attributes, *(node.document for node in nodes)]))
    drivers = []
    for number, (array, axes, said) in enumerate(zip(arrays, every, stated, strict=True)):
        placed = asked.placed if number == first else Placed()
        grid = place(axes.zyx(array.shape), said, placed, join(where, image.paths[number]))
        drivers.append(ChunkedDriver(own, _layout(array, axes, grid)))
    finest = sorted(drivers, key=lambda driver: math.prod(driver.grid.voxel_size_pm))
    return Volume(drivers[first], tuple(finest), _absent(arrays, asked, where))


def _scale_nodes(store: Store, group: _Node, image: Multiscale, where: str) -> list[_Node]:
    paths = [join(group.path, path) for path in image.paths]
    name = "zarr.json" if group.version == 3 else ".zarray"
    documents = read_json(store, [join(path, name) for path in paths])
    nodes = []
    for path, document in zip(paths, documents, strict=True):
        if document is None:
            raise SchemaError(
                f"{where} lists a scale that is not there",
                found=f"{join(store.url, path, name)} does not exist",
                fix="The copy may be incomplete: fetch it again",
            )
        nodes.append(_Node(path, group.version, True, document, {}))
    return nodes


def _layout(array: StoredArray, axes: Axes, grid: VoxelGrid) -> ZarrLayout:
    if array.inner is None:
        return ZarrLayout(array, axes, grid)
    index_size(array.inner, array)
    return ShardedLayout(array, axes, grid)


def _absent(arrays: Sequence[StoredArray], asked: _Asked, where: str) -> int | None:
    """What absent voxels count as; a fill value only where the caller asked for it."""
    if asked.absent != "fill":
        return asked.absent
    found = {repr(array.fill_value): array for array in arrays}
    array = arrays[0]
    value = array.fill_value
    if len(found) == 1 and isinstance(value, bool | int | float) and math.isfinite(value):
        whole = int(value)
        if whole == value and _fits(whole, array.volume_dtype):
            return whole
    raise BadInputError(
        f"{where} has no fill value that a volume can take",
        found=f"fill_value {', '.join(found)} of {array.dtype}",
        fix="Say with absent= what absent voxels count as",
    )


def _fits(value: int, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return limits.min <= value <= limits.max
