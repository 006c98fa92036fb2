"""From a float32 frame to the half-precision channels of a row."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

ENCODINGS = ("metric", "published")

MIN_DEPTH = 2.0**-11
"""Smallest metric depth of a foreground pixel, so that it differs from the background's 0."""

_REBIAS = np.int32((112 << 23) - 0xFFF)
_HALF_BITS = np.float32(0.5).view(np.int32)
_SMALLEST_NORMAL = np.float32(2.0**-14)

_CODES = np.arange(256)


def _srgb_steps() -> NDArray[np.float32]:
    """The linear values, ascending, at which the 8-bit sRGB code grows by one.

    The curve is inverted once here: a power of every pixel would be rounded differently by
    different mathematics libraries.
    """
    curve = (_CODES[1:] - 0.5) / 255
    linear = np.where(curve <= 0.04045, curve / 12.92, ((curve + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


_SRGB_STEPS = _srgb_steps()
_SRGB_VALUES = (2 * _CODES / 255 - 1).astype(np.float32)

HALF_ONE = np.float16(1).view(np.uint16)
"""The bits of 1 in half precision."""


def encoded_depth(
    depth: NDArray[np.float32], foreground: NDArray[np.bool_], encoding: str
) -> NDArray[np.float32]:
    """Depth of the foreground in an encoding; what it holds elsewhere has no meaning."""
    if encoding == "metric":
        return np.maximum(depth, np.float32(MIN_DEPTH))
    out = np.zeros_like(depth)
    for view, seen in enumerate(foreground):
        if seen.any():
            low, high = depth[view][seen].min(), depth[view][seen].max()
            out[view] = (depth[view] - low) / max(high - low, np.finfo(np.float32).tiny)
    return out


def srgb_coded(normals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normal components as the published rows hold them.

    Their renderer wrote ``(n + 1) / 2`` into an 8-bit sRGB buffer, whose bytes were read back as
    ``2 v - 1`` without undoing the curve of IEC 61966-2-1 (reference 1.6).
    """
    linear = np.clip(normals * np.float32(0.5) + np.float32(0.5), 0, 1)
    return _SRGB_VALUES[np.searchsorted(_SRGB_STEPS, linear, side="right")]


def write_half(
    values: NDArray[np.float32], foreground: NDArray[np.bool_], out: NDArray[np.float16]
) -> None:
    """Convert the foreground to half precision, rounded to nearest even; 0 elsewhere.

    Args:
        values: ``(view, row, column)``, magnitudes below 65520.
        foreground: The same shape.
        out: The same shape, overwritten.
    """
    _write_half(values, foreground, out.view(np.uint16))


@njit(cache=True, nogil=True)
def _write_half(values, foreground, out):  # type: ignore[no-untyped-def]
    for view in range(values.shape[0]):
        for y in range(values.shape[1]):
            for x in range(values.shape[2]):
                half = _half_bits(values[view, y, x])
                out[view, y, x] = half if foreground[view, y, x] else np.uint16(0)


@njit(cache=True, nogil=True, inline="always")
def _half_bits(single):  # type: ignore[no-untyped-def]
    """Bits of the half nearest to a float32, without branches: the loop around it becomes SIMD."""
    magnitude = np.float32(abs(single))
    bits = np.int32(magnitude.view(np.int32))
    # Exponents are 112 apart and a half has 13 bits less; a tie goes to the even neighbour.
    odd = np.int32(bits >> 13 & 1)
    normal = np.int32(bits - _REBIAS + odd) >> 13
    # Next to 0.5 a float32 has the spacing of subnormal halves: adding it rounds to them.
    moved = np.float32(magnitude + np.float32(0.5))
    subnormal = np.int32(moved.view(np.int32) - _HALF_BITS)
    rounded = subnormal if magnitude < _SMALLEST_NORMAL else normal
    sign = np.int32(np.float32(single).view(np.int32) >> 16 & 0x8000)
    return np.uint16(rounded | sign)
