"""HDF5: one data set of a file. The HDF5 library runs in a child process only.

The child says what the data set is and where its chunks lie. Voxels that are plain, deflated, LZF,
shuffled or checksummed are then read and decoded here, strictly; those behind other filters are
decoded by the child and come through a pipe. Either way a hostile file cannot harm this process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError, require
from segmend.core.grid import VoxelGrid
from segmend.core.registry import unknown_name
from segmend.store.files import FileStore
from segmend.store.local_file import LocalFile, local_file
from segmend.volumes.chunked import ChunkedDriver
from segmend.volumes.codecs.hdf5_filters import KNOWN
from segmend.volumes.drivers.hdf5_chunks import (
    MAX_CHUNK_BYTES,
    MAX_CHUNKS,
    Hdf5Chunks,
    Hdf5ServedDriver,
    ask,
)
from segmend.volumes.named_axes import find_axes
from segmend.volumes.placement import Placed, place, stated_by_attributes
from segmend.volumes.raw_array import RawArrayDriver, check_fits
from segmend.volumes.stated import stored_dtype
from segmend.volumes.stored_axes import StoredAxes
from segmend.volumes.volume import Driver, Volume

FILTER_NAMES = {
    4: "szip",
    5: "nbit",
    6: "scale-offset",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32026: "blosc2",
}
"""Source: the HDF Group's list of registered filter plug-ins."""


class Description(msgspec.Struct, frozen=True):
    """What the child says of a data set."""

    key: str
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...] | None
    filters: tuple[tuple[int, str], ...]
    unavailable: tuple[int, ...]
    contiguous: bool
    direct: bool
    start: int | None
    stated: dict[str, Any]


def open_hdf5(
    path: str | Path,
    key: str | None = None,
    *,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    axes: str | None = None,
    channel: int | None = None,
    absent: int | None = None,
) -> Volume:
    """Open one data set of an HDF5 file as a volume.

    Args:
        path: The file.
        key: The data set in it, for example ``volumes/raw``; may be left out if it is the only one.
        voxel_size: nm per voxel ``(z, y, x)``, where the attribute ``resolution`` does not say it.
        offset: Corner of the first voxel, nm ``(z, y, x)``, where ``offset`` does not say it.
        axes: The stored axes, slowest first (default ``"zyx"``); the attributes follow them.
        channel: Which channel, where ``axes`` has a ``c``.
        absent: What chunks that were never written count as in bare arrays.

    Returns:
        The volume. Chunks that were never written are certified absent: HDF5 would invent a fill
        value for them.

    Raises:
        ReadFailedError: if the file is missing or is not HDF5, or parsing it goes wrong.
        UnknownNameError: if the key does not exist; the message lists what does.
        SchemaError: if the data set cannot be a volume, lies in other files, or has no voxel size.
        BadInputError: if the file and the caller disagree.
    """
    for module in ("h5py", "imagecodecs"):
        require(module, extra="build")
    file = local_file(path)
    found = _describe(file, key)
    where = f"{file.path}:{found.key}"
    stored = _dtype(where, found.dtype)
    take = {} if channel is None else {"c": channel}
    at = find_axes(found.shape, axes or "zyx", take=take, where=where)
    stated = stated_by_attributes(found.stated, at, where)
    grid = place(at.zyx(found.shape), stated, Placed(voxel_size, offset), where)
    _check_filters(where, found)
    return Volume(_driver(file, found, stored, StoredAxes(at, found.shape), grid), absent=absent)


def _driver(
    file: LocalFile, found: Description, stored: np.dtype[Any], at: StoredAxes, grid: VoxelGrid
) -> Driver:
    """The way to its voxels: decoded here, read where they lie, or served by the child."""
    where = f"{file.path}:{found.key}"
    codes = tuple(code for code, _ in found.filters)
    layout = None
    if found.chunks is not None and _indexed(where, found, stored.itemsize):
        layout = Hdf5Chunks(
            file, found.key, stored, grid, at.axes, found.shape, found.chunks, codes
        )
    if layout and found.direct and set(codes) <= KNOWN:
        return ChunkedDriver(FileStore(file.path.parent), layout)
    if found.contiguous and found.direct and found.start is not None:
        check_fits(where, at, stored, start=found.start, size=file.size)
        return RawArrayDriver(file, found.start, stored, at, grid, where)
    written = not found.contiguous or found.start is not None
    dtype = stored.newbyteorder("=")
    return Hdf5ServedDriver(file, found.key, dtype, grid, at, layout, written)


def _describe(file: LocalFile, key: str | None) -> Description:
    answer = ask(file, "describe", {"key": key})
    if "refused" in answer:
        raise SchemaError(
            f"{file.path}:{key} is refused",
            found=str(answer["refused"]),
            fix="Copy the voxels into one file: segmend never opens files that a file names",
        )
    if "known" in answer:
        known = {str(name): 1 for name in answer["known"]}
        if key is not None:
            raise unknown_name(f"data set in {file.path}", key, known)
        raise BadInputError(
            f"{file.path} needs a key",
            found=f"its data sets: {', '.join(known) or 'none'}",
            fix="Pass key=, for example key='volumes/raw'",
        )
    if "error" in answer:
        raise ReadFailedError(
            f"{file.path} is not a readable HDF5 file",
            found=str(answer["error"]),
            reason="corrupt",
            url=str(file.path),
        )
    try:
        return msgspec.convert(answer, Description, strict=False)
    except msgspec.ValidationError as error:
        raise SchemaError(f"{file.path}:{key} cannot be a volume", found=str(error)) from error


def _dtype(where: str, text: str) -> np.dtype[Any]:
    """The stored dtype, with its byte order."""
    try:
        stored = np.dtype(text)
    except TypeError as error:
        raise SchemaError(f"{where} cannot be a volume", found=f"dtype '{text}'") from error
    native = stored_dtype(where, stored)
    return stored if native == stored.newbyteorder("=") else native


def _check_filters(where: str, found: Description) -> None:
    if found.unavailable:
        names = ", ".join(
            f"{FILTER_NAMES.get(code, text or 'unnamed')} (filter {code})"
            for code, text in found.filters
            if code in found.unavailable
        )
        raise SchemaError(
            f"{where} is compressed by filters that are not installed",
            found=names,
            fix="Run: pip install hdf5plugin; or write the file again with gzip",
        )


def _indexed(where: str, found: Description, itemsize: int) -> bool:
    """Whether the chunks can be listed; huge chunks are refused."""
    assert found.chunks is not None
    if len(found.chunks) != len(found.shape) or min(found.chunks) < 1:
        raise SchemaError(f"{where} has unusable chunks", found=f"{found.chunks}")
    if math.prod(found.chunks) * itemsize > MAX_CHUNK_BYTES:
        raise SchemaError(
            f"{where} has chunks of {found.chunks}",
            found=f"more than {MAX_CHUNK_BYTES} bytes each",
            fix="Write it again with chunks of about a megabyte",
        )
    grid = (-(-n // c) for n, c in zip(found.shape, found.chunks, strict=True))
    return math.prod(grid) <= MAX_CHUNKS
