"""Slices of the three planes: the image as grey pictures, labels as see-through ones over it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmend.core.box import Triple
from segmend.core.grid import VoxelGrid
from segmend.volumes.volume import Block

AXES = "zyx"

DEPTHS = (0.2, 0.5, 0.8)
"""Where a plane cuts the box, as shares of its width."""

SHADES = 127
"""Colours of segments. Each is there twice, for its inside and for its outline: 255 and nothing."""

INSIDE, OUTLINE = 70, 255
"""How opaque the inside and the outline of a segment are, of 255."""

LONGEST_OUTLINE = 3
"""How much longer than wide a pixel may be for its edge to be drawn as an outline."""

ABSENT = (40, 60, 130)
"""Colour of voxels that are certified absent."""

CLASS_COLOURS = {
    0: (0, 0, 0), 1: (38, 139, 210), 2: (255, 40, 40), 3: (240, 190, 0), 4: (150, 60, 190),
    5: (60, 190, 90), 6: (255, 130, 60), 255: (140, 140, 140),
}  # fmt: skip
"""Common classes by value, see `segmend.catalog.labels.VOCABULARY`; 255 is ignored."""


@dataclass(frozen=True, slots=True, eq=False)
class Layered:
    """Labels of a box.

    Attributes:
        labels: ``(z, y, x)``: ids, or common classes.
        block: The block they were read in; its grid may be another than the image's.
        classes: Whether they are common classes.
    """

    labels: NDArray[Any]
    block: Block
    classes: bool


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One plane of a box.

    Attributes:
        axis: The axis it cuts: 0 z, 1 y, 2 x.
        index: Voxel of the image's block on that axis.
        grid: The image's block.
        image: Grey picture; rows are the first of the other two axes.
        overlays: See-through pictures of the same size by layer.
    """

    axis: int
    index: int
    grid: VoxelGrid
    image: Image.Image
    overlays: dict[str, Image.Image] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The axis that runs down."""
        return 1 if self.axis == 0 else 0

    @property
    def columns(self) -> int:
        """The axis that runs to the right."""
        return 1 if self.axis == 2 else 2

    @property
    def position_nm(self) -> float:
        """Where it cuts its axis: the centre of the voxels that are shown."""
        return _centres(self.grid, self.axis, np.array([self.index]))[0]

    def width_nm(self, axis: int) -> float:
        """From edge to edge along an axis."""
        return self.grid.shape[axis] * self.grid.voxel_size[axis]

    def overlay(self, name: str, layer: Layered) -> None:
        """Add the labels of the voxels that lie under the centres of the pixels."""
        places = []
        for axis in range(3):
            steps = np.arange(self.grid.shape[axis]) if axis != self.axis else [self.index]
            at = _centres(self.grid, axis, np.asarray(steps))
            places.append(_voxels(layer.block.grid, axis, at))
        known = [(p >= 0) & (p < n) for p, n in zip(places, layer.labels.shape, strict=True)]
        inside = np.ix_(*(p[k] for p, k in zip(places, known, strict=True)))
        labels = np.zeros([len(p) for p in places], layer.labels.dtype)
        labels[np.ix_(*known)] = layer.labels[inside]
        plane = labels.squeeze(self.axis)
        sizes = self.grid.voxel_size[self.rows], self.grid.voxel_size[self.columns]
        self.overlays[name] = _class_picture(plane) if layer.classes else _id_picture(plane, sizes)


def cut_slices(image: Block) -> list[Slice]:
    """Three slices of each plane.

    Args:
        image: uint8; certified absent voxels are drawn blue, which no grey value is.
    """
    stored = None if image.coverage.complete else image.coverage.mask()
    return [
        Slice(axis, index, image.grid, _picture(image.data, stored, axis=axis, index=index))
        for axis in range(3)
        for index in _indices(image.grid.shape, axis)
    ]


def _picture(
    data: NDArray[np.uint8], stored: NDArray[np.bool_] | None, *, axis: int, index: int
) -> Image.Image:
    grey = np.take(data, index, axis=axis)
    if stored is None:
        return Image.fromarray(grey)
    known = np.take(stored, index, axis=axis)[..., None]
    return Image.fromarray(np.where(known, grey[..., None], np.array(ABSENT, np.uint8)))


def _indices(shape: Triple, axis: int) -> list[int]:
    return sorted({int(depth * shape[axis]) for depth in DEPTHS})


def _centres(grid: VoxelGrid, axis: int, indices: NDArray[Any]) -> NDArray[np.float64]:
    voxels = np.zeros((len(indices), 3), np.int64)
    voxels[:, axis] = indices
    return grid.centers(voxels)[:, axis]


def _voxels(grid: VoxelGrid, axis: int, nm: NDArray[np.float64]) -> NDArray[np.int64]:
    """Voxels of a grid on one axis; they may lie outside it."""
    points = np.zeros((len(nm), 3))
    points[:, axis] = nm
    return np.floor(grid.continuous(points)[:, axis]).astype(np.int64)


def _id_picture(ids: NDArray[np.uint64], pixel_nm: tuple[float, float]) -> Image.Image:
    """Each id in a colour of its own, as far as there are colours; 0 is see-through."""
    # Fibonacci hashing: neighbouring ids get far colours.
    mixed = (ids * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    shade = (mixed % np.uint64(SHADES)).astype(np.uint8)
    pixels = np.where(ids == 0, 0, 1 + 2 * shade + _edges(ids, pixel_nm)).astype(np.uint8)
    colours = np.zeros((256, 4), np.uint8)
    for i in range(SHADES):
        colours[1 + 2 * i : 3 + 2 * i, :3] = _hue(i / SHADES)
    colours[1::2, 3], colours[2::2, 3] = INSIDE, OUTLINE
    return _palette_picture(pixels, colours)


def _class_picture(values: NDArray[np.uint8]) -> Image.Image:
    colours = np.zeros((256, 4), np.uint8)
    for value, colour in CLASS_COLOURS.items():
        colours[value] = (*colour, 0 if value == 0 else 2 * INSIDE)
    return _palette_picture(values, colours)


def _hue(share: float) -> tuple[int, int, int]:
    """A bright colour of the circle."""
    angles = 2 * np.pi * (share - np.array([0, 1 / 3, 2 / 3]))
    red, green, blue = (140 + 115 * np.cos(angles)).astype(int).tolist()
    return red, green, blue


def _edges(ids: NDArray[np.uint64], pixel_nm: tuple[float, float]) -> NDArray[np.bool_]:
    """Pixels whose neighbour below or to the right is another segment.

    Along an axis of pixels much longer than wide there are no outlines: they would be bars.
    """
    edges = np.zeros(ids.shape, np.bool_)
    down, right = pixel_nm
    if down <= LONGEST_OUTLINE * right:
        edges[:-1] |= ids[:-1] != ids[1:]
    if right <= LONGEST_OUTLINE * down:
        edges[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    return edges


def _palette_picture(pixels: NDArray[np.uint8], colours: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(pixels)
    picture.putpalette(colours[:, :3].tobytes())
    picture.info["transparency"] = colours[:, 3].tobytes()
    return picture
