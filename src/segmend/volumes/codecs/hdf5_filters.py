"""The four filters that nearly every HDF5 file uses, undone without the HDF5 library.

Source: HDF5 File Format Specification 3.0, IV.A.2.l (filter pipeline); LZF is h5py's own
filter (liblzf, ``lzf_d.c``: the format of its runs).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.volumes.codecs.piece import corrupt

DEFLATE, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
"""Identifiers of the filters."""

KNOWN = frozenset({DEFLATE, SHUFFLE, FLETCHER32, LZF})

CHECKSUM_BYTES = 4


def undo_filters(
    data: bytes, filters: tuple[int, ...], *, skipped: int, dtype: np.dtype[Any], count: int
) -> NDArray[Any]:
    """Decode a stored chunk.

    Args:
        data: The chunk as stored.
        filters: Filters in the order in which they were applied.
        skipped: Bit ``i`` is set where filter ``i`` was left out for this chunk.
        dtype: Stored dtype.
        count: Elements of the chunk.

    Returns:
        ``count`` elements in the stored dtype; possibly a read-only view of ``data``.

    Raises:
        ReadFailedError: with reason ``corrupt``, if these are not ``count`` elements.
    """
    size = count * dtype.itemsize
    current: NDArray[np.uint8] = np.frombuffer(data, np.uint8)
    for position in reversed(range(len(filters))):
        if skipped >> position & 1:
            continue
        if filters[position] == FLETCHER32:
            current = _checked(current)
        elif filters[position] == DEFLATE:
            current = _inflated(current, size + CHECKSUM_BYTES * len(filters))
        elif filters[position] == LZF:
            current = _unlzf(current, size + CHECKSUM_BYTES * len(filters))
        elif dtype.itemsize > 1:
            current = _unshuffled(current, dtype.itemsize)
    if current.size != size:
        raise corrupt(f"it decodes to {current.size} bytes, not to {size}")
    return current.view(dtype)


def _checked(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import imagecodecs

    if data.size < CHECKSUM_BYTES:
        raise corrupt(f"it has {data.size} bytes, too few for its checksum")
    body = data[:-CHECKSUM_BYTES]
    stated = int.from_bytes(data[-CHECKSUM_BYTES:].tobytes(), "little")
    found = int(imagecodecs.h5checksum_fletcher32(body.tobytes()))
    if found != stated:
        raise corrupt(f"its checksum is {found:08x}, stored as {stated:08x}")
    return body


def _inflated(data: NDArray[np.uint8], limit: int) -> NDArray[np.uint8]:
    import imagecodecs

    decode: Any = imagecodecs.deflate_decode  # its types know no arrays
    try:
        # Into a buffer of our own: it can hold no more than a chunk may have.
        return np.asarray(decode(data, out=np.empty(limit, np.uint8)))
    except imagecodecs.DeflateError as error:
        raise corrupt(str(error)) from error


def _unlzf(data: NDArray[np.uint8], limit: int) -> NDArray[np.uint8]:
    out = np.empty(limit, np.uint8)
    count = _expand_runs(data, out)
    if count < 0:
        raise corrupt("its LZF data are damaged or too long")
    return out[:count]


def _unshuffled(data: NDArray[np.uint8], itemsize: int) -> NDArray[np.uint8]:
    count = data.size // itemsize
    if itemsize not in (2, 4, 8) or data.size != count * itemsize:
        raise corrupt(f"{data.size} bytes are not whole elements of {itemsize} bytes")
    out = np.empty(count, f"u{itemsize}")
    _join_bytes(data.reshape(itemsize, count), out)
    return out.view(np.uint8)


@njit(cache=True, nogil=True)
def _join_bytes(planes, out):  # type: ignore[no-untyped-def]
    """Element ``i`` from byte ``i`` of every plane, the lowest first."""
    for i in range(out.size):
        value = np.uint64(0)
        for plane in range(planes.shape[0]):
            value |= np.uint64(planes[plane, i]) << np.uint64(8 * plane)
        out[i] = value


@njit(cache=True, nogil=True)
def _expand_runs(data, out):  # type: ignore[no-untyped-def]
    """Expand LZF; how many bytes that makes, or -1 if a run reaches outside its buffers."""
    at, to = np.int64(0), np.int64(0)
    while at < data.size:
        control = np.int64(data[at])
        at += 1
        if control < 32:  # so many bytes and one more, as they are
            length = control + 1
            if at + length > data.size or to + length > out.size:
                return -1
            for i in range(length):
                out[to + i] = data[at + i]
            at += length
        else:  # bytes that were written before
            length = control >> 5
            if length == 7:
                if at >= data.size:
                    return -1
                length += np.int64(data[at])
                at += 1
            if at >= data.size:
                return -1
            start = to - (((control & 31) << 8) | np.int64(data[at])) - 1
            at += 1
            length += 2
            if start < 0 or to + length > out.size:
                return -1
            for i in range(length):  # one by one: a run may reach into itself
                out[to + i] = out[start + i]
        to += length
    return to
