"""PNG files of one plain form, written with zlib-ng and NumPy (PNG, W3C, third edition).

What is written is the smallest file the specification allows: IHDR, one IDAT, IEND, every row
filtered by *Up* (its difference to the row above). On EM slices with masks *Up* packs as well as
*Paeth*, and unlike it can be done and undone for a whole image at once.
"""

from __future__ import annotations

import math
import struct

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from zlib_ng import zlib_ng

from segmend.core.errors import ReadFailedError, SchemaError
from segmend.shards.compiled import InflateError, inflate, kernels

COMPRESSION_LEVEL = 2
"""Of zlib-ng's 0 to 9: on rows of FIB-25 12 % larger than Pillow's files."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR = {2: 0, 3: 2}  # colour type by number of axes: grey, RGB (section 11.2.1)
_UP = 2  # section 9.2
# How a zlib stream begins that was packed fast (RFC 1950, section 2.2: FLEVEL 1), as ours are;
# Pillow's are not, unless asked, and need not be inflated to find their filters.
_FAST = b"\x78\x5e"
_HEADER = struct.Struct(">IIBBBBB")


def pack_png(image: NDArray[np.uint8]) -> bytes:
    """Write an image.

    Args:
        image: uint8, ``(rows, columns)`` or ``(rows, columns, 3)``.

    Returns:
        A PNG whose bytes depend on the image and on the build of zlib-ng, never on threads or
        workers; its pixels depend on the image alone.
    """
    rows, columns = image.shape[:2]
    lines = image.reshape(rows, -1)
    filtered = np.empty((rows, 1 + lines.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = lines[0]  # above it is a row of zeros
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    header = _HEADER.pack(columns, rows, 8, _COLOUR[image.ndim], 0, 0, 0)
    data = zlib_ng.compress(filtered, COMPRESSION_LEVEL)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", isal_zlib.crc32(body))


def png_chunks(payload: bytes | memoryview) -> list[tuple[bytes, memoryview]]:
    """All chunks of a PNG with their data, in order.

    Raises:
        ReadFailedError: if the file is cut, goes on after its end, or a checksum is wrong.
    """
    if payload[: len(SIGNATURE)] != SIGNATURE:
        raise damaged_png(f"it starts {bytes(payload[:8])!r}")
    view, at = memoryview(payload), len(SIGNATURE)
    chunks: list[tuple[bytes, memoryview]] = []
    while not chunks or chunks[-1][0] != b"IEND":
        if at + 12 > len(view):
            raise damaged_png("it is cut")
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        if end > len(view):
            raise damaged_png("a chunk reaches beyond the end")
        if isal_zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise damaged_png(f"the CRC-32 of a chunk at byte {at} does not match")
        chunks.append((bytes(view[at + 4 : at + 8]), view[at + 8 : end - 4]))
        at = end
    if at != len(view):
        raise damaged_png("it goes on after its end")
    return chunks


def check_png_header(chunks: list[tuple[bytes, memoryview]], shape: tuple[int, ...]) -> bool:
    """Check that a PNG announces 8-bit pixels of a shape, before anything is inflated.

    Args:
        chunks: What `png_chunks` found.
        shape: ``(rows, columns)`` or ``(rows, columns, 3)``.

    Returns:
        Whether its rows are interlaced.

    Raises:
        ReadFailedError: if it has no header or several.
        SchemaError: if it announces another size or type.
    """
    headers = [data for kind, data in chunks if kind == b"IHDR"]
    if len(headers) != 1 or chunks[0][0] != b"IHDR" or len(headers[0]) != _HEADER.size:
        raise damaged_png(f"it has {len(headers)} headers or a broken one")
    columns, rows, depth, colour, *_, interlaced = _HEADER.unpack(headers[0])
    if (rows, columns) != shape[:2] or depth != 8 or colour != _COLOUR[len(shape)]:
        raise SchemaError(
            "a PNG has another size or type than the schema",
            found=f"{rows} x {columns} pixels, {depth} bits, colour type {colour}",
            fix=f"It must be {shape}, 8 bits, {'RGB' if len(shape) == 3 else 'grey'}",
        )
    return bool(interlaced)


def unpack_png(
    chunks: list[tuple[bytes, memoryview]], shape: tuple[int, ...]
) -> NDArray[np.uint8] | None:
    """The pixels of a PNG that holds them and nothing else, not interlaced.

    Args:
        chunks: What `png_chunks` found.
        shape: As checked by `check_png_header`.

    Returns:
        uint8 of that shape; None if the file has another form, or filters that only compiled code
        undoes fast and there is none: that is for Pillow to read.

    Raises:
        ReadFailedError: if its data do not inflate to the announced size, or name no filter.
    """
    data, compiled = _pixel_data(chunks), kernels()
    if data is None or (compiled is None and data[:2] != _FAST):
        return None
    lines = (shape[0], 1 + math.prod(shape[1:]))
    try:
        filtered = inflate(data, lines[0] * lines[1], raw=False).reshape(lines)
    except InflateError as error:
        raise damaged_png(str(error)) from error
    if compiled is None:
        if (filtered[:, 0] != _UP).any():
            return None
        return np.add.accumulate(filtered[:, 1:], axis=0, dtype=np.uint8).reshape(shape)
    pixels = np.empty((lines[0], lines[1] - 1), np.uint8)
    if not compiled.unfilter(filtered, lines[1] // shape[1], pixels):
        raise damaged_png("it names a filter that does not exist")
    return pixels.reshape(shape)


def _pixel_data(chunks: list[tuple[bytes, memoryview]]) -> bytes | memoryview | None:
    """The data of all IDAT chunks; None if there are chunks of another kind."""
    kinds, data = [kind for kind, _ in chunks], [data for _, data in chunks[1:-1]]
    if kinds != [b"IHDR", *[b"IDAT"] * len(data), b"IEND"] or not data:
        return None
    return data[0] if len(data) == 1 else b"".join(data)


def damaged_png(found: str) -> ReadFailedError:
    """The error of a PNG that does not hold what it should."""
    return ReadFailedError("a PNG is damaged", found=found)
