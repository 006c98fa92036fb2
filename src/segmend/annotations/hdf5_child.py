"""The HDF5 library, in a child process: tables as MATLAB writes them.

HDF5 is C that trusts its input, so it never runs in the process that opens a file
(`segmend.store.sandbox`). Numbers leave here as they are stored: what they mean is decided by the
parent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from segmend.annotations.hdf5_cells import Cells, Start, find_cells
from segmend.store.sandboxed import serve

MAX_MEMBERS = 50_000_000
"""Cells of a cell array."""

MAX_ATTRIBUTES = 256
"""Categories of a categorical: their codes are uint8."""

MAX_VECTOR = 16
"""Numbers of an attribute."""

CELL_BYTES = 2**26
"""Bytes of cells sent at a time, apart from the last one."""

MAX_CELL_BYTES = 2**29
"""Bytes of one cell; a larger one is refused."""

EXPANSION = 1100
"""Bytes a stored byte can inflate to at most (deflate: 1032)."""


class UnfitError(ValueError):
    """A file that is whole but is not what the tables should be; the message says why."""


def array(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a data set is: shape, dtype, and its attributes that are single whole numbers."""
    dataset = _dataset(_file(request), request["key"])
    return {
        "shape": list(dataset.shape),
        "dtype": dataset.dtype.str,
        "attributes": _whole_attributes(dataset),
    }


def rows(request: Mapping[str, Any]) -> dict[str, Any]:
    """Part of a data set along one axis, in the machine's byte order."""
    dataset = _dataset(_file(request), request["key"])
    part = [slice(None)] * len(dataset.shape)
    part[request["axis"]] = slice(request["start"], request["stop"])
    values = dataset[tuple(part)]
    return {"data": np.ascontiguousarray(values, values.dtype.newbyteorder("=")).data}


def present(request: Mapping[str, Any]) -> dict[str, Any]:
    """Which of some keys lead to a group or data set, along hard links."""
    file = _file(request)

    def leads(key: str) -> bool:
        try:
            _item(file, key)
        except UnfitError:
            return False
        return True

    return {"present": [key for key in request["keys"] if leads(key)]}


def vector(request: Mapping[str, Any]) -> dict[str, Any]:
    """An attribute of a group or data set that is a few numbers; nothing if there is none."""
    item = _item(_file(request), request["key"])
    if request["name"] not in item.attrs:
        return {"values": None}
    attribute = item.attrs.get_id(request["name"])
    if attribute.dtype.kind not in "iuf" or math.prod(attribute.shape) > MAX_VECTOR:
        raise UnfitError(f"its attribute '{request['name']}' is no short row of numbers")
    return {"values": [float(v) for v in np.asarray(item.attrs[request["name"]]).reshape(-1)]}


def members(request: Mapping[str, Any]) -> dict[str, Any]:
    """How many cells a cell array has, or which names keep it from being one."""
    group = _group(_file(request), request["key"])
    count = len(group)
    if count > MAX_MEMBERS:
        raise UnfitError(f"it has {count} members")
    odd: list[str] = []

    def note(name: bytes) -> int:
        text = name.decode("utf-8", "replace")
        plain = text.isascii() and text.isdigit() and not text.startswith("0")
        # Names are unique: if all are of 1 to count, all of them are there.
        if not plain or not 1 <= int(text) <= count:
            odd.append(text[:80])
        return 1 if len(odd) >= 5 else 0

    group.id.links.iterate(note)
    return {"count": count, "odd": odd}


def cells(request: Mapping[str, Any]) -> dict[str, Any]:
    """Data sets ``1`` ... of a cell array, or one field of each, one after the other.

    Ends early once enough bytes came together; ``dims`` says how many cells it holds: int64
    ``(n, 2)``, where -1 stands for an axis that there is not.
    """
    group = _group(_file(request), request["key"])
    field, start, stop = request["field"], request["start"], request["stop"]
    plain = _plain_cells(request, group)
    if plain is not None:
        ends = np.cumsum(plain.sizes[start:stop])
        stop = min(stop, start + int(np.searchsorted(ends, CELL_BYTES)) + 1)
        dims = plain.dims[start:stop]
        return {
            "data": plain.read(start, stop),
            "dims": _two_axes(dims).tobytes(),
            "dtype": plain.dtype.str,
        }
    parts: list[bytes] = []
    shapes: list[tuple[int, ...]] = []
    dtype, total = "", 0
    for number in range(start + 1, stop + 1):
        values = _cell(group, number, field)
        if dtype and values.dtype.str != dtype:
            raise UnfitError(f"cell {number} holds {values.dtype.str}, those before {dtype}")
        dtype = values.dtype.str
        parts.append(values.tobytes())
        shapes.append(values.shape or (1,))
        total += values.nbytes
        if total > CELL_BYTES:
            break
    dims = np.array([(*shape, -1)[:2] for shape in shapes], np.int64)
    return {"data": b"".join(parts), "dims": dims.tobytes(), "dtype": dtype}


_found: dict[tuple[str, str, str, str], Cells | None] = {}
"""The cells of the last cell array, by path, stamp, key and field."""


def _plain_cells(request: Mapping[str, Any], group: Any) -> Cells | None:
    key = (request["path"], request["stamp"], request["key"], request["field"])
    if key not in _found:
        _found.clear()
        start = _start(group, request["field"])
        cells = find_cells(request["path"], start) if start else None
        if cells is not None and cells.sizes.max() > MAX_CELL_BYTES:
            cells = None  # HDF5 says which one
        _found[key] = cells
    return _found[key]


