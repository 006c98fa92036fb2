"""The HDF5 library, in a child process: what a data set is, where its chunks lie, their voxels.

HDF5 is C that trusts its input (h5py issue 1183, CVE-2025-2309, CVE-2025-44905 and many more), so
it never runs in the process that opens a file.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from segmend.store.sandboxed import serve

KNOWN_NAMES = 200
"""Names of data sets that an error lists at most."""

MAX_LINKS = 16
"""Soft links that are followed on the way to a data set."""

MAX_ATTRIBUTE = 16
"""Elements of an attribute that can be a voxel size or an offset."""

CACHE_BYTES = 2**27
"""Decoded chunks that HDF5 keeps per data set: neighbouring boxes share them."""

CACHE_SLOTS = 10_007
"""Hash slots of that cache: a prime well above the number of chunks it holds, as HDF5 asks."""

STATED = ("resolution", "voxel_size", "offset", "units")
"""Attributes that say where an array lies."""


def describe(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a data set is, and what stands in the way of reading it."""
    with _locked(request["path"]) as file:
        return _described(file, request["key"])


def _described(file: Any, key: str | None) -> dict[str, Any]:
    if key is None:
        names = _names(file)
        if len(names) != 1:
            return {"known": names}
        key = names[0]
    dataset = _find(file, key)
    if isinstance(dataset, str):
        return {"refused": dataset}
    if dataset is None:
        return {"known": _names(file)}
    plist = dataset.id.get_create_plist()
    if plist.get_external_count():
        return {"refused": "its voxels lie in other files (external storage)"}
    if dataset.is_virtual:
        return {"refused": "its voxels lie in other files (a virtual data set)"}
    filters = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    contiguous = plist.get_layout() == h5py.h5d.CONTIGUOUS
    return {
        "key": key,
        "shape": list(dataset.shape or ()),
        "dtype": dataset.dtype.str,
        "chunks": None if dataset.chunks is None else list(dataset.chunks),
        "filters": [[int(f[0]), f[3].decode("utf-8", "replace")] for f in filters],
        "unavailable": [int(f[0]) for f in filters if not _available(f[0])],
        "contiguous": contiguous,
        # Addresses count from the end of the user block, where a file has one.
        "direct": file.userblock_size == 0,
        "start": dataset.id.get_offset() if contiguous else None,
        "stated": {name: _attribute(dataset, name) for name in STATED if name in dataset.attrs},
    }


def index(request: Mapping[str, Any]) -> dict[str, Any]:
    """Where the chunks lie: offset, bytes and skipped filters of each, 0 bytes if not stored."""
    with _locked(request["path"]) as file:
        return _indexed(_dataset(file, request["key"]))


def _indexed(dataset: Any) -> dict[str, Any]:
    grid = [-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]
    count = math.prod(grid)
    offsets, sizes = np.zeros(count, np.uint64), np.zeros(count, np.uint32)
    skipped = np.zeros(count, np.uint32)

    def note(info: Any) -> None:
        place = [o // c for o, c in zip(info.chunk_offset, dataset.chunks, strict=True)]
        if any(not 0 <= p < n for p, n in zip(place, grid, strict=True)):
            raise ValueError(f"its index has a chunk at {info.chunk_offset}, outside")
        at = 0
        for p, n in zip(place, grid, strict=True):
            at = at * n + p
        if sizes[at]:
            raise ValueError(f"its index has two chunks at {info.chunk_offset}")
        offsets[at], sizes[at], skipped[at] = info.byte_offset, info.size, info.filter_mask

    dataset.id.chunk_iter(note)
    return {"offsets": offsets.data, "sizes": sizes.data, "skipped": skipped.data}


def read(request: Mapping[str, Any]) -> dict[str, Any]:
    """Voxels of a box in stored order, in the machine's byte order."""
    dataset = _kept(request["path"], request["stamp"], request["key"])
    box = tuple(slice(a, b) for a, b in zip(request["start"], request["stop"], strict=True))
    array = dataset[box]
    return {"data": np.ascontiguousarray(array, array.dtype.newbyteorder("=")).data}


def _locked(path: str) -> Any:
    """The file, for a moment: fails while somebody writes it."""
    _kept.cache_clear()  # HDF5 refuses one file both locked and not
    return h5py.File(path, "r")


@functools.lru_cache(maxsize=8)
def _kept(path: str, stamp: str, key: str) -> Any:  # noqa: ARG001  a changed file is another one
    # Kept open, with its cache of chunks, but not locked: others may write the file, and the
    # parent then notices that it has changed.
    file = h5py.File(path, "r", locking=False, rdcc_nbytes=CACHE_BYTES, rdcc_nslots=CACHE_SLOTS)
    return _dataset(file, key)


def _dataset(file: Any, key: str) -> Any:
    found = _find(file, key)
    if found is None or isinstance(found, str):
        raise LookupError(f"there is no data set '{key}'")
    return found


def _find(file: Any, key: str) -> Any:
    """The data set; None if there is none; a text if the way leads out of the file."""
    parts, group, links = [p for p in key.split("/") if p], file["/"], 0
    while parts:
        part = parts.pop(0)
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            return f"'{key}' is a link into another file, {link.filename}"
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > MAX_LINKS:
                return f"'{key}' leads through more than {MAX_LINKS} links"
            group = file["/"] if link.path.startswith("/") else group
            parts = [p for p in link.path.split("/") if p not in ("", ".")] + parts
        elif link is None:
            return None
        else:
            group = group[part]
    return group if isinstance(group, h5py.Dataset) else None


def _names(file: Any) -> list[str]:
    names: list[str] = []

    def note(name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset):
            names.append(name)
        return True if len(names) >= KNOWN_NAMES else None

    file.visititems(note)
    return names


def _attribute(dataset: Any, name: str) -> Any:
    """An attribute as a list, or a text that says why it is none."""
    attribute = dataset.attrs.get_id(name)
    if math.prod(attribute.shape) > MAX_ATTRIBUTE:
        return f"an array of shape {attribute.shape}"
    return np.asarray(dataset.attrs[name]).tolist()


def _available(code: int) -> bool:
    if not h5py.h5z.filter_avail(code):
        try:
            importlib.import_module("hdf5plugin")  # it registers its filters
        except ImportError:
            return False
    return bool(h5py.h5z.filter_avail(code))


if __name__ == "__main__":
    serve({"describe": describe, "index": index, "read": read})
