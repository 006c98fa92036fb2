"""From a float32 frame to the half-precision channels of a row."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

ENCODINGS = ("metric", "published")

MIN_DEPTH = 2.0**-11
"""Smallest metric depth of a foreground pixel, so that it differs from the background's 0."""

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
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (2 * np.rint(255 * curve) / 255 - 1).astype(np.float32)


def write_half(
    values: NDArray[np.float32], foreground: NDArray[np.bool_], out: NDArray[np.float16]
) -> None:
    """Convert the foreground to half precision, rounded to nearest even; leave the rest."""
    _write_half(values.view(np.uint32), foreground, out.view(np.uint16))


@njit(cache=True, nogil=True)
def _write_half(bits, foreground, out):  # type: ignore[no-untyped-def]
    for view in range(bits.shape[0]):
        for y in range(bits.shape[1]):
            for x in range(bits.shape[2]):
                if foreground[view, y, x]:
                    out[view, y, x] = _half_bits(np.int64(bits[view, y, x]))


@njit(cache=True, nogil=True)
def _half_bits(single):  # type: ignore[no-untyped-def]
    """Bits of the half nearest to a float32 of magnitude below 65520, given as bits in an int64."""
    sign = single >> 16 & 0x8000
    exponent = (single >> 23 & 0xFF) - 112
    mantissa = single & 0x7FFFFF
    drop = 13
    if exponent <= 0:
        # Subnormal half: the implicit leading one becomes explicit.
        drop = 14 - exponent if exponent > -11 else 25
        mantissa |= 0x800000
        exponent = 0
    kept, rest, half = mantissa >> drop, mantissa & (1 << drop) - 1, 1 << drop - 1
    value = (exponent << 10) + kept
    if rest > half or (rest == half and value & 1):
        value += 1
    return np.uint16(sign | value)
