"""PNG files of one section each: checked against their checksums, then decoded by Pillow.

Source: PNG specification, third edition (https://www.w3.org/TR/png-3/), 5 and 11.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmend.core.errors import SchemaError
from segmend.volumes.codecs.piece import corrupt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = struct.Struct(">II BBBBB")
HEADER_BYTES = 33
"""Signature and the chunk IHDR, with which every file starts."""

MAX_PIXELS = 2**30 // 12  # 89 million
"""Pillow's own limit: a larger section is decoded whole for every box, and should be chunked."""

GREY, RGB = 0, 2

RgbIds = Literal["red-first", "blue-first"]
"""Which colour is the highest byte of an id."""


@dataclass(frozen=True, slots=True)
class PngHeader:
    """What a section is.

    Attributes:
        height: Rows.
        width: Columns.
        depth: Bits per sample.
        colour: Colour type: 0 grey, 2 RGB, others are not sections.
    """

    height: int
    width: int
    depth: int
    colour: int


def parse_header(start: bytes, where: str) -> PngHeader:
    """Read the header from the first 33 bytes of a file.

    Raises:
        SchemaError: if it is not a PNG file, or larger than any section.
    """
    if len(start) < HEADER_BYTES or not start.startswith(SIGNATURE) or start[12:16] != b"IHDR":
        raise SchemaError(f"{where} is not a PNG file", found=f"it starts with {start[:16]!r}")
    width, height, depth, colour, _, _, _ = HEADER.unpack_from(start, 16)
    if not width or not height or width * height > MAX_PIXELS:
        raise SchemaError(
            f"{where} cannot be a section",
            found=f"{width} x {height} pixels",
            fix=f"At most {MAX_PIXELS}: store larger sections in chunks, as zarr or precomputed",
        )
    return PngHeader(height, width, depth, colour)


def section_dtype(header: PngHeader, rgb_ids: RgbIds | None, where: str) -> np.dtype[Any]:
    """The dtype of the section.

    Raises:
        SchemaError: if it is neither grey nor, where the caller said so, ids as RGB.
    """
    if rgb_ids and (header.colour, header.depth) == (RGB, 8):
        return np.dtype(np.uint32)
    if not rgb_ids and header.colour == GREY and header.depth in (8, 16):
        return np.dtype(f"u{header.depth // 8}")
    names = {0: "grey", 2: "RGB", 3: "a palette", 4: "grey with alpha", 6: "RGB with alpha"}
    wanted = "8-bit RGB" if rgb_ids else "grey of 8 or 16 bits"
    raise SchemaError(
        f"{where} cannot be a section",
        found=f"{names.get(header.colour, 'unknown colours')} of {header.depth} bits, not {wanted}",
        fix="For ids stored as colours pass rgb_ids='red-first' or 'blue-first'",
    )


def decode_section(data: bytes, header: PngHeader, rgb_ids: RgbIds | None) -> NDArray[Any]:
    """Decode a whole file.

    Args:
        data: The file.
        header: What it must be.
        rgb_ids: Which colour is the highest byte of an id, for ids stored as RGB.

    Returns:
        Array ``(y, x)``: uint8, uint16, or uint32 for ids.

    Raises:
        ReadFailedError: with reason ``corrupt``, if it is damaged, cut short or another image.
    """
    try:
        found = parse_header(data[:HEADER_BYTES], "it")
    except SchemaError as error:
        raise corrupt(str(error)) from error
    if found != header:
        raise corrupt(f"it is {found}, the first section is {header}")
    _check_checksums(data)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise corrupt(f"a damaged PNG image: {error}") from error
    if header.colour == GREY:
        return pixels.astype(f"u{header.depth // 8}", copy=False)
    red, green, blue = (pixels[..., i].astype(np.uint32) for i in range(3))
    high, low = (red, blue) if rgb_ids == "red-first" else (blue, red)
    return high << 16 | green << 8 | low


def _check_checksums(data: bytes) -> None:
    """Every chunk to the last: Pillow does not verify those of the pixels."""
    at, view = len(SIGNATURE), memoryview(data)
    name = b""
    while name != b"IEND":
        if at + 12 > len(data):
            raise corrupt(f"a PNG image that ends after {len(data)} bytes, in the middle")
        length = int.from_bytes(view[at : at + 4], "big")
        name, end = bytes(view[at + 4 : at + 8]), at + 8 + length
        if end + 4 > len(data):
            raise corrupt(f"a PNG image that ends after {len(data)} bytes, in the middle")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise corrupt(f"a PNG image with a wrong checksum at byte {at}")
        at = end + 4
