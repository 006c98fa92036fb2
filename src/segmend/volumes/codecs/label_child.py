"""The child's side of `segmend.volumes.codecs.label_libraries`."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.store.sandboxed import serve

_COMPRESSO = struct.Struct("<4sBBHHH")
"""Magic, version, bytes per label, size x, y, z (compresso, ``compresso.hpp``, CompressoHeader)."""


def compresso(request: Mapping[str, Any]) -> dict[str, Any]:
    """Decode a compresso chunk, whose header must promise what the request expects."""
    import compresso as library

    data = request["data"]
    if len(data) < _COMPRESSO.size:
        raise ValueError(f"{len(data)} bytes are less than its header")
    magic, _, width, *size = _COMPRESSO.unpack_from(data)
    if magic != b"cpso":
        raise ValueError("the data do not start with its magic number")
    _check(request, size, width)
    try:
        labels = library.decompress(data)
    except library.DecodeError as error:
        raise ValueError(str(error)) from error
    return {"labels": _bytes(labels)}


def crackle(request: Mapping[str, Any]) -> dict[str, Any]:
    """Decode a crackle chunk, whose header must promise what the request expects."""
    import crackle as library

    data = request["data"]
    try:
        header = library.header(data)
        _check(request, (header.sx, header.sy, header.sz), header.data_width)
        # Its own decoder does not look at the checksum of the labels.
        if header.format_version > 0 and library.codec.labels_crc(data) != library.codec.crc32c(
            library.codec.raw_labels(data)
        ):
            raise ValueError("the checksum of its labels is wrong")
        labels = library.decompress(data, parallel=1)
    except library.FormatError as error:
        raise ValueError(str(error)) from error
    return {"labels": _bytes(labels)}


def _bytes(labels: NDArray[Any]) -> memoryview:
    """Voxels, x fastest; no copy where the library laid them out so, as both do."""
    return np.ascontiguousarray(labels.T).reshape(-1).view(np.uint8).data


def _check(request: Mapping[str, Any], size: Any, width: int) -> None:
    expected = (tuple(request["shape"]), request["itemsize"])
    if (tuple(size), width) != expected:
        raise ValueError(
            f"its header says {tuple(size)} voxels (x, y, z) of {width} bytes, not {expected}"
        )


if __name__ == "__main__":
    serve({"compresso": compresso, "crackle": crackle})
