"""Channels, EM slices and split masks as small colour pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segmend.core.sample import (
    CHANNELS,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    channel,
    em_channel,
)

Rgb = NDArray[np.uint8]

COLOUR_A = (38, 139, 210)
COLOUR_B = (220, 110, 20)
"""Segments A and B, told apart by people who do not see red and green."""


def geometry_tiles(geometry: NDArray[np.float16]) -> list[list[Rgb]]:
    """Pictures of every channel of every view.

    Args:
        geometry: float16 ``(view, channel, row, column)``.

    Returns:
        uint8 RGB tiles by view, then by channel.
    """
    return [
        [_channel_tile(name, view.astype(np.float32)) for name in CHANNELS] for view in geometry
    ]


def _channel_tile(name: str, view: NDArray[np.float32]) -> Rgb:
    values = view[channel(name)]
    if name == "mask_a":
        return _mask_tile(values > 0, COLOUR_A)
    if name == "mask_b":
        return _mask_tile(values > 0, COLOUR_B)
    covered = view[channel("silhouette")] > 0
    if name == "depth":
        grey = _stretch(1 - values, covered)  # near is bright
    elif name == "silhouette":
        grey = values
    else:
        grey = np.where(covered, (values + 1) / 2, 0)
    return np.repeat((np.clip(grey, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def _stretch(values: NDArray[np.float32], covered: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Foreground to 0.15..1, so that the farthest pixel still differs from the background."""
    if not covered.any():
        return np.zeros_like(values)
    low, high = values[covered].min(), values[covered].max()
    scaled = (values - low) / max(float(high - low), 1e-6)
    return np.where(covered, 0.15 + 0.85 * scaled, 0).astype(np.float32)


def _mask_tile(mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> Rgb:
    return np.where(mask[..., None], np.array(colour, np.uint8), np.uint8(0))


def em_tile(image: Rgb) -> Rgb:
    """An EM slice with its masks tinted and outlined.

    Args:
        image: uint8 ``(row, column, (em, mask A, mask B))``.
    """
    grey = np.repeat(image[..., :1], 3, axis=2).astype(np.float32)
    for name, colour in (("mask_a", COLOUR_A), ("mask_b", COLOUR_B)):
        mask = image[..., em_channel(name)] > 0
        grey[mask] = 0.75 * grey[mask] + 0.25 * np.array(colour, np.float32)
        grey[_outline(mask)] = colour
    return grey.astype(np.uint8)


def split_mask_tile(mask: NDArray[np.uint8]) -> Rgb:
    """A split mask in the colours of A and B."""
    tile = np.zeros((*mask.shape, 3), np.uint8)
    tile[mask == SPLIT_MASK_A] = COLOUR_A
    tile[mask == SPLIT_MASK_B] = COLOUR_B
    return tile


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mask pixels with a neighbour outside the mask."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return mask & ~inner
