"""One picture as a block of bytes: bit for bit what it was, quick to unpack.

    view     4 lengths | runs of silhouette, A, B | low bytes | high bytes, compressed
    plane    3 lengths | runs of A, B | grey values
    sides    3 lengths | runs of A, B
    dense    the array, compressed

A view holds depth and normals of its foreground only: low bytes are noise and kept as they are,
high bytes compress by half. Pictures that do not look like that (grey masks, a background that is
not 0) are kept dense, so every array comes back bit for bit.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segmend.core.errors import ReadFailedError
from segmend.core.sample import (
    CHANNELS,
    EM_CHANNELS,
    IMAGE_SIZE,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_BACKGROUND,
    channel,
    em_channel,
)
from segmend.loaders.packed.kernels import Runs, fill_foreground, fill_mask

Kind = Literal["view", "plane", "sides"]

DENSE, SPARSE = 0, 1
"""How a block is packed."""

HIGH_CODEC: Literal["lz4_raw"] = "lz4_raw"
DENSE_CODEC: Literal["zstd"] = "zstd"
"""LZ4 unpacks the high bytes at several GB/s; dense blocks are the exception and may be slow."""

PIXELS = IMAGE_SIZE * IMAGE_SIZE
SHAPES: dict[Kind, tuple[tuple[int, ...], np.dtype[Any]]] = {
    "view": ((len(CHANNELS), PIXELS), np.dtype("<u2")),
    "plane": ((len(EM_CHANNELS), PIXELS), np.dtype("u1")),
    "sides": ((PIXELS,), np.dtype("u1")),
}
"""Flat pictures, channels first. Halfs are kept as their bits."""

_ONE = np.float16(1).view(np.uint16)
_VALUES = slice(channel("depth"), channel("normal_z") + 1)
_MASKS = tuple(channel(name) for name in ("silhouette", "mask_a", "mask_b"))
_EM, _EM_A, _EM_B = (em_channel(name) for name in ("em", "mask_a", "mask_b"))
_ON = np.uint8(255)
_LENGTH = np.dtype("<u4")

Flat = NDArray[Any]


def pack_block(kind: Kind, picture: Flat) -> tuple[int, bytes]:
    """Pack a picture.

    Args:
        kind: What it is.
        picture: Shape and dtype as `SHAPES`.

    Returns:
        How it is packed, and the block.
    """
    packed = {"view": _pack_view, "plane": _pack_plane, "sides": _pack_sides}[kind](picture)
    if packed is not None:
        return SPARSE, packed
    return DENSE, pa.compress(picture.tobytes(), codec=DENSE_CODEC, asbytes=True)


def unpack_block(kind: Kind, mode: int, block: memoryview, out: Flat) -> None:
    """Unpack a picture in place.

    Args:
        kind: What it is.
        mode: How it is packed.
        block: The block.
        out: Shape and dtype as `SHAPES`, contiguous; undefined if this raises.

    Raises:
        ReadFailedError: if the block is not what it should be.
    """
    unpack = {"view": _unpack_view, "plane": _unpack_plane, "sides": _unpack_sides}[kind]
    try:
        fits = unpack(block, out) if mode == SPARSE else _unpack_dense(block, out)
    except (ValueError, OSError, pa.ArrowException) as error:
        raise ReadFailedError(f"a packed {kind} is damaged", found=str(error)) from error
    if not fits:
        raise ReadFailedError(f"a packed {kind} is damaged", found="its parts do not fit")


def _pack_view(picture: Flat) -> bytes | None:
    masks = [_runs(picture[c], _ONE) for c in _MASKS]
    drawn = picture[_MASKS[0]] != 0
    if any(runs is None for runs in masks) or picture[_VALUES, ~drawn].any():
        return None
    values = picture[_VALUES, drawn]
    low, high = (values & 0xFF).astype(np.uint8), (values >> 8).astype(np.uint8)
    packed = pa.compress(high.tobytes(), codec=HIGH_CODEC, asbytes=True)
    return _joined(*masks, low, np.frombuffer(packed, np.uint8))


def _unpack_view(block: memoryview, out: Flat) -> bool:
    silhouette, a, b, low, packed = _parts(block, 3, 2)
    high = _decompressed(packed, low.size, HIGH_CODEC)
    return bool(
        fill_foreground(silhouette, low, high, out[_VALUES])
        and all(
            fill_mask(runs, out[c], 0, _ONE)
            for c, runs in zip(_MASKS, (silhouette, a, b), strict=True)
        )
    )


def _pack_plane(picture: Flat) -> bytes | None:
    return _joined(_runs(picture[_EM_A], _ON), _runs(picture[_EM_B], _ON), picture[_EM])


def _unpack_plane(block: memoryview, out: Flat) -> bool:
    a, b, grey = _parts(block, 2, 1)
    if grey.size != PIXELS:
        return False
    out[_EM] = grey
    return bool(fill_mask(a, out[_EM_A], 0, _ON) and fill_mask(b, out[_EM_B], 0, _ON))


def _pack_sides(picture: Flat) -> bytes | None:
    a, b = picture == SPLIT_MASK_A, picture == SPLIT_MASK_B
    if not (a | b | (picture == SPLIT_MASK_BACKGROUND)).all():
        return None
    return _joined(_runs(a, True), _runs(b, True))


def _unpack_sides(block: memoryview, out: Flat) -> bool:
    a, b = _parts(block, 2, 0)
    side_b = np.empty(PIXELS, np.bool_)
    if not fill_mask(b, side_b, False, True):
        return False
    fits = fill_mask(a, out, np.uint8(SPLIT_MASK_BACKGROUND), np.uint8(SPLIT_MASK_A))
    out[side_b] = SPLIT_MASK_B
    return bool(fits)


def _unpack_dense(block: memoryview, out: Flat) -> bool:
    flat = _decompressed(block, out.nbytes, DENSE_CODEC).view(out.dtype)
    if flat.size != out.size:
        return False
    out[:] = flat.reshape(out.shape)
    return True


def _decompressed(packed: Any, size: int, codec: Literal["lz4_raw", "zstd"]) -> Flat:
    if not size:
        return np.zeros(0, np.uint8)
    raw = pa.decompress(pa.py_buffer(packed), decompressed_size=size, codec=codec)
    return np.frombuffer(memoryview(raw), np.uint8)


def _runs(mask: Flat, on: Any) -> Runs | None:
    """Runs of a flat mask, None if it holds other values than 0 and ``on``."""
    drawn = mask != 0
    if not np.array_equal(mask, drawn * np.asarray(on, mask.dtype)):
        return None
    edges = np.flatnonzero(drawn[1:] != drawn[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [drawn.size]]))
    first = [0] if drawn[0] else []
    return np.concatenate([first, lengths]).astype("<u2")


def _joined(*parts: Flat | None) -> bytes | None:
    if any(part is None for part in parts):
        return None
    arrays = [np.ascontiguousarray(part) for part in parts]
    return np.array([a.size for a in arrays], _LENGTH).tobytes() + b"".join(
        a.tobytes() for a in arrays
    )


def _parts(block: memoryview, masks: int, rest: int) -> list[Flat]:
    """Take a block apart: runs of masks, then bytes. ValueError if it is too short or long."""
    sizes = np.frombuffer(block, _LENGTH, masks + rest).tolist()
    at, parts = _LENGTH.itemsize * len(sizes), []
    for i, size in enumerate(sizes):
        dtype = np.dtype("<u2") if i < masks else np.dtype("u1")
        parts.append(np.frombuffer(block, dtype, size, at))
        at += dtype.itemsize * size
    if at != len(block):
        raise ValueError(f"{len(block)} bytes instead of {at}")
    return parts
