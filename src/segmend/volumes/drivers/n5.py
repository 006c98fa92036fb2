"""Open N5 data sets and multiscale groups as volumes.

Groups as in https://github.com/saalfeldlab/n5-viewer: scales ``s0``, ``s1``, ... that lie corner on
corner, each with ``downsamplingFactors`` relative to ``s0`` (or ``scales`` in the group), and one
``pixelResolution`` or ``resolution``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmend.core.box import Point, Triple, picometres
from segmend.core.errors import ReadFailedError, SchemaError, require
from segmend.store.cache import cached
from segmend.store.open import open_store
from segmend.store.store import Store
from segmend.volumes.chunked import ChunkedDriver
from segmend.volumes.drivers.n5_array import N5Layout, parse_attributes
from segmend.volumes.drivers.zarr_array import StoredArray
from segmend.volumes.metadata import canonical, check_path, join, read_json
from segmend.volumes.named_axes import Axes
from segmend.volumes.placement import (
    Placed,
    choose_axes,
    nm_per_unit,
    place,
    spatial_numbers,
    stated_by_attributes,
)
from segmend.volumes.stated import Stated
from segmend.volumes.volume import Volume

FILE = "attributes.json"

MAX_SCALES = 16
"""Scales that are looked for: the last has 2^15 times fewer voxels along an axis than the first."""

ONES: Point = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class _Scale:
    """One data set, with what its attributes say of its place.

    Attributes:
        where: Store and path, for messages.
        document: The attributes.
        array: Its blocks.
        axes: Its axes.
        stated: Voxel size and offset in its own attributes.
        factors: How many voxels of the first scale one of its is, ``(z, y, x)``; None: not said.
    """

    where: str
    document: dict[str, Any]
    array: StoredArray
    axes: Axes
    stated: Stated
    factors: Point | None

    @property
    def shape(self) -> Triple:
        """Voxels ``(z, y, x)``."""
        return self.axes.zyx(self.array.shape)

    @property
    def complete(self) -> bool:
        """Whether its voxel size is beyond doubt.

        Of a downsampled data set, some writers give the voxel size of the first scale.
        """
        return self.stated.voxel_size is not None and self.factors in (None, ONES)


def open_n5(
    store: Store | str | Path,
    path: str = "",
    *,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    axes: Sequence[str] | None = None,
    take: Mapping[str, int] | None = None,
    absent: int | None = None,
) -> Volume:
    """Open an N5 data set, or a group of scales ``s0``, ``s1``, ...

    A block that is not stored is *certified absent*: N5 says that it counts as 0, and writers leave
    out blocks that hold nothing else. segmend takes nobody's word for it but the caller's.

    Args:
        store: A store, or the path or URL of one.
        path: The data set or the group within it.
        voxel_size: nm per voxel ``(z, y, x)`` of the data set, or of ``s0`` of a group; needed
            where the attributes do not say (``pixelResolution`` with its unit; ``resolution`` or
            ``voxel_size`` in nm), else it must agree.
        offset: Corner of the first voxel, nm ``(z, y, x)``, likewise.
        axes: Names of the axes in their stored order, the fastest first; where the attributes name
            none and it is not given, three axes are taken as x, y, z.
        take: Element to take of each axis that is not z, y or x, for example ``{"c": 0}``.
        absent: What absent voxels count as in bare arrays.

    Returns:
        The data set or ``s0``; `Volume.at` chooses other scales.

    Raises:
        ReadFailedError: if nothing is there, or it cannot be read.
        SchemaError: if it is no volume, or does not say how large its voxels are.
        BadInputError: for arguments that do not fit it.
    """
    require("numcodecs", extra="build")
    root = store if isinstance(store, Store) else open_store(store)
    placed = Placed(voxel_size, offset, axes, take or {})
    path = path.strip("/")
    check_path(root, path)
    (document,) = read_json(root, [join(path, FILE)])
    if document is None or "dimensions" not in document:
        return _open_group(root, path, document or {}, placed, absent)
    scale = _read(document, path, placed, root)
    group, _, name = path.rpartition("/")
    if not scale.complete and voxel_size is None and re.fullmatch(r"s\d{1,2}", name):
        volume = _as_scale(root, group, name, placed, absent)
        if volume is not None:
            return volume
    stated = scale.stated if scale.complete else Stated(None, scale.stated.offset)
    own = cached(root, *canonical([document]))
    return Volume(_driver(own, scale, stated, placed), absent=absent)


def _as_scale(
    store: Store, group: str, name: str, placed: Placed, absent: int | None
) -> Volume | None:
    """A data set as a scale of its group; None if the group does not hold it as one."""
    above, first = read_json(store, [join(group, FILE), join(group, "s0", FILE)])
    if first is None:
        return None
    volume = _open_group(store, group, above or {}, placed, absent)
    source = join(store.url, group, name)
    found = [driver for driver in volume.scales if driver.source == source]
    return Volume(found[0], volume.scales, absent) if found else None


def _open_group(
    store: Store, path: str, group: dict[str, Any], placed: Placed, absent: int | None
) -> Volume:
    """A group of scales."""
    where = join(store.url, path)
    paths = [join(path, f"s{number}") for number in range(MAX_SCALES)]
    documents = read_json(store, [join(name, FILE) for name in paths])
    scales = []
    for name, document in zip(paths, documents, strict=True):
        if document is None:
            break
        scales.append(_read(document, name, placed, store))
    if not scales:
        raise ReadFailedError(
            f"there is no N5 data set or group of scales at {where}",
            found=f"neither {FILE} with 'dimensions', nor s0/{FILE}",
            fix="Check the path; it ends at the folder that holds one of these files",
            reason="missing",
            url=where,
        )
    first = _agreed(_stated(group, scales[0].axes, where), scales[0].stated, where)
    base = place(scales[0].shape, first, placed, scales[0].where)
    own = cached(store, *canonical([group, *(scale.document for scale in scales)]))
    drivers = [_driver(own, scales[0], Stated(base.voxel_size, base.offset), Placed())]
    for number, scale in enumerate(scales[1:], start=1):
        factors = scale.factors or _listed_factors(group, number, scale.axes, where)
        size = _size(scale, factors, base.voxel_size)
        _check_shape(scale, size, scales[0].shape, base.voxel_size)
        stated = Stated(size, scale.stated.offset or base.offset)
        drivers.append(_driver(own, scale, stated, Placed()))
    return Volume(drivers[0], tuple(drivers), absent)


def _read(document: dict[str, Any], path: str, placed: Placed, store: Store) -> _Scale:
    where = join(store.url, path)
    array = parse_attributes(document, path=path, where=where)
    axes = choose_axes(array.shape, array.names, placed, where=where, habit=("x", "y", "z"))
    factors = None
    if "downsamplingFactors" in document:
        factors = spatial_numbers(document, "downsamplingFactors", axes, where)
    return _Scale(where, document, array, axes, _stated(document, axes, where), factors)


def _driver(store: Store, scale: _Scale, stated: Stated, placed: Placed) -> ChunkedDriver:
    grid = place(scale.shape, stated, placed, scale.where)
    return ChunkedDriver(store, N5Layout(scale.array, scale.axes, grid))


def _stated(document: Mapping[str, Any], axes: Axes, where: str) -> Stated:
    """Voxel size and offset in attributes; a ``pixelResolution`` without a unit says nothing."""
    plain = stated_by_attributes(document, axes, where)
    pixel = document.get("pixelResolution")
    if not isinstance(pixel, dict):
        return plain
    scale = nm_per_unit(pixel.get("unit"), where)
    z, y, x = spatial_numbers(pixel, "dimensions", axes, f"'pixelResolution' of {where}")
    return _agreed(plain, Stated((z * scale, y * scale, x * scale)), where)


def _agreed(one: Stated, other: Stated, where: str) -> Stated:
    """What two places say together.

    Raises:
        SchemaError: if they contradict each other.
    """
    for a, b in ((one.voxel_size, other.voxel_size), (one.offset, other.offset)):
        if a is not None and b is not None and picometres(a) != picometres(b):
            raise SchemaError(
                f"{where} contradicts itself",
                found=f"{tuple(a)} and {tuple(b)} nm (z, y, x)",
                fix="Correct the attributes 'pixelResolution', 'resolution' or 'offset'",
            )
    return Stated(one.voxel_size or other.voxel_size, one.offset or other.offset)


def _listed_factors(group: Mapping[str, Any], number: int, axes: Axes, where: str) -> Point | None:
    """The group's list of factors, as older writers have it."""
    listed = group.get("scales")
    if not isinstance(listed, list) or number >= len(listed):
        return None
    return spatial_numbers({"scales": listed[number]}, "scales", axes, where)


