"""Compressed objects: decoded strictly, never to more than a given size."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
from isal import igzip_lib

from segmend.core.errors import ReadFailedError

_ARROW: dict[str, Literal["brotli", "zstd"]] = {"br": "brotli", "zstd": "zstd"}
_PIECE = 1 << 20
# A gzip file is one or more members (RFC 1952, 2.2); many empty ones would only cost time.
_MOST_MEMBERS = 4096


def decompress(data: bytes, encoding: str, *, limit: int) -> bytes:
    """Decode a compressed object.

    Args:
        data: The whole compressed object; gzip may have several members.
        encoding: ``gzip``, ``br`` (Brotli) or ``zstd``.
        limit: Bytes the result may have.

    Raises:
        ReadFailedError: reason ``corrupt`` for damaged, truncated or trailing bytes; ``refused``
            for an unknown encoding, or a result larger than ``limit``.
    """
    if encoding in ("gzip", "x-gzip"):
        return gunzip(data, limit=limit)
    if encoding not in _ARROW:
        raise ReadFailedError(
            "cannot decode", found=f"unknown Content-Encoding '{encoding}'", reason="refused"
        )
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), _ARROW[encoding]) as stream:
            return _bounded(stream, limit)
    except OSError as error:
        if isinstance(error, ReadFailedError):
            raise
        raise _corrupt(encoding, str(error)) from error


def _bounded(stream: pa.CompressedInputStream, limit: int) -> bytes:
    parts, size = [], 0
    while part := stream.read(min(_PIECE, limit + 1 - size)):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise _too_large(limit)
    return b"".join(parts)


def gunzip(data: bytes, *, limit: int) -> bytes:
    """Inflate a gzip file of one or more members (RFC 1952), checksums verified.

    Args:
        data: The whole file, nothing behind it but zeros, which some writers pad with.
        limit: Most bytes it may hold; hardly more memory than that is ever used.

    Raises:
        ReadFailedError: reason ``corrupt`` if it is no gzip, is cut short or fails its checksum;
            ``refused`` if it holds more.
    """
    # The size that the last member states is a hint and no more: isal allocates what it is allowed
    # to deliver, so that a generous limit would cost more time than inflating.
    step = min(limit, int.from_bytes(data[-4:], "little")) + 1
    parts: list[bytes] = []
    size = 0
    for _ in range(_MOST_MEMBERS):
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        while not member.eof:
            try:
                part = member.decompress(data, step)
            except igzip_lib.error as error:  # type: ignore[misc]  # its stub has an instance
                raise _corrupt("gzip", str(error)) from error
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            if not part and not member.eof:
                raise _corrupt("gzip", "the stream is cut short")
            parts.append(part)
            data, step = b"", min(limit - size, max(step, size)) + 1
        data = member.unused_data
        if not data.strip(b"\0"):
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise _corrupt("gzip", f"more than {_MOST_MEMBERS} members")


def _corrupt(encoding: str, found: str) -> ReadFailedError:
    return ReadFailedError(f"cannot decode {encoding}", found=found, reason="corrupt")


def _too_large(limit: int) -> ReadFailedError:
    return ReadFailedError(
        "refused a compressed object",
        found=f"it decodes to more than {limit} bytes",
        fix="Raise StoreOptions(object_limit=...) if that is right",
        reason="refused",
    )
