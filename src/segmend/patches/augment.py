"""Changes of a patch that leave its meaning: image and labels together, ids never as floats.

Every draw comes from the generator of the sample, so that a sample is the same wherever it is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError

Layers = list[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Flips:
    """Mirrors on every axis; right-angle turns between axes of equal voxels and length."""

    turns: bool = True

    def __call__(
        self, layers: Layers, voxel_size: tuple[float, float, float], draw: np.random.Generator
    ) -> Layers:
        """The image first, then labels of any integer dtype."""
        for axis in range(3):
            if draw.integers(2):
                layers = [np.flip(a, axis) for a in layers]
        shape = layers[0].shape
        for a, b in ((1, 2), (0, 1), (0, 2)):
            equal = shape[a] == shape[b] and abs(voxel_size[a] - voxel_size[b]) < 1e-6
            if draw.integers(2) and self.turns and equal:
                layers = [np.swapaxes(v, a, b) for v in layers]
        return layers


@dataclass(frozen=True, slots=True)
class Intensity:
    """Contrast and brightness, one draw per patch and a smaller one per section, and noise.

    Attributes:
        contrast: Largest relative change of a patch; a section gets up to a quarter more.
        brightness: Largest change of a patch, grey values.
        noise: Largest standard deviation, grey values.
    """

    contrast: float = 0.2
    brightness: float = 20.0
    noise: float = 8.0

    def __post_init__(self) -> None:
        if min(self.contrast, self.brightness, self.noise) < 0 or self.contrast >= 0.8:
            raise BadInputError("contrast must be in [0, 0.8), brightness and noise not negative")

    def __call__(
        self, layers: Layers, _voxel_size: tuple[float, float, float], draw: np.random.Generator
    ) -> Layers:
        """Only the image changes."""
        image = layers[0]
        per_section = draw.uniform(-0.25, 0.25, (2, image.shape[0], 1, 1)).astype(np.float32)
        whole = draw.uniform(-1, 1, 2).astype(np.float32)
        gain = 1 + np.float32(self.contrast) * (whole[0] + per_section[0])
        shift = np.float32(self.brightness) * (whole[1] + per_section[1])
        values = (image.astype(np.float32) - 128) * gain
        values += 128 + shift
        if self.noise:
            spread = np.float32(draw.uniform(0, self.noise))
            values += draw.standard_normal(image.shape, np.float32) * spread
        return [np.clip(values, 0, 255).astype(np.uint8), *layers[1:]]


@dataclass(frozen=True, slots=True)
class Sections:
    """Faults of single sections: missing, dark, blurred, shifted; labels stay where they are.

    Attributes:
        share: Of sections that get a fault.
        slip: Largest shift in the plane, voxels.
    """

    share: float = 0.05
    slip: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or self.slip < 0:
            raise BadInputError("share must be in [0, 1], slip not negative")

    def __call__(
        self, layers: Layers, _voxel_size: tuple[float, float, float], draw: np.random.Generator
    ) -> Layers:
        """Only the image changes; a copy, never what was read."""
        image = layers[0].copy()
        faulty = np.flatnonzero(draw.random(image.shape[0]) < self.share)
        for z in faulty:
            section = image[z]
            kind = int(draw.integers(4))
            if kind == 0:
                section[...] = 0
            elif kind == 1:
                section[...] = section // 4
            elif kind == 2:
                section[...] = _blurred(section)
            else:
                section[...] = _slipped(section, draw.integers(-self.slip, self.slip + 1, 2))
        return [image, *layers[1:]]


@dataclass(frozen=True, slots=True)
class CutOut:
    """A box of the image set to its mean, at most half the patch's length on each axis."""

    chance: float = 0.5

    def __call__(
        self, layers: Layers, _voxel_size: tuple[float, float, float], draw: np.random.Generator
    ) -> Layers:
        """Only the image changes."""
        if draw.random() >= self.chance:
            return layers
        image = layers[0].copy()
        sizes = [int(draw.integers(1, max(2, n // 2 + 1))) for n in image.shape]
        starts = [int(draw.integers(n - s + 1)) for n, s in zip(image.shape, sizes, strict=True)]
        box = tuple(slice(a, a + s) for a, s in zip(starts, sizes, strict=True))
        image[box] = np.uint8(image.mean())
        return [image, *layers[1:]]


DEFAULT = (Flips(), Intensity(), Sections())
"""What most trainings want."""


def _blurred(section: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean of 5 by 5, edges repeated."""
    wide = np.pad(section, 2, mode="edge").astype(np.uint16)
    height, width = section.shape
    rows = np.zeros((height, width + 4), np.uint16)
    total = np.zeros(section.shape, np.uint16)
    for i in range(5):
        rows += wide[i : i + height]
    for i in range(5):
        total += rows[:, i : i + width]
    return (total // 25).astype(np.uint8)


def _slipped(section: NDArray[np.uint8], by: NDArray[Any]) -> NDArray[np.uint8]:
    """Moved, edges repeated."""
    ys = np.clip(np.arange(section.shape[0]) - int(by[0]), 0, section.shape[0] - 1)
    xs = np.clip(np.arange(section.shape[1]) - int(by[1]), 0, section.shape[1] - 1)
    return section[np.ix_(ys, xs)]
