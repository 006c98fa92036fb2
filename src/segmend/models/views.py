"""The views of a site at the resolution models work at, and where their pixels lie in space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import SchemaError
from segmend.core.sample import CHANNELS, EM_CHANNELS, IMAGE_SIZE, VIEWS, channel, em_channel

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

REDUCTION = 2
"""Models on laptops see every image at half its resolution."""

SIZE = IMAGE_SIZE // REDUCTION
"""Width and height of a reduced image, pixels."""

PIXEL = 2.0 / SIZE
"""Width of a reduced pixel; the half-width of a view is 1."""

VIEW_AXES = {
    "front": ((0, -1, 0), (0, 0, 1), (1, 0, 0)),
    "side": ((1, 0, 0), (0, 0, 1), (0, 1, 0)),
    "top": ((1, 0, 0), (0, 1, 0), (0, 0, -1)),
}
"""World directions (x, y, z) of image right, image up and the line of sight (design, section 3)."""

DEPTH_HALF_EXTENT = 1.2
"""Depth 0 and 1 lie this many half-widths before and behind the centre (design, section 3)."""

_BINARY = [channel(name) for name in ("silhouette", "mask_a", "mask_b")]
_NORMALS = [channel(f"normal_{axis}") for axis in "xyz"]
_EM_MASKS = [em_channel("mask_a"), em_channel("mask_b")]


@dataclass(frozen=True, slots=True)
class Frame:
    """One reduced view, taken apart.

    Attributes:
        a: Silhouette of segment A, (rows, columns).
        b: Silhouette of segment B.
        depth: Depth of the nearest surface in [0, 1], 0 in the background.
        normals: World-space normals (x, y, z), shape (3, rows, columns).
        world: Positions of the visible surface (x, y, z) relative to the centre of the view, in
            half-widths, shape (3, rows, columns); meaningless in the background.
    """

    a: Mask
    b: Mask
    depth: Array
    normals: Array
    world: Array


def reduce_geometry(geometry: NDArray[np.floating]) -> Array:
    """Halve the resolution of geometry views.

    A reduced pixel is foreground if one of its four is, so that thin processes survive; depth and
    normals are means over the foreground alone, so that no edge blends into the background.

    Args:
        geometry: (views, channels, 224, 224), channels as `CHANNELS`.

    Returns:
        float32 (views, channels, 112, 112).

    Raises:
        SchemaError: for another shape.
    """
    if geometry.ndim != 4 or geometry.shape[1:] != (len(CHANNELS), IMAGE_SIZE, IMAGE_SIZE):
        raise SchemaError(f"geometry must be (views, 7, 224, 224), got {geometry.shape}")
    blocks = _blocks(geometry.astype(np.float32))
    reduced: Array = sum(blocks[1:], blocks[0])
    covered = reduced[:, channel("silhouette")][:, None]
    reduced /= np.maximum(covered, 1)
    reduced[:, _BINARY] = np.maximum.reduce([block[:, _BINARY] for block in blocks])
    return reduced


def reduce_em(em: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halve the resolution of EM slices: mean of the EM, any of the masks.

    Args:
        em: uint8 (planes, 224, 224, 3), channels as `EM_CHANNELS`.

    Returns:
        uint8 (planes, 3, 112, 112), channels first.

    Raises:
        SchemaError: for another shape.
    """
    if em.ndim != 4 or em.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE, len(EM_CHANNELS)):
        raise SchemaError(f"EM must be (planes, 224, 224, 3), got {em.shape}")
    blocks = _blocks(np.moveaxis(em, -1, 1))
    total = sum((block.astype(np.uint16) for block in blocks[1:]), blocks[0].astype(np.uint16))
    reduced = ((total + len(blocks) // 2) // len(blocks)).astype(np.uint8)
    reduced[:, _EM_MASKS] = np.maximum.reduce([block[:, _EM_MASKS] for block in blocks])
    return reduced


def frames(reduced: Array, views: Sequence[str] = VIEWS) -> Iterator[Frame]:
    """Take apart the reduced views of one row, whose names are ``views``."""
    for view, channels in zip(views, reduced, strict=True):
        depth = channels[channel("depth")]
        yield Frame(
            a=channels[channel("mask_a")] > 0,
            b=channels[channel("mask_b")] > 0,
            depth=depth,
            normals=channels[_NORMALS],
            world=world_positions(view, depth),
        )


def world_positions(view: str, depth: Array) -> Array:
    """Where each pixel of a view lies, relative to its centre, in half-widths of the view.

    Args:
        view: Name of the view.
        depth: Depth in [0, 1], shape (size, size).

    Returns:
        float32 (3, size, size), world x, y, z.
    """
    size = depth.shape[-1]
    step = ((np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1).astype(np.float32)
    coordinates = np.empty((3, size, size), dtype=np.float32)
    coordinates[0] = step
    coordinates[1] = -step[:, None]
    coordinates[2] = (2 * depth - 1) * DEPTH_HALF_EXTENT
    axes = np.array(VIEW_AXES[view], dtype=np.float32)
    return np.einsum("kw,krc->wrc", axes, coordinates)


def _blocks(images: NDArray[Any]) -> list[NDArray[Any]]:
    """The images made of the first, second, ... pixel of every block of pixels."""
    offsets = range(REDUCTION)
    return [images[..., r::REDUCTION, c::REDUCTION] for r in offsets for c in offsets]
