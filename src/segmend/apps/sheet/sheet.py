"""The contact sheet of a site: every channel of every view, the EM slices, scales and axes.

Nothing is left to guess: views and planes name their axes, every row of tiles has a scale bar, and
A and B have the colours of the legend in every picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segmend.apps.sheet.tiles import (
    COLOUR_A,
    COLOUR_B,
    em_tile,
    geometry_tiles,
    split_mask_tile,
)
from segmend.core.sample import CHANNELS, IMAGE_SIZE, PLANES, VIEWS
from segmend.render.camera import CAMERAS

GAP = 8
"""Space between tiles, pixels."""

TEXT = 15
"""Height of a line of text, pixels."""

LEFT = 150
"""Width of the column that names the rows, pixels."""

PAPER, INK, BAR = (255, 255, 255), (20, 20, 20), (255, 255, 90)

PLANE_AXES = {"xy": ("x", "y"), "xz": ("x", "z"), "yz": ("y", "z")}
"""What grows along rows (downwards) and along columns of an EM slice, as published."""


@dataclass(frozen=True, slots=True)
class SitePictures:
    """What there is to show of a site.

    Attributes:
        title: One line: what it is.
        geometry: float16 ``(view, channel, row, column)``.
        em: uint8 ``(row, column, (em, mask A, mask B))`` by plane.
        split_masks: uint8 by view, or empty.
        view_extent_nm: Half-width of the geometry views; None where it is not known (published
            rows do not state it).
        em_pixel_size_nm: Pixel of the EM slices; None likewise.
        center_nm: Centre of the views, ``(z, y, x)``; None likewise.
        best_axes: World directions ``[x, y, z]`` of rows and columns of the plane ``best``.
    """

    title: str
    geometry: NDArray[np.float16]
    em: Mapping[str, NDArray[np.uint8]]
    split_masks: Mapping[str, NDArray[np.uint8]]
    view_extent_nm: float | None
    em_pixel_size_nm: float | None
    center_nm: tuple[float, float, float] | None
    best_axes: Mapping[str, Any]


def contact_sheet(site: SitePictures) -> Image.Image:
    """Draw the contact sheet.

    Args:
        site: What to show.

    Returns:
        An RGB image: a row per view with a column per channel, then a row of EM slices.
    """
    columns = [*CHANNELS, *(["split mask"] if site.split_masks else [])]
    step = IMAGE_SIZE + GAP
    width = LEFT + len(columns) * step
    top = 3 * TEXT + 2 * GAP
    em_top = top + len(VIEWS) * step + 2 * TEXT + GAP
    picture = Image.new("RGB", (width, em_top + IMAGE_SIZE + 2 * TEXT + GAP), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.font = ImageFont.load_default(TEXT - 3)
    _heading(pen, site, columns)
    nm = None if site.view_extent_nm is None else 2 * site.view_extent_nm / IMAGE_SIZE
    for i, (view, tiles) in enumerate(zip(VIEWS, geometry_tiles(site.geometry), strict=True)):
        y = top + i * step
        _lines(pen, (4, y), (view, *_view_axes(view)))
        masks = [split_mask_tile(site.split_masks[view])] if view in site.split_masks else []
        for j, tile in enumerate([*tiles, *masks]):
            picture.paste(Image.fromarray(tile), (LEFT + j * step, y))
        _scale_bar(pen, (LEFT, y), nm)
    _em_row(picture, pen, site, em_top)
    return picture


def _heading(pen: ImageDraw.ImageDraw, site: SitePictures, columns: list[str]) -> None:
    where = "centre not stated"
    if site.center_nm is not None:
        z, y, x = site.center_nm
        where = f"centre x {x:,.0f}  y {y:,.0f}  z {z:,.0f} nm"
    pen.text((4, 4), f"{site.title}    {where}", fill=INK)
    keys = (("A", COLOUR_A), ("B", COLOUR_B))
    for i, (name, colour) in enumerate(keys):
        left = 4 + i * 40
        pen.rectangle((left, 4 + TEXT, left + 10, 14 + TEXT), fill=colour)
        pen.text((left + 15, 2 + TEXT), name, fill=INK)
    note = "depth: near is bright, stretched per view; normals: -1 black, 0 grey, +1 white"
    pen.text((100, 2 + TEXT), note, fill=INK)
    for j, name in enumerate(columns):
        pen.text((LEFT + j * (IMAGE_SIZE + GAP), 2 * TEXT + GAP), name, fill=INK)


def _view_axes(view: str) -> tuple[str, str, str]:
    camera = CAMERAS[view]
    along, up, right = (
        f"{'+' if sign > 0 else '-'}{'xyz'[axis]}"
        for axis, sign in (camera.forward, camera.up, camera.right)
    )
    return f"looks along {along}", f"up {up}", f"right {right}"


def _em_row(picture: Image.Image, pen: ImageDraw.ImageDraw, site: SitePictures, top: int) -> None:
    for j, plane in enumerate(p for p in PLANES if p in site.em):
        left = LEFT + j * (IMAGE_SIZE + GAP)
        picture.paste(Image.fromarray(em_tile(site.em[plane])), (left, top))
        pen.text((left, top - TEXT - 2), f"em {plane}", fill=INK)
        down, across = PLANE_AXES.get(plane) or _best_axes(site.best_axes)
        pen.text((left, top + IMAGE_SIZE + 2), f"down {down}   right {across}", fill=INK)
        _scale_bar(pen, (left, top), site.em_pixel_size_nm)
    _lines(pen, (4, top), ("EM slices", "A and B tinted", "and outlined"))


def _best_axes(axes: Mapping[str, Any]) -> tuple[str, str]:
    """The oblique plane's directions as world vectors, ``x y z``."""
    if not axes:
        return "?", "?"
    row, column = (" ".join(f"{v:+.1f}" for v in axes[name]) for name in ("row", "column"))
    return f"({row})", f"({column})"


def _lines(pen: ImageDraw.ImageDraw, at: tuple[int, int], lines: tuple[str, ...]) -> None:
    for i, line in enumerate(lines):
        pen.text((at[0], at[1] + i * TEXT), line, fill=INK)


def _scale_bar(pen: ImageDraw.ImageDraw, corner: tuple[int, int], pixel_nm: float | None) -> None:
    """A bar of 1, 2 or 5 times a power of ten, at most a third of the tile."""
    left, bottom = corner[0] + 8, corner[1] + IMAGE_SIZE - 8
    if pixel_nm is None:
        _on_tile(pen, (left, bottom - TEXT), "scale not stated")
        return
    length = round_length(IMAGE_SIZE * pixel_nm / 3)
    right = left + round(length / pixel_nm)
    # Black around it: a tile may be white there.
    pen.rectangle((left - 2, bottom - 5, right + 2, bottom + 2), fill="black")
    pen.rectangle((left, bottom - 3, right, bottom), fill=BAR)
    label = f"{length:g} nm" if length < 1000 else f"{length / 1000:g} \N{MICRO SIGN}m"
    _on_tile(pen, (left, bottom - 7 - TEXT), label)


def _on_tile(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str) -> None:
    pen.text(at, text, fill=BAR, stroke_width=2, stroke_fill="black")


def round_length(most: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not above ``most`` (positive)."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(f * power for f in (1, 2, 5) if f * power <= most * (1 + 1e-9)))
