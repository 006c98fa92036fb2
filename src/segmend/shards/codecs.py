"""Geometry as npz, images as PNG: exact to write, strict to read.

What is read here comes from files that others made. Sizes and types are checked against what the
schema promises before anything is inflated or allocated, and nothing is ever unpickled.
"""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from isal import isal_zlib
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image
from zlib_ng import zlib_ng

from segmend.core.errors import ReadFailedError, SchemaError
from segmend.core.sample import GEOMETRY_KEY, GEOMETRY_SHAPE
from segmend.shards import png
from segmend.shards.compiled import InflateError, inflate
from segmend.shards.zipped import Member, single_member, zip_of

COMPRESSION_LEVEL = 2
"""Of zlib-ng's 0 to 9: on rows of FIB-25 2 % larger than numpy's files.

ISA-L packs three times faster, but not always alike: of 3,062 rows of FIB-25 built twice, two had
another stream of the same length, though each was packed until two calls in a row agreed.
"""

_PACKER = f"deflate by zlib-ng {zlib_ng.ZLIBNG_VERSION} level"

CODECS = {
    "geometry": f"npz, {_PACKER} {COMPRESSION_LEVEL}",
    "images": f"PNG, filter Up, {_PACKER} {png.COMPRESSION_LEVEL}",
}
"""What packs the pixels, for the footer of a shard: its bytes depend on it, its arrays do not."""

_DTYPE = np.dtype("<f2")
_MEMBER = f"{GEOMETRY_KEY}.npy"
_SIZE = int(np.prod(GEOMETRY_SHAPE)) * _DTYPE.itemsize
# numpy pads the header to a multiple of 64; version 1.0 headers are at most this long.
_MAX_NPY_HEADER = 4096

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
        Bytes that depend on the array and on the build of zlib-ng, never on threads or workers; the
        array read back depends on the array alone.

    Raises:
        SchemaError: for another shape or dtype.
    """
    if geometry.shape != GEOMETRY_SHAPE or geometry.dtype != np.float16:
        raise SchemaError(
            "a geometry array has another shape or dtype than the schema",
            found=f"{geometry.dtype} {geometry.shape}",
            fix=f"Give float16 {GEOMETRY_SHAPE}",
        )
    content = _npy_header() + np.ascontiguousarray(geometry, _DTYPE).tobytes()
    packed = zlib_ng.compress(content, COMPRESSION_LEVEL, -zlib_ng.MAX_WBITS)
    crc32 = isal_zlib.crc32(content)
    return zip_of(Member(_MEMBER, len(content), crc32, deflated=True, data=memoryview(packed)))


@cache
def _npy_header() -> bytes:
    header = io.BytesIO()
    facts = {"descr": _DTYPE.str, "fortran_order": False, "shape": GEOMETRY_SHAPE}
    npy.write_array_header_1_0(header, facts)
    return header.getvalue()


def decode_geometry(payload: bytes | memoryview) -> NDArray[np.float16]:
    """Unpack a geometry array, ours or published.

    Args:
        payload: An npz with the one array ``arr_0``.

    Returns:
        float16, shape `GEOMETRY_SHAPE`; it owns the inflated bytes.

    Raises:
        ReadFailedError: if the bytes are damaged.
        SchemaError: if they hold another key, dtype, order or shape, or a pickle.
    """
    member = single_member(payload)
    if member.name != _MEMBER:
        raise SchemaError(
            "a geometry npz holds another array", found=f"{member.name!r} instead of {_MEMBER!r}"
        )
    if not _SIZE < member.size <= _SIZE + _MAX_NPY_HEADER:
        raise SchemaError(
            "a geometry npz has another size than the schema",
            found=f"{member.size} bytes unpacked, {GEOMETRY_SHAPE} float16 needs {_SIZE} + header",
        )
    raw = _unpacked(member)
    if isal_zlib.crc32(raw) != member.crc32:
        raise ReadFailedError("a geometry npz is damaged", found="its CRC-32 does not match")
    start = _npy_data_start(raw[:_MAX_NPY_HEADER].tobytes())
    if len(raw) - start != _SIZE:
        raise ReadFailedError("a geometry npz is damaged", found=f"{len(raw) - start} data bytes")
    return raw[start:].view(_DTYPE).reshape(GEOMETRY_SHAPE)


def _unpacked(member: Member) -> NDArray[np.uint8]:
    if not member.deflated:
        return np.frombuffer(bytes(member.data), np.uint8)
    try:
        return inflate(member.data, member.size, raw=True)
    except InflateError as error:
        raise ReadFailedError("a geometry npz is damaged", found=str(error)) from error


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
    return png.pack_png(image)


def decode_png(payload: bytes | memoryview, shape: tuple[int, ...]) -> NDArray[np.uint8]:
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
    chunks = png.png_chunks(payload)
    interlaced = png.check_png_header(chunks, shape)
    pixels = None if interlaced else png.unpack_png(chunks, shape)
    return _decoded_by_pillow(payload) if pixels is None else pixels


def _decoded_by_pillow(payload: bytes | memoryview) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(payload), formats=("PNG",)) as image:
            if getattr(image, "is_animated", False):
                raise ValueError("it is animated")
            return np.asarray(image, np.uint8)
    except _PNG_ERRORS as error:
        raise png.damaged_png(str(error)) from error
