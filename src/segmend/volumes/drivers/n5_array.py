"""N5 data sets: ``attributes.json``, and blocks with a header each.

https://github.com/saalfeldlab/n5, "File-system specification".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import SchemaError
from segmend.volumes.chunked import Chunk
from segmend.volumes.codecs.chain import ByteCodec, Compressor
from segmend.volumes.codecs.piece import corrupt
from segmend.volumes.drivers.zarr_array import StoredArray, ZarrLayout
from segmend.volumes.metadata import Extents, convert

DTYPES = {
    "uint8": "|u1", "uint16": ">u2", "uint32": ">u4", "uint64": ">u8",
    "int8": "|i1", "int16": ">i2", "int32": ">i4", "int64": ">i8", "float32": ">f4",
}  # fmt: skip
"""N5 stores big-endian."""

COMPRESSORS = {
    "bzip2": "bz2", "xz": "lzma", "lz4": "lz4_stream", "blosc": "blosc", "zstd": "zstd",
}  # fmt: skip

_NAMES = ("raw", "gzip", *COMPRESSORS)

_MODES = {1: "of variable length", 2: "an object"}


class Compression(msgspec.Struct, frozen=True, rename="camel"):
    """The field ``compression``."""

    type: str
    use_zlib: bool = False


class Dataset(msgspec.Struct, frozen=True, rename="camel"):
    """What the attributes of a data set say of its blocks."""

    dimensions: Extents
    block_size: Extents
    data_type: str
    compression: Compression | None = None
    compression_type: str | None = None
    axes: Any = None
    is_label_multiset: bool = False


def parse_attributes(document: dict[str, Any], *, path: str, where: str) -> StoredArray:
    """Check the attributes of an N5 data set.

    Args:
        document: Content of ``attributes.json``.
        path: The data set within its store.
        where: Store and path, for messages.

    Returns:
        The array; its stored axes are N5's, the fastest first.

    Raises:
        SchemaError: for what is not valid or not supported.
    """
    dataset = convert(document, Dataset, where)
    if dataset.data_type not in DTYPES or dataset.is_label_multiset:
        raise SchemaError(
            f"{where} cannot be a volume",
            found="label multisets" if dataset.is_label_multiset else dataset.data_type[:100],
            fix=f"A volume holds one of {', '.join(DTYPES)}",
        )
    return StoredArray(
        where=where,
        path=path,
        shape=tuple(dataset.dimensions),
        chunk_shape=tuple(dataset.block_size),
        dtype=np.dtype(DTYPES[dataset.data_type]),
        order=tuple(reversed(range(len(dataset.dimensions)))),
        codecs=_codecs(dataset, where),
        key_prefix="",
        separator="/",
        fill_value=0,
        names=_names(dataset),
        attributes=document,
    )


def _names(dataset: Dataset) -> tuple[str, ...] | None:
    """Names of the axes; ``axes`` is a habit of some writers only, and may be anything."""
    names = dataset.axes
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def _codecs(dataset: Dataset, where: str) -> tuple[ByteCodec, ...]:
    old = dataset.compression_type
    compression = dataset.compression or (Compression(old) if old else None)
    name = compression.type if compression else None
    if compression is None or name not in _NAMES:
        raise SchemaError(
            f"{where} is compressed in a way that segmend does not read",
            found=repr(name)[:100],
            fix=f"Known: {', '.join(_NAMES)}",
        )
    if name == "raw":
        return ()
    if name == "gzip":
        return (Compressor("zlib" if compression.use_zlib else "gzip"),)
    return (Compressor(COMPRESSORS[compression.type]),)


@dataclass(frozen=True, slots=True)
class N5Layout(ZarrLayout):
    """An N5 data set seen as a volume: blocks as Zarr's chunks, but cut off at the edges."""

    def decoded(self, data: bytes, chunk: Chunk) -> NDArray[Any]:
        """Decode a block, whose header says what it holds."""
        shape, body = split_block(data, len(self.array.shape))
        whole = self.array.chunk_shape
        needed = [1] * len(whole)
        for axis, size in zip(self.axes.spatial, chunk.shape, strict=True):
            needed[axis] = size
        for axis, element in self.axes.fixed:
            needed[axis] = element % whole[axis] + 1
        if any(not n <= s <= w for n, s, w in zip(needed, shape, whole, strict=True)):
            raise corrupt(f"a block of {shape} elements, where {tuple(needed)} to {whole} are due")
        return self.array.elements(body, shape)


def split_block(data: bytes, rank: int) -> tuple[tuple[int, ...], bytes]:
    """The shape of a block, stored axes, and what follows its header.

    Raises:
        ReadFailedError: with reason ``corrupt``, if the header is not that of a plain block.
    """
    size = 4 + 4 * rank
    if len(data) < size:
        raise corrupt(f"a block of {len(data)} bytes, less than its header")
    mode, axes = struct.unpack_from(">HH", data)
    if mode in _MODES:
        raise corrupt(f"a block {_MODES[mode]}: segmend reads plain blocks only")
    if mode or axes != rank:
        raise corrupt(f"a block of mode {mode} with {axes} axes, expected mode 0 with {rank}")
    return struct.unpack_from(f">{rank}I", data, 4), data[size:]