def _start(group: Any, field: str) -> Start | None:
    """What HDF5 says of a cell array; None if its first cell, or its field, is no data set here."""
    first = group.id
    for name in (b"1", field.encode()) if field else (b"1",):
        if not isinstance(first, h5py.h5g.GroupID) or name not in first:
            return None
        if first.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            return None
        first = h5py.h5o.open(first, name)
    if not isinstance(first, h5py.h5d.DatasetID):
        return None
    base = group.file.id.get_create_plist().get_userblock()
    return Start(base, h5py.h5o.get_info(group.id).addr, first.dtype, first.rank, field)


def _two_axes(dims: Any) -> Any:
    """Dims of one or two axes as dims of two."""
    none = np.full((len(dims), 2 - dims.shape[1]), -1, np.int64)
    return np.ascontiguousarray(np.concatenate([dims, none], axis=1))


def _cell(group: Any, number: int, field: str) -> Any:
    """One cell, through the low-level interface: there are hundreds of thousands."""
    name = str(number).encode()
    where = group.id
    if field:
        _check_link(where, name, number)
        where, name = h5py.h5o.open(where, name), field.encode()
        if not isinstance(where, h5py.h5g.GroupID):
            raise UnfitError(f"cell {number} is no group with a '{field}'")
        if not where.links.exists(name):
            raise UnfitError(f"cell {number} has no '{field}'")
    _check_link(where, name, number)
    dataset = h5py.h5d.open(where, name)
    dtype, shape = dataset.dtype, dataset.shape
    _check_stored(dataset, shape, dtype, f"cell {number}")
    if len(shape) > 2:
        raise UnfitError(f"cell {number} has {len(shape)} axes")
    if math.prod(shape) * dtype.itemsize > MAX_CELL_BYTES:
        raise UnfitError(f"cell {number} has {math.prod(shape)} elements")
    values = np.empty(shape, dtype.newbyteorder("="))
    if values.size:
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values


def _check_link(group: Any, name: bytes, number: int) -> None:
    if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
        raise UnfitError(f"cell {number} is a link to somewhere else")


_kept: dict[tuple[str, str], Any] = {}
"""The file of the last request, by path and stamp."""


def _file(request: Mapping[str, Any]) -> Any:
    key = (request["path"], request["stamp"])
    if key not in _kept:
        # Closed first: of a changed file HDF5 would otherwise show what it remembers.
        for file in _kept.values():
            file.close()
        _kept.clear()
        # Not locked: others may write the file, and the parent then notices that it has changed.
        _kept[key] = h5py.File(request["path"], "r", locking=False)
    return _kept[key]


def _item(file: Any, key: str) -> Any:
    """What lies at a key, following hard links only: MATLAB writes no others."""
    item, way = file["/"], ""
    for part in key.strip("/").split("/"):
        way += f"/{part}"
        link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None:
            raise UnfitError(f"there is no '{way}'")
        if not isinstance(link, h5py.HardLink):
            raise UnfitError(f"'{way}' is a link to somewhere else")
        item = item[part]
    return item


def _group(file: Any, key: str) -> Any:
    item = _item(file, key)
    if not isinstance(item, h5py.Group):
        raise UnfitError(f"'{key}' is no group")
    return item


def _dataset(file: Any, key: str) -> Any:
    item = _item(file, key)
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        raise UnfitError(f"'{key}' is no data set")
    _check_stored(item.id, item.shape, item.dtype, f"'{key}'")
    return item


def _check_stored(dataset: Any, shape: tuple[int, ...], dtype: Any, what: str) -> None:
    """Refuse what lies elsewhere, and what was never written: HDF5 would invent fill values."""
    if dtype.kind not in "iuf":
        raise UnfitError(f"{what} holds {dtype}, not plain numbers")
    plist = dataset.get_create_plist()
    layout = plist.get_layout()
    if plist.get_external_count() or layout == h5py.h5d.VIRTUAL:
        raise UnfitError(f"{what} lies in other files")
    size = math.prod(shape)
    if not size:
        return
    stored = dataset.get_storage_size()
    filters = plist.get_nfilters()
    room = stored * EXPANSION ** min(filters, 2) if filters else stored
    if stored == 0 or size * dtype.itemsize > room:
        raise UnfitError(f"{what} has {size} elements in {stored} bytes: it is not all written")
    if layout == h5py.h5d.CHUNKED:
        grid = (-(-n // c) for n, c in zip(shape, plist.get_chunk(), strict=True))
        if dataset.get_num_chunks() != math.prod(grid):
            raise UnfitError(f"{what} has chunks that were never written")


def _whole_attributes(dataset: Any) -> dict[str, int]:
    """Attributes that are one whole number; others (texts) are not asked for."""
    if len(dataset.attrs) > MAX_ATTRIBUTES:
        raise UnfitError(f"it has {len(dataset.attrs)} attributes")
    found = {}
    for name in dataset.attrs:
        attribute = dataset.attrs.get_id(name)
        if attribute.dtype.kind in "iu" and math.prod(attribute.shape) == 1:
            found[str(name)] = int(np.asarray(dataset.attrs[name]).reshape(-1)[0])
    return found


if __name__ == "__main__":
    serve(
        {
            "array": array,
            "rows": rows,
            "members": members,
            "cells": cells,
            "vector": vector,
            "present": present,
        }
    )
