"""Where we look from: three orthographic views of one cube, the same for every row.

| view  | looks along | up (row 0) | right |
|-------|-------------|------------|-------|
| front | +x          | +z         | -y    |
| side  | +y          | +z         | +x    |
| top   | -z          | +y         | +x    |

An image shows ``2E`` nm (`E` is the view's half-extent) in `IMAGE_SIZE` pixels, sampled at pixel
centres. Depth runs over the view cube, whose half-width is ``1.2 E``.
"""

from __future__ import annotations

from dataclasses import dataclass

from segmend.core.sample import IMAGE_SIZE, VIEW_CUBE, VIEWS


@dataclass(frozen=True, slots=True)
class Camera:
    """Signed world axes of one view; axes count x = 0, y = 1, z = 2.

    Attributes:
        right: Axis along which columns grow, and its sign.
        up: Axis along which rows shrink, and its sign.
        forward: Axis along which depth grows, and its sign.
    """

    right: tuple[int, int]
    up: tuple[int, int]
    forward: tuple[int, int]


CAMERAS = {
    "front": Camera(right=(1, -1), up=(2, 1), forward=(0, 1)),
    "side": Camera(right=(0, 1), up=(2, 1), forward=(1, 1)),
    "top": Camera(right=(0, 1), up=(1, 1), forward=(2, -1)),
}
"""The camera of each view (docs/format.md)."""

assert tuple(CAMERAS) == VIEWS

HALF_DEPTH = VIEW_CUBE * IMAGE_SIZE / 2
"""Half-width of the view cube in pixels."""


def pixel_size(half_extent_nm: float) -> float:
    """Width of a pixel, nm."""
    return 2 * half_extent_nm / IMAGE_SIZE
