"""The byte codecs of a chunk, one after the other, each told how many bytes it must give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from segmend.core.errors import SchemaError
from segmend.volumes.codecs.blocks import decode_blosc, decode_lz4, decode_zstd
from segmend.volumes.codecs.checked import CRC32C_BYTES, strip_crc32c, undo_filter
from segmend.volumes.codecs.gzip import gunzip
from segmend.volumes.codecs.lz4_stream import decode_lz4_stream
from segmend.volumes.codecs.piece import corrupt
from segmend.volumes.codecs.streams import inflate


class ByteCodec(Protocol):
    """One step between a chunk's elements and its stored bytes."""

    def encoded_size(self, size: int, /) -> int | None:
        """Bytes after encoding ``size`` bytes; None where that depends on the bytes."""
        ...

    def decode(self, data: Any, size: int | None, /) -> Any:
        """Undo the step.

        Args:
            data: Encoded bytes.
            size: Bytes that must come out, where known.

        Raises:
            ReadFailedError: with reason ``corrupt``.
        """
        ...


COMPRESSORS = ("gzip", "zlib", "bz2", "lzma", "blosc", "zstd", "lz4")
"""Compressors by their names in numcodecs; N5 adds ``lz4_stream``."""


@dataclass(frozen=True, slots=True)
class Compressor:
    """A general compressor.

    Attributes:
        name: One of `COMPRESSORS`, or ``lz4_stream``.
    """

    name: str

    def encoded_size(self, _size: int, /) -> int | None:
        """Unknown."""
        return None

    def decode(self, data: Any, size: int | None, /) -> Any:
        """Decompress to exactly ``size`` bytes."""
        assert size is not None, "checked_chain refuses one compressor behind another"
        match self.name:
            case "blosc":
                return decode_blosc(data, size)
            case "zstd":
                return decode_zstd(data, size)
            case "lz4":
                return decode_lz4(data, size)
            case "lz4_stream":
                return decode_lz4_stream(data, size)
            case "gzip":
                return gunzip(data, limit=size)
            case "zlib" | "bz2" | "lzma":
                return inflate(self.name, data, size)
        raise AssertionError(self.name)


@dataclass(frozen=True, slots=True)
class Crc32c:
    """CRC-32C at the end of the bytes, verified."""

    def encoded_size(self, size: int, /) -> int | None:
        """Four bytes more."""
        return size + CRC32C_BYTES

    def decode(self, data: Any, _size: int | None, /) -> Any:
        """Verify and strip."""
        return strip_crc32c(data)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of numcodecs.

    Attributes:
        config: Its configuration as in ``.zarray``, key and value pairs.
        numerator: It turns this many bytes ...
        denominator: ... of so many elements' bytes ...
        extra: ... and adds these.
    """

    config: tuple[tuple[str, Any], ...]
    numerator: int = 1
    denominator: int = 1
    extra: int = 0

    def encoded_size(self, size: int, /) -> int | None:
        """Known for every filter we allow."""
        return size // self.denominator * self.numerator + self.extra

    def decode(self, data: Any, size: int | None, /) -> Any:
        """Undo it."""
        if size is not None and len(data) != self.encoded_size(size):
            raise corrupt(f"{dict(self.config)['id']}: {len(data)} bytes do not make {size}")
        return undo_filter(dict(self.config), data)


def checked_chain(codecs: Sequence[ByteCodec], where: str) -> tuple[ByteCodec, ...]:
    """The codecs of an array in the order of encoding, if their sizes can be foretold.

    Raises:
        SchemaError: for a compressor behind another: nothing bounds what lies between them.
    """
    if sum(codec.encoded_size(0) is None for codec in codecs) > 1:
        raise SchemaError(
            f"{where} is compressed twice",
            found=" then ".join(c.name for c in codecs if isinstance(c, Compressor)),
            fix="Rewrite it with one compressor",
        )
    return tuple(codecs)


def decode_bytes(codecs: Sequence[ByteCodec], data: bytes, size: int) -> Any:
    """Undo codecs, the last one first.

    Args:
        codecs: In the order of encoding.
        data: A stored chunk.
        size: Bytes that must come out.

    Returns:
        A buffer of ``size`` bytes.

    Raises:
        ReadFailedError: with reason ``corrupt``.
    """
    sizes: list[int | None] = [size]
    for codec in codecs:
        before = sizes[-1]
        sizes.append(None if before is None else codec.encoded_size(before))
    decoded: Any = data
    for codec, expected in zip(reversed(codecs), reversed(sizes[:-1]), strict=True):
        decoded = codec.decode(decoded, expected)
    found = len(decoded) if isinstance(decoded, bytes) else np.asarray(decoded).nbytes
    if found != size:
        raise corrupt(f"it holds {found} bytes, expected {size}")
    return decoded
