"""Geometry as npz, images as PNG: exact to write, strict to read.

What is read here comes from files that others made. Sizes and types are checked against what the
schema promises before anything is inflated or allocated, and nothing is ever unpickled.
"""

from __future__ import annotations

import io
import zipfile
import zlib

import numpy as np
from isal import isal_zlib
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from segmend.core.errors import ReadFailedError, SchemaError
from segmend.core.sample import GEOMETRY_KEY, GEOMETRY_SHAPE
from segmend.shards.zipped import single_member

COMPRESSION_LEVEL = 1
"""Deflate level of both codecs: measured 2x (npz) and 5x (PNG) faster to write than the usual 6,
for 15 % more bytes, on stand-in rows."""

_DTYPE = np.dtype("<f2")
_MEMBER = f"{GEOMETRY_KEY}.npy"
# Any fixed date makes the bytes a function of the array; this is the first one a zip can hold.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
# numpy pads the header to a multiple of 64; version 1.0 headers are at most this long.
_MAX_NPY_HEADER = 4096

# isal's own type stubs declare it an instance.
_InflateError: type[Exception] = isal_zlib.error  # type: ignore[assignment]

_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_PNG_COLOUR = {0: "L", 2: "RGB"}
# Pillow raises each of these for one kind of damage or another.
_PNG_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def encode_geometry(geometry: NDArray[np.float16]) -> bytes:
    """Pack a geometry array as a compressed npz that `numpy.load` reads.

    Args:
        geometry: float16, shape `GEOMETRY_SHAPE` (views, channels, rows, columns).

    Returns:
        The same bytes for the same array, in any process.

    Raises:
        SchemaError: for another shape or dtype.
    """
    if geometry.shape != GEOMETRY_SHAPE or geometry.dtype != np.float16:
        raise SchemaError(
            "a geometry array has another shape or dtype than the schema",
            found=f"{geometry.dtype} {geometry.shape}",
            fix=f"Give float16 {GEOMETRY_SHAPE}",
        )
    array = io.BytesIO()
    npy.write_array(array, np.ascontiguousarray(geometry, _DTYPE), version=(1, 0))
    info = zipfile.ZipInfo(_MEMBER, _ZIP_DATE)
    info.create_system = 3  # the same on every platform
    info.compress_type = zipfile.ZIP_DEFLATED
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(info, array.getbuffer(), compresslevel=COMPRESSION_LEVEL)
    return packed.getvalue()


def decode_geometry(payload: bytes) -> NDArray[np.float16]:
    """Unpack a geometry array, ours or published.

    Args:
        payload: An npz with the one array ``arr_0``.

    Returns:
        float16, shape `GEOMETRY_SHAPE`, read-only (it borrows the inflated bytes).

    Raises:
        ReadFailedError: if the bytes are damaged.
        SchemaError: if they hold another key, dtype, order or shape, or a pickle.
    """
    member = single_member(payload)
    if member.name != _MEMBER:
        raise SchemaError(
            "a geometry npz holds another array", found=f"{member.name!r} instead of {_MEMBER!r}"
        )
    size = int(np.prod(GEOMETRY_SHAPE)) * _DTYPE.itemsize
    if not size < member.size <= size + _MAX_NPY_HEADER:
        raise SchemaError(
            "a geometry npz has another size than the schema",
            found=f"{member.size} bytes unpacked, {GEOMETRY_SHAPE} float16 needs {size} + header",
        )
    raw = _inflate(member.data, member.size, deflated=member.deflated)
    if zlib.crc32(raw) != member.crc32:
        raise ReadFailedError("a geometry npz is damaged", found="its CRC-32 does not match")
    start = _npy_data_start(raw)
    if len(raw) - start != size:
        raise ReadFailedError("a geometry npz is damaged", found=f"{len(raw) - start} data bytes")
    return np.frombuffer(raw, _DTYPE, offset=start).reshape(GEOMETRY_SHAPE)


def _inflate(data: memoryview, size: int, *, deflated: bool) -> bytes:
    if not deflated:
        return bytes(data)
    inflater = isal_zlib.decompressobj(wbits=-15)
    try:
        # One byte more than declared: enough to notice a stream that goes on.
        raw = inflater.decompress(data, size + 1)
    except _InflateError as error:
        raise ReadFailedError("a geometry npz is damaged", found=str(error)) from error
    if len(raw) != size or not inflater.eof:
        raise ReadFailedError(
            "a geometry npz is damaged", found=f"it does not unpack to the declared {size} bytes"
        )
    return bytes(raw)


def _npy_data_start(raw: bytes) -> int:
    """Check the npy header, which for one fixed array can only be one text."""
    expected = f"{{'descr': '{_DTYPE.str}', 'fortran_order': False, 'shape': {GEOMETRY_SHAPE}, }}"
    if raw[:8] != npy.magic(1, 0):
        raise SchemaError("a geometry npz holds no npy 1.0 array", found=f"it starts {raw[:8]!r}")
    length = int.from_bytes(raw[8:10], "little")
    header = raw[10 : 10 + length]
    if header.rstrip() != expected.encode():
        raise SchemaError(
            "a geometry array has another shape or dtype than the schema",
            found=header[:120].rstrip().decode("latin-1"),
        )
    return 10 + length


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Encode an image losslessly.

    Args:
        image: uint8, ``(rows, columns)`` or ``(rows, columns, 3)``.

    Raises:
        SchemaError: for another dtype or number of channels.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise SchemaError(
            "an image must be uint8 with one or three channels",
            found=f"{image.dtype} {image.shape}",
        )
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "PNG", compress_level=COMPRESSION_LEVEL)
    return packed.getvalue()


def decode_png(payload: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Decode a PNG of known shape.

    Args:
        payload: An 8-bit grey or RGB PNG.
        shape: ``(rows, columns)`` or ``(rows, columns, 3)``.

    Returns:
        uint8 array of that shape.

    Raises:
        SchemaError: if the PNG announces another size or type; nothing is decoded then.
        ReadFailedError: if the bytes are damaged.
    """
    _check_png_header(payload, shape)
    try:
        with Image.open(io.BytesIO(payload), formats=("PNG",)) as image:
            return _pixels(image, shape)
    except _PNG_ERRORS as error:
        raise ReadFailedError("a PNG is damaged", found=str(error)) from error


def _pixels(image: Image.Image, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    # Later chunks can overrule the header that was checked; nothing is decoded up to here.
    if image.size != (shape[1], shape[0]) or getattr(image, "is_animated", False):
        raise ValueError("it is animated or has several headers")
    return np.asarray(image, np.uint8)


def _check_png_header(payload: bytes, shape: tuple[int, ...]) -> None:
    if payload[: len(_PNG_START)] != _PNG_START or len(payload) < 33:
        raise ReadFailedError("a PNG is damaged", found=f"it starts {payload[:8]!r}")
    columns, rows = (int.from_bytes(payload[i : i + 4], "big") for i in (16, 20))
    depth, colour = payload[24], payload[25]
    mode = "L" if len(shape) == 2 else "RGB"
    if (rows, columns) != shape[:2] or depth != 8 or _PNG_COLOUR.get(colour) != mode:
        raise SchemaError(
            "a PNG has another size or type than the schema",
            found=f"{rows} x {columns} pixels, {depth} bits, colour type {colour}",
            fix=f"It must be {shape}, 8 bits, {mode}",
        )
