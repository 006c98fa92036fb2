"""Artefacts pasted onto sections: dirt, scratches and folds, drawn or your own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmend.core.errors import BadInputError
from segmend.patches.augment import Layers

Artefact = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Grey values 0 to 255 and how opaque they are, 0 to 1, both ``(y, x)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Artefacts:
    """Artefacts on a share of the sections; the labels below stay, for the tissue is still there.

    Attributes:
        share: Of sections that get one.
        pasted: Your own: pairs of grey values uint8 and opacity float 0 to 1, both ``(y, x)``;
            turned, mirrored and put anywhere, so that some may reach out. Without any, dirt,
            scratches and folds are drawn.
        grey: Smallest and largest grey value of what is drawn.
    """

    share: float = 0.03
    pasted: Sequence[tuple[NDArray[Any], NDArray[Any]]] = field(default=(), repr=False)
    grey: tuple[int, int] = (0, 80)

    def __post_init__(self) -> None:
        low, high = self.grey
        if not 0 <= self.share <= 1 or not 0 <= low <= high <= 255:
            raise BadInputError("share must be in [0, 1], grey values in [0, 255]", found=str(self))
        for number, (values, opacity) in enumerate(self.pasted):
            two = values.ndim == opacity.ndim == 2 and values.shape == opacity.shape
            if not two or values.dtype != np.uint8 or not 0 <= opacity.min() <= opacity.max() <= 1:
                raise BadInputError(
                    f"artefact {number} must be grey values uint8 (y, x) and opacities in [0, 1]",
                    found=f"{values.dtype} {values.shape}, {opacity.dtype} {opacity.shape}",
                )

    def __call__(
        self, layers: Layers, _voxel_size: tuple[float, float, float], draw: np.random.Generator
    ) -> Layers:
        """Only the image changes; a copy, never what was read."""
        image = layers[0].copy()
        for z in np.flatnonzero(draw.random(len(image)) < self.share):
            shape = image.shape[1:]
            if self.pasted:
                values, opacity = _placed(
                    self.pasted[int(draw.integers(len(self.pasted)))], shape, draw
                )
            else:
                kinds = (_dirt, _scratch, _fold)
                opacity = kinds[int(draw.integers(len(kinds)))](shape, draw)
                values = np.full(shape, draw.uniform(*self.grey), np.float32)
            mixed = image[z] * (1 - opacity) + values * opacity
            image[z] = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
        return [image, *layers[1:]]


def _placed(
    artefact: tuple[NDArray[Any], NDArray[Any]], shape: tuple[int, ...], draw: np.random.Generator
) -> Artefact:
    """An artefact turned and somewhere on a section, its middle always on it."""
    turns, mirrored = int(draw.integers(4)), bool(draw.integers(2))
    layers = [np.rot90(layer.astype(np.float32), turns) for layer in artefact]
    if mirrored:
        layers = [layer[:, ::-1] for layer in layers]
    start = [int(draw.integers(n)) - m // 2 for n, m in zip(shape, layers[0].shape, strict=True)]
    into = tuple(
        slice(max(0, a), min(n, a + m))
        for a, n, m in zip(start, shape, layers[0].shape, strict=True)
    )
    of = tuple(slice(s.start - a, s.stop - a) for s, a in zip(into, start, strict=True))
    values, opacity = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    values[into], opacity[into] = layers[0][of], layers[1][of]
    return values, opacity


def _dirt(shape: tuple[int, ...], draw: np.random.Generator) -> NDArray[np.float32]:
    """A ragged blob: smooth noise above a threshold, around a random point."""
    radius = draw.uniform(0.05, 0.25) * min(shape)
    centre = draw.uniform(0, 1, 2) * shape
    noise = ndimage.gaussian_filter(draw.standard_normal(shape, np.float32), max(radius / 6, 0.5))
    noise /= max(float(noise.std()), 1e-6)
    y, x = np.ogrid[: shape[0], : shape[1]]
    away = np.hypot(y - centre[0], x - centre[1]) / radius
    return np.clip(3 * (1 - away + 0.3 * noise), 0, 1).astype(np.float32)


def _scratch(shape: tuple[int, ...], draw: np.random.Generator) -> NDArray[np.float32]:
    """A straight line of a knife mark, one to three pixels wide."""
    return _band(_line(shape, draw), draw.uniform(0.5, 1.5)) * np.float32(draw.uniform(0.4, 1))


def _fold(shape: tuple[int, ...], draw: np.random.Generator) -> NDArray[np.float32]:
    """A wide wavy band, dark because tissue lies on tissue."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    along = (y + x) / max(shape) * draw.uniform(1, 4) + draw.uniform(0, 6)
    wave = draw.uniform(0, 0.08) * min(shape) * np.sin(along)
    return _band(_line(shape, draw) + wave, draw.uniform(0.02, 0.06) * min(shape))


def _line(shape: tuple[int, ...], draw: np.random.Generator) -> NDArray[np.float64]:
    """Distance of every pixel from a line of any direction through a point of the section."""
    angle, centre = draw.uniform(0, np.pi), draw.uniform(0, 1, 2) * shape
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((y - centre[0]) * np.cos(angle) + (x - centre[1]) * np.sin(angle))


def _band(distance: NDArray[np.float64], half: float) -> NDArray[np.float32]:
    """1 within ``half`` pixels of 0, falling to 0 over one pixel."""
    return np.clip(half + 0.5 - np.abs(distance), 0, 1).astype(np.float32)
