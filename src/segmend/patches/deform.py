"""Changes of shape: image and labels take the same way, ids as integers, never as floats.

A warp says, for every voxel of the patch, from where it is taken; images are interpolated there,
every other layer takes the nearest voxel. Nothing is taken from outside: what would be is mirrored
at the face (misalignment) or does not occur (elastic: the faces stay where they are).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.patches.augment import Layers

THICK = 1.5
"""Sections so many times as thick as pixels are wide are never interpolated between."""


@dataclass(frozen=True, slots=True)
class Elastic:
    """A smooth random bend.

    Displacements are drawn at points ``spacing`` apart and interpolated between them, all in nm, so
    that anisotropic tissue bends as it would. Where sections are thick (`THICK`), voxels move
    within their section alone: between two sections there is nothing to interpolate.

    Attributes:
        amplitude: Standard deviation of the displacement on each axis, nm.
        spacing: Between points, nm; at least three amplitudes, or the tissue would fold over.
        chance: Share of patches that are bent.
    """

    amplitude: float = 20.0
    spacing: float = 200.0
    chance: float = 0.5

    def __post_init__(self) -> None:
        if not (
            self.amplitude > 0 and 3 * self.amplitude <= self.spacing and 0 <= self.chance <= 1
        ):
            raise BadInputError(
                "an elastic bend needs an amplitude above 0 nm, a spacing of at least three "
                "amplitudes and a chance in [0, 1]",
                found=str(self),
            )

    def __call__(
        self, layers: Layers, voxel_size: tuple[float, float, float], draw: np.random.Generator
    ) -> Layers:
        """Every layer is bent alike."""
        if draw.random() >= self.chance:
            return layers
        shape = layers[0].shape
        flat = voxel_size[0] > THICK * max(voxel_size[1:])
        moved = np.zeros((3, *shape), np.float32)
        for axis in range(1 if flat else 0, 3):
            # Three sigmas at the most: more would fold what lies between two points.
            nm = np.clip(_smooth(shape, voxel_size, self.spacing, draw), -3, 3) * self.amplitude
            moved[axis] = nm / voxel_size[axis] * _inwards(shape, axis, voxel_size, self.spacing)
        image = np.empty(shape, np.uint8)
        source = np.empty((3, *shape), np.int32)
        _warp(np.ascontiguousarray(layers[0]), moved, image, source)
        z, y, x = source
        return [image, *(layer[z, y, x] for layer in layers[1:])]


@dataclass(frozen=True, slots=True)
class Misalignment:
    """Sections that were put in the wrong place: tissue and labels are moved within their section.

    A slip moves one section; a shift moves all from one on, to the end of the patch. What moves
    in over the edge is mirrored.

    Attributes:
        slip: Chance of a section to slip.
        shift: Chance of a section to be where a shift begins.
        most: Largest move on either axis, nm.
    """

    slip: float = 0.05
    shift: float = 0.05
    most: float = 60.0

    def __post_init__(self) -> None:
        if not (0 <= self.slip <= 1 and 0 <= self.shift <= 1 and self.most > 0):
            raise BadInputError(
                "slip and shift are chances in [0, 1], the largest move is above 0 nm",
                found=str(self),
            )

    def __call__(
        self, layers: Layers, voxel_size: tuple[float, float, float], draw: np.random.Generator
    ) -> Layers:
        """Every layer is moved alike."""
        depth, height, width = layers[0].shape
        slips, shifts = draw.random((2, depth)) < [[self.slip], [self.shift]]
        shifts[0] = False  # moving everything would be no misalignment
        moves = draw.uniform(-self.most, self.most, (2, depth, 2)) / voxel_size[1:]
        offsets = np.rint(
            np.cumsum(moves[0] * shifts[:, None], axis=0) + moves[1] * slips[:, None]
        ).astype(np.intp)
        if not offsets.any():
            return layers
        ys = _mirror(np.arange(height) - offsets[:, :1], height)
        xs = _mirror(np.arange(width) - offsets[:, 1:], width)
        z = np.arange(depth)[:, None, None]
        return [layer[z, ys[:, :, None], xs[:, None, :]] for layer in layers]


def _smooth(
    shape: tuple[int, ...], voxel_size: tuple[float, ...], spacing: float, draw: np.random.Generator
) -> NDArray[np.float32]:
    """Standard normal numbers at points, linear in between after a smooth step: no kinks."""
    counts = [int(np.ceil(n * s / spacing)) + 1 for n, s in zip(shape, voxel_size, strict=True)]
    field = draw.standard_normal(counts, np.float32)
    for axis, (n, s) in enumerate(zip(shape, voxel_size, strict=True)):
        at = np.arange(n) * (s / spacing)
        low = at.astype(np.intp)
        part = (at - low).astype(np.float32)
        part = (part * part * (3 - 2 * part)).reshape([-1 if a == axis else 1 for a in range(3)])
        high = np.minimum(low + 1, field.shape[axis] - 1)
        field = field.take(low, axis) * (1 - part) + field.take(high, axis) * part
    return field


def _inwards(
    shape: tuple[int, ...], axis: int, voxel_size: tuple[float, ...], spacing: float
) -> NDArray[np.float32]:
    """0 at the two faces of an axis, rising to 1 within a spacing, or half the patch."""
    n = shape[axis]
    ramp = min(spacing / voxel_size[axis], max(1.0, (n - 1) / 2))
    steps = np.minimum(np.arange(n), np.arange(n)[::-1])
    weights = np.minimum(steps / ramp, 1).astype(np.float32)
    return weights.reshape([-1 if a == axis else 1 for a in range(3)])


def _mirror(index: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    index = index % (2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)


@numba.njit(cache=True, nogil=True)
def _warp(image, moved, out, source):  # type: ignore[no-untyped-def]
    """Trilinear values of an image, and the nearest voxel, at every voxel moved, clipped inside."""
    depth, height, width = image.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                fz = min(max(z + moved[0, z, y, x], np.float32(0)), np.float32(depth - 1))
                fy = min(max(y + moved[1, z, y, x], np.float32(0)), np.float32(height - 1))
                fx = min(max(x + moved[2, z, y, x], np.float32(0)), np.float32(width - 1))
                source[0, z, y, x] = int(fz + np.float32(0.5))
                source[1, z, y, x] = int(fy + np.float32(0.5))
                source[2, z, y, x] = int(fx + np.float32(0.5))
                z0, y0, x0 = int(fz), int(fy), int(fx)
                z1, y1, x1 = min(z0 + 1, depth - 1), min(y0 + 1, height - 1), min(x0 + 1, width - 1)
                pz, py, px = fz - z0, fy - y0, fx - x0
                near = _between(image, z0, y0, y1, x0, x1, py, px)
                far = _between(image, z1, y0, y1, x0, x1, py, px)
                out[z, y, x] = np.uint8(near * (1 - pz) + far * pz + np.float32(0.5))


@numba.njit(cache=True, nogil=True)
def _between(image, z, y0, y1, x0, x1, py, px):  # type: ignore[no-untyped-def]
    top = image[z, y0, x0] * (1 - px) + image[z, y0, x1] * px
    bottom = image[z, y1, x0] * (1 - px) + image[z, y1, x1] * px
    return top * (1 - py) + bottom * py
