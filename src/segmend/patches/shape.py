"""Local shape descriptors: how each voxel's segment lies around it, within a Gaussian window.

Sheridan et al. 2023, "Local shape descriptors for neuron segmentation", Nature Methods 20:295
(bioRxiv 2021.01.18.427039). Order and scaling of the channels are those of the authors' published
extractor, so that networks trained on either can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.patches.targets import Answer, Truth

TRUNCATE = 3.0
"""The window ends at so many sigmas, as in the authors' extractor."""

LEAST_VARIANCE = 1e-3
"""nm^2; a smaller variance counts as this (the authors' extractor: against division by zero)."""


@dataclass(frozen=True, slots=True)
class LocalShape:
    """Ten channels in [0, 1] per voxel, of the part of its segment around it.

    0 to 2: offset from the voxel to the centre of mass, z y x (0.5 = none; 0 and 1 = one sigma);
    3 to 5: variance of the coordinates, zz yy xx, in sigmas squared; 6 to 8: their correlation,
    zy zx yx (0.5 = none); 9: share of the window that the segment fills.

    Attributes:
        sigma: Of the Gaussian window, nm, the same on every axis.
        whole: Count only voxels whose window lies inside the patch: segments end at its faces, so
            that nearer ones have other values than they would in the whole volume.
    """

    sigma: float
    whole: bool = False
    name: str = "local_shape"

    def __post_init__(self) -> None:
        if not 0 < self.sigma < np.inf:
            raise BadInputError("sigma must be above 0 nm", found=f"sigma {self.sigma}")

    def of(self, truth: Truth) -> Answer:
        """float32, ten channels; 0 in the background, which does not count."""
        labels = truth.labels
        z, y, x = (window(self.sigma / size) for size in truth.voxel_size)
        size = np.array(truth.voxel_size, np.float64)
        values = np.zeros((10, *labels.shape), np.float32)
        extents = np.empty((int(labels.max()) + 1, 2, 3), np.int64)
        _extents(labels, extents)
        for label in range(1, len(extents)):
            if extents[label, 1, 0]:
                _describe(labels, label, extents[label], (z, y, x), size, self.sigma, values)
        valid = truth.known & (labels != 0).view(np.uint8)
        if self.whole:
            valid = valid * _inner(labels.shape, [len(weights) // 2 for weights in (z, y, x)])
        return values, np.broadcast_to(valid, values.shape)


def window(sigma: float) -> NDArray[np.float64]:
    """Weights of a Gaussian window of an odd number of voxels, of sum 1."""
    reach = int(TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def _inner(shape: Sequence[int], reach: Sequence[int]) -> NDArray[np.uint8]:
    inner = np.zeros(shape, np.uint8)
    inner[tuple(slice(r, max(r, n - r)) for n, r in zip(shape, reach, strict=True))] = 1
    return inner


@numba.njit(cache=True, nogil=True)
def _extents(labels, extents):  # type: ignore[no-untyped-def]
    """First voxel and the one behind the last of every label; 0, 0 where it does not occur."""
    extents[:, 0] = 2**62
    extents[:, 1] = 0
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                box = extents[labels[z, y, x]]
                at = (z, y, x)
                for axis in range(3):
                    box[0, axis] = min(box[0, axis], at[axis])
                    box[1, axis] = max(box[1, axis], at[axis] + 1)


@numba.njit(cache=True, nogil=True)
def _describe(labels, label, extent, windows, size, sigma, values):  # type: ignore[no-untyped-def]
    """The ten channels at the voxels of one label.

    Moments about each voxel, up to the second, are sums of weights along x, then y, then z:
    3, 6 and 10 of them, over the label's box alone.
    """
    wz, wy, wx = windows
    z0, y0, x0 = extent[0]
    part = labels[z0 : extent[1, 0], y0 : extent[1, 1], x0 : extent[1, 2]]
    depth, height, width = part.shape
    rows = np.zeros((depth, height), np.bool_)
    one = np.zeros((depth, height, 3, width), np.float32)
    _along_x(part, label, wx, size[2], rows, one)
    two = np.zeros((depth, height, 6, width), np.float32)
    reach = wy.size // 2
    for z in range(depth):
        for y in range(height):
            for other in range(max(0, y - reach), min(height, y + reach + 1)):
                if rows[z, other]:
                    away = (other - y) * size[1]
                    w0 = np.float32(wy[other - y + reach])
                    _add_y(one[z, other], w0, w0 * np.float32(away), two[z, y], np.float32(away))
    ten = np.empty((10, width), np.float32)
    reach = wz.size // 2
    for z in range(depth):
        for y in range(height):
            if not rows[z, y]:
                continue
            ten[:] = 0
            for other in range(max(0, z - reach), min(depth, z + reach + 1)):
                away = (other - z) * size[0]
                w0 = np.float32(wz[other - z + reach])
                _add_z(two[other, y], w0, w0 * np.float32(away), ten, np.float32(away))
            for x in range(width):
                if part[z, y, x] == label:
                    _write(ten[:, x], sigma, values[:, z0 + z, y0 + y, x0 + x])


@numba.njit(cache=True, nogil=True)
def _along_x(part, label, weights, size, rows, one):  # type: ignore[no-untyped-def]
    """Weights, and weights times distance and its square, of a row's voxels: run by run."""
    reach = weights.size // 2
    upto = np.zeros((3, weights.size + 1), np.float64)
    for k in range(weights.size):
        away = (k - reach) * size
        upto[0, k + 1] = upto[0, k] + weights[k]
        upto[1, k + 1] = upto[1, k] + weights[k] * away
        upto[2, k + 1] = upto[2, k] + weights[k] * away * away
    depth, height, width = part.shape
    for z in range(depth):
        for y in range(height):
            x = 0
            while x < width:
                if part[z, y, x] != label:
                    x += 1
                    continue
                first = x
                while x < width and part[z, y, x] == label:
                    x += 1
                rows[z, y] = True
                for at in range(max(0, first - reach), min(width, x + reach)):
                    low = max(0, first - at + reach)
                    high = min(weights.size, x - at + reach)
                    for m in range(3):
                        one[z, y, m, at] += upto[m, high] - upto[m, low]


@numba.njit(cache=True, nogil=True)
def _add_y(one, w0, w1, two, away):  # type: ignore[no-untyped-def]
    """One row of moments 1 x xx into 1 y yy x yx xx."""
    _add(two[0], w0, one[0])
    _add(two[1], w1, one[0])
    _add(two[2], w1 * away, one[0])
    _add(two[3], w0, one[1])
    _add(two[4], w1, one[1])
    _add(two[5], w0, one[2])


@numba.njit(cache=True, nogil=True)
def _add_z(two, w0, w1, ten, away):  # type: ignore[no-untyped-def]
    """One row of moments 1 y yy x yx xx into 1 z y x zz yy xx zy zx yx."""
    _add(ten[0], w0, two[0])
    _add(ten[1], w1, two[0])
    _add(ten[2], w0, two[1])
    _add(ten[3], w0, two[3])
    _add(ten[4], w1 * away, two[0])
    _add(ten[5], w0, two[2])
    _add(ten[6], w0, two[5])
    _add(ten[7], w1, two[1])
    _add(ten[8], w1, two[3])
    _add(ten[9], w0, two[4])


@numba.njit(cache=True, nogil=True)
def _add(row, weight, other):  # type: ignore[no-untyped-def]
    for x in range(row.size):  # two rows at a time: this becomes SIMD
        row[x] += weight * other[x]


@numba.njit(cache=True, nogil=True)
def _write(ten, sigma, out):  # type: ignore[no-untyped-def]
    """Moments to descriptors, scaled and clipped to [0, 1]."""
    mass = ten[0]
    z, y, x = ten[1] / mass, ten[2] / mass, ten[3] / mass
    zz = max(ten[4] / mass - z * z, LEAST_VARIANCE)
    yy = max(ten[5] / mass - y * y, LEAST_VARIANCE)
    xx = max(ten[6] / mass - x * x, LEAST_VARIANCE)
    out[0], out[1], out[2] = 0.5 + 0.5 * z / sigma, 0.5 + 0.5 * y / sigma, 0.5 + 0.5 * x / sigma
    out[3], out[4], out[5] = zz / sigma**2, yy / sigma**2, xx / sigma**2
    out[6] = 0.5 + 0.5 * (ten[7] / mass - z * y) / np.sqrt(zz * yy)
    out[7] = 0.5 + 0.5 * (ten[8] / mass - z * x) / np.sqrt(zz * xx)
    out[8] = 0.5 + 0.5 * (ten[9] / mass - y * x) / np.sqrt(yy * xx)
    out[9] = mass
    for c in range(10):
        out[c] = min(max(out[c], np.float32(0)), np.float32(1))