def _size(scale: _Scale, factors: Point | None, base: Point) -> Point:
    """Voxel size of a downsampled scale, whichever way its attributes put it."""
    own = scale.stated.voxel_size
    if factors is None:
        if own is None:
            raise SchemaError(
                f"{scale.where} does not say how much it is downsampled",
                fix="Write its 'downsamplingFactors', or open s0 alone",
            )
        return (own[0], own[1], own[2])
    size = (base[0] * factors[0], base[1] * factors[1], base[2] * factors[2])
    if own is not None and picometres(own) not in (picometres(base), picometres(size)):
        raise SchemaError(
            f"{scale.where} contradicts itself",
            found=f"voxels of {tuple(own)} nm; {factors} times {base} nm is {size} (z, y, x)",
            fix="Correct its 'downsamplingFactors' or 'pixelResolution'",
        )
    return size


def _check_shape(scale: _Scale, size: Point, whole: Triple, base: Point) -> None:
    """A scale covers what the first one does, to within one of its voxels."""
    extents = zip(scale.shape, size, whole, base, strict=True)
    if any(abs(n * a - m * b) > a for n, a, m, b in extents):
        raise SchemaError(
            f"{scale.where} is no scale of s0",
            found=f"{scale.shape} voxels of {size} nm against {whole} of {base} nm (z, y, x)",
            fix="Correct its 'downsamplingFactors'",
        )
