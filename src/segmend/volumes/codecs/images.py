"""Chunks that are stored as one JPEG or PNG image each.

The pixels of the image, row by row, are the voxels of the chunk, x fastest; its width and height
mean nothing as long as their product fits (neuroglancer, ``src/datasource/precomputed/volume.md``).
Sizes are read from the image's header and checked before anything is decoded.
"""

from __future__ import annotations

import io
import struct

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from segmend.volumes.codecs.copying import copy_voxels
from segmend.volumes.codecs.piece import Piece, corrupt

_JPEG_COLOURS = {1: "GRAY", 3: "RGB"}
"""What a JPEG of so many components decodes to."""

_PNG_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Colour type in the PNG header (PNG specification, 11.2.2), by number of channels."""

_PNG_HEADER = struct.Struct(">8s4x4sIIBB")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decode_jpeg(data: bytes, piece: Piece, out: NDArray[np.uint8]) -> None:
    """Decode a part of a JPEG chunk of 1 or 3 channels.

    Raises:
        ReadFailedError: with reason ``corrupt``, if it is no whole JPEG of the right size.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise corrupt(f"not a JPEG image: {error}") from error
    _check_pixels("JPEG", width, height, piece)
    if (colours == "Gray") != (piece.channels == 1):
        raise corrupt(f"a JPEG image in {colours} where the volume has {piece.channels} channels")
    try:
        image = simplejpeg.decode_jpeg(data, _JPEG_COLOURS[piece.channels])
    except ValueError as error:
        raise corrupt(f"a damaged JPEG image: {error}") from error
    _take(image, piece, out)


def decode_png(data: bytes, piece: Piece, out: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Decode a part of a PNG chunk of 1 to 4 channels.

    Raises:
        ReadFailedError: with reason ``corrupt``, if it is no whole PNG of the right size and depth.
    """
    if len(data) < _PNG_HEADER.size:
        raise corrupt(f"{len(data)} bytes are not a PNG image")
    signature, name, width, height, depth, colour = _PNG_HEADER.unpack_from(data)
    if signature != _PNG_SIGNATURE or name != b"IHDR":
        raise corrupt("not a PNG image")
    _check_pixels("PNG", width, height, piece)
    expected = (8 * piece.dtype.itemsize, _PNG_COLOUR_TYPES[piece.channels])
    if (depth, colour) != expected:
        raise corrupt(f"a PNG image of depth {depth} and colour type {colour}, not {expected}")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise corrupt(f"a damaged PNG image: {error}") from error
    _take(pixels, piece, out)


def _check_pixels(kind: str, width: int, height: int, piece: Piece) -> None:
    if width * height != piece.voxels:
        found = f"a {kind} image of {width} x {height} pixels"
        raise corrupt(f"{found} where the chunk has {piece.voxels} voxels")


def _take(
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    piece: Piece,
    out: NDArray[np.uint8] | NDArray[np.uint16],
) -> None:
    stored = pixels.reshape(*piece.shape, piece.channels)
    copy_voxels(stored[piece.part][..., piece.channel], out)
