"""One picture as a block of bytes: bit for bit what it was, quick to unpack.

    view     8 lengths | runs of silhouette, A, B | depth and normals of the foreground
    plane    2 lengths | runs of A, B | grey values
    sides    2 lengths | runs of A, B
    dense    its length, 0 | the array, compressed

A view holds depth and normals of its foreground only. Normals of published rows have at most 256
values per view and channel and take one byte, those of ours two; high bytes of depth are kept
where they change. No general codec comes near the speed of copying, and these need none: what is
left is noise. Lengths are uint32, runs and halves little-endian, parts begin at multiples of 8.
Pictures that do not look like that (grey masks, a background that is not 0) are kept dense, so
every array comes back bit for bit.
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
from segmend.loaders.packed.kernels import (
    CHANGES,
    MASKS_HEAD,
    PALETTE,
    PALETTE_BYTES,
    RAW,
    Runs,
    padded,
    unpack_plane,
    unpack_sides,
    unpack_view,
)

Kind = Literal["view", "plane", "sides"]

DENSE, SPARSE = 0, 1
"""How a block is packed."""

DENSE_CODEC: Literal["zstd"] = "zstd"
"""Dense blocks are the exception and may be slow."""

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
_SIDES = {"view": _MASKS[1:], "plane": (em_channel("mask_a"), em_channel("mask_b"))}
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
    dense: bytes = pa.compress(picture.tobytes(), codec=DENSE_CODEC, asbytes=True)
    return DENSE, _joined([len(dense), 0], [dense])


def unpack_block(kind: Kind, mode: int, block: Flat, out: Flat, *, unite: bool = False) -> None:
    """Unpack a picture in place.

    Args:
        kind: What it is.
        mode: How it is packed.
        block: The block, uint8, at an address that is a multiple of 8.
        out: Shape and dtype as `SHAPES`, contiguous; undefined if this raises.
        unite: Whether masks A and B are both put into A.

    Raises:
        ReadFailedError: if the block is not what it should be.
    """
    if mode == DENSE:
        _unpack_dense(kind, block, out, unite=unite)
        return
    if kind == "view":
        fits = unpack_view(block, unite, out)
    elif kind == "plane":
        fits = unpack_plane(block, unite, out)
    else:
        fits = unpack_sides(block, out)
    if mode != SPARSE or not fits:
        raise no_block(kind)


def no_block(kind: Kind, found: str = "its parts do not fit") -> ReadFailedError:
    """The error for a block that is none."""
    return ReadFailedError(f"a packed {kind} is damaged", found=found)


def _pack_view(picture: Flat) -> bytes | None:
    masks = [_runs(picture[c], _ONE) for c in _MASKS]
    drawn = picture[_MASKS[0]] != 0
    if any(runs is None for runs in masks) or picture[_VALUES, ~drawn].any():
        return None
    channels = [
        _pack_channel(values, changes=i == 0) for i, values in enumerate(picture[_VALUES, drawn])
    ]
    modes = sum(mode << (8 * i) for i, (mode, _) in enumerate(channels))
    parts = [runs.tobytes() for runs in masks if runs is not None]
    lengths = [len(part) // 2 for part in parts]
    values = [part for _, part in channels]
    return _joined([*lengths, modes, *map(len, values)], [*parts, *values])


def _pack_channel(values: NDArray[np.uint16], *, changes: bool) -> tuple[int, bytes]:
    """The values of foreground pixels, by the way that takes the fewest bytes."""
    packed = [(RAW, values.tobytes())]
    seen = np.zeros(2**16, np.bool_)
    seen[values] = True
    found = np.flatnonzero(seen)
    if len(found) <= PALETTE_BYTES // 2:
        palette, numbers = np.zeros(PALETTE_BYTES // 2, "<u2"), np.zeros(2**16, np.uint8)
        palette[: len(found)], numbers[found] = found, np.arange(len(found))
        packed.append((PALETTE, palette.tobytes() + numbers[values].tobytes()))
    if changes and values.size:
        low, high = (values & 0xFF).astype(np.uint8), (values >> 8).astype(np.uint8)
        new = np.concatenate([[False], high[1:] != high[:-1]])
        kept = np.concatenate([high[:1], high[new]])
        bits = np.packbits(new, bitorder="little").tobytes()
        packed.append((CHANGES, _padded(bits) + _padded(low.tobytes()) + kept.tobytes()))
    return min(packed, key=lambda way: len(way[1]))


def _pack_plane(picture: Flat) -> bytes | None:
    a, b = _runs(picture[_EM_A], _ON), _runs(picture[_EM_B], _ON)
    if a is None or b is None:
        return None
    return _joined([a.size, b.size], [a.tobytes(), b.tobytes(), picture[_EM].tobytes()])


def _pack_sides(picture: Flat) -> bytes | None:
    a, b = picture == SPLIT_MASK_A, picture == SPLIT_MASK_B
    if not (a | b | (picture == SPLIT_MASK_BACKGROUND)).all():
        return None
    runs = [_lengths(side) for side in (a, b)]
    return _joined([side.size for side in runs], [side.tobytes() for side in runs])


def _unpack_dense(kind: Kind, block: Flat, out: Flat, *, unite: bool) -> None:
    try:
        (size,) = np.frombuffer(block, _LENGTH, 1)
        packed = pa.py_buffer(block[MASKS_HEAD : MASKS_HEAD + int(size)].data)
        raw = pa.decompress(packed, decompressed_size=out.nbytes, codec=DENSE_CODEC)
    except (ValueError, OSError, pa.ArrowException) as error:
        raise no_block(kind, str(error)) from error
    out[:] = np.frombuffer(memoryview(raw), out.dtype).reshape(out.shape)
    if unite and kind != "sides":
        a, b = _SIDES[kind]
        values = out.view(np.float16) if kind == "view" else out
        np.maximum(values[a], values[b], out=values[a])
        values[b] = 0


def _runs(mask: Flat, on: Any) -> Runs | None:
    """Runs of a flat mask, None if it holds other values than 0 and ``on``."""
    drawn = mask != 0
    if not np.array_equal(mask, drawn * np.asarray(on, mask.dtype)):
        return None
    return _lengths(drawn)


def _lengths(drawn: NDArray[np.bool_]) -> Runs:
    edges = np.flatnonzero(drawn[1:] != drawn[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [drawn.size]]))
    first = [0] if drawn[0] else []
    return np.concatenate([first, lengths]).astype("<u2")


def _padded(part: bytes) -> bytes:
    return part + bytes(padded(len(part)) - len(part))


def _joined(lengths: list[int], parts: list[bytes]) -> bytes:
    return np.array(lengths, _LENGTH).tobytes() + b"".join(map(_padded, parts))
