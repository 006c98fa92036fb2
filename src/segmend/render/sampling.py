"""Kernels that sample a plane of an image and of the two sides, straight from the voxels.

Coordinates are continuous voxels: the centre of voxel 0 is 0.5. A row of a plane is sampled in
three loops, over numbers that fit the nearest cache: where its samples lie (SIMD), the voxels
around them (one load each), what they make together (SIMD). Samples beside or beyond the volume's
border, and beside absent voxels, are few and taken one by one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from segmend.core.sample import IMAGE_SIZE
from segmend.render.labels import NO_SIDE

SLAB = (-1, 0, 1)
"""Samples along the plane's normal, in finest voxels."""

_MIDDLE = (IMAGE_SIZE - 1) / 2
_CORNERS = 8


@njit(cache=True, nogil=True)
def sample_em(image, placed, plane, out):  # type: ignore[no-untyped-def]
    """Mean over the slab of trilinear samples.

    Beyond the outermost voxel centres the outermost voxels go on; absent neighbours carry no
    weight; a sample counts if the voxel it falls into is stored.

    Args:
        image: Block ``(z, y, x)``, its coverage, and whether that is complete. It must hold both
            neighbours of every sample inside the grid, and be C-contiguous.
        placed: The block's first voxel in the grid, and the shape of the grid.
        plane: Centre, float64 ``(3,)``; steps per row, column and slab sample, float64 ``(3, 3)``.
        out: float32 ``(224, 224)`` for the mean and bool ``(224, 224)`` for whether any of the
            slab's samples counted, overwritten.
    """
    data, _, complete = image
    start, shape = placed
    em, covered = out
    total, count = np.empty(IMAGE_SIZE, np.float32), np.empty(IMAGE_SIZE, np.float32)
    first, share = np.empty(IMAGE_SIZE, np.int64), np.empty(3 * IMAGE_SIZE, np.float32)
    corners = np.empty(_CORNERS * IMAGE_SIZE, data.dtype)
    for i in range(IMAGE_SIZE):
        total[:], count[:] = 0, 0
        for k in SLAB:
            line = _line(plane, i - _MIDDLE, k)
            low, high = _inside(line, 0.5, shape) if complete else (IMAGE_SIZE, IMAGE_SIZE)
            _single_samples(image, placed, line, (0, low), (total, count))
            _single_samples(image, placed, line, (high, IMAGE_SIZE), (total, count))
            if low < high:
                _locate(line, start, data.shape, first, share)
                _gather(data, first, corners)
                _add_trilinear(corners, share, (low, high), total, count)
        for j in range(IMAGE_SIZE):
            covered[i, j] = count[j] > 0
            em[i, j] = total[j] / max(count[j], np.float32(1))


@njit(cache=True, nogil=True)
def sample_sides(codes, plane, out):  # type: ignore[no-untyped-def]
    """Nearest voxels over the slab.

    Args:
        codes: uint8 ``(z, y, x)``, C-contiguous, see `SideBlock`; outside it there is neither side.
        plane: As in `sample_em`, in voxels of ``codes``.
        out: uint8 ``(224, 224)``, overwritten: bit 0 where a sample is A, bit 1 where one is B.
    """
    found, first = np.empty(IMAGE_SIZE, np.uint8), np.empty(IMAGE_SIZE, np.int64)
    flat, row, layer = codes.reshape(-1), codes.shape[2], codes.shape[1] * codes.shape[2]
    last = np.float64(codes.size - 1)
    for i in range(IMAGE_SIZE):
        out[i] = 0
        for k in SLAB:
            line = _line(plane, i - _MIDDLE, k)
            low, high = _inside(line, 0.0, codes.shape)
            if low == high:
                continue
            for j in range(IMAGE_SIZE):
                z, y, x = _point(line, j)
                at = np.floor(z) * layer + np.floor(y) * row + np.floor(x)
                first[j] = np.int64(min(max(at, 0.0), last))
            for j in range(IMAGE_SIZE):
                found[j] = flat[np.uint64(first[j])]
            for j in range(IMAGE_SIZE):
                # The codes of A and B are their bits.
                counts = (low <= j) & (j < high) & (found[j] != NO_SIDE)
                out[i, j] |= found[j] if counts else np.uint8(0)


@njit(cache=True, nogil=True, inline="always")
def _line(plane, row, layer):  # type: ignore[no-untyped-def]
    """Where a row of a plane begins, and its step from column to column."""
    center, steps = plane
    return (
        center[0] + row * steps[0, 0] + layer * steps[2, 0],
        center[1] + row * steps[0, 1] + layer * steps[2, 1],
        center[2] + row * steps[0, 2] + layer * steps[2, 2],
        steps[1, 0],
        steps[1, 1],
        steps[1, 2],
    )


@njit(cache=True, nogil=True, inline="always")
def _point(line, column):  # type: ignore[no-untyped-def]
    at = column - _MIDDLE
    return line[0] + at * line[3], line[1] + at * line[4], line[2] + at * line[5]


@njit(cache=True, nogil=True)
def _inside(line, border, shape):  # type: ignore[no-untyped-def]
    """First and stop column whose samples keep a distance from the faces of an array.

    A coordinate never turns back along a row, not even by rounding: these columns are adjacent.
    """
    low, high = 0, IMAGE_SIZE
    while low < high and not _keeps(_point(line, low), border, shape):
        low += 1
    while low < high and not _keeps(_point(line, high - 1), border, shape):
        high -= 1
    return low, high


@njit(cache=True, nogil=True, inline="always")
def _keeps(point, border, shape):  # type: ignore[no-untyped-def]
    z, y, x = point
    in_z, in_y = border <= z < shape[0] - border, border <= y < shape[1] - border
    return in_z and in_y and border <= x < shape[2] - border


@njit(cache=True, nogil=True)
def _locate(line, start, shape, first, share):  # type: ignore[no-untyped-def]
    """The first of the eight voxels around each sample, and the weights of the second ones.

    Samples that have not eight voxels get some that exist: nobody looks at them.
    """
    row, layer = np.float64(shape[2]), np.float64(shape[1] * shape[2])
    origin = start[0] * layer + start[1] * row + start[2]
    last = max(shape[0] * layer - layer - row - 2, 0.0)
    for j in range(IMAGE_SIZE):
        z, y, x = _point(line, j)
        low_z, low_y, low_x = np.floor(z - 0.5), np.floor(y - 0.5), np.floor(x - 0.5)
        share[j] = z - 0.5 - low_z
        share[j + IMAGE_SIZE] = y - 0.5 - low_y
        share[j + 2 * IMAGE_SIZE] = x - 0.5 - low_x
        # Whole numbers, exact in float64.
        at = low_z * layer + low_y * row + low_x - origin
        first[j] = np.int64(min(max(at, 0.0), last))


@njit(cache=True, nogil=True)
def _gather(data, first, corners):  # type: ignore[no-untyped-def]
    """Copy the voxels around each sample; corner ``4 dz + 2 dy + dx`` has its own row."""
    flat, one, row = data.reshape(-1), np.uint64(1), np.uint64(data.shape[2])
    layer = np.uint64(data.shape[1]) * row
    for j in range(IMAGE_SIZE):
        # Unsigned indices spare the test for Python's negative ones.
        at = np.uint64(first[j])
        corners[j], corners[j + IMAGE_SIZE] = flat[at], flat[at + one]
        at += row
        corners[j + 2 * IMAGE_SIZE], corners[j + 3 * IMAGE_SIZE] = flat[at], flat[at + one]
        at += layer - row
        corners[j + 4 * IMAGE_SIZE], corners[j + 5 * IMAGE_SIZE] = flat[at], flat[at + one]
        at += row
        corners[j + 6 * IMAGE_SIZE], corners[j + 7 * IMAGE_SIZE] = flat[at], flat[at + one]


@njit(cache=True, nogil=True)
def _add_trilinear(corners, share, columns, total, count):  # type: ignore[no-untyped-def]
    for j in range(IMAGE_SIZE):
        fz, fy, fx = share[j], share[j + IMAGE_SIZE], share[j + 2 * IMAGE_SIZE]
        near = _bilinear(corners, j, fy, fx)
        far = _bilinear(corners, j + 4 * IMAGE_SIZE, fy, fx)
        inside = (columns[0] <= j) & (j < columns[1])
        total[j] += near + (far - near) * fz if inside else np.float32(0)
        count[j] += np.float32(inside)


@njit(cache=True, nogil=True, inline="always")
def _bilinear(corners, j, fy, fx):  # type: ignore[no-untyped-def]
    a, b = np.float32(corners[j]), np.float32(corners[j + IMAGE_SIZE])
    c, d = np.float32(corners[j + 2 * IMAGE_SIZE]), np.float32(corners[j + 3 * IMAGE_SIZE])
    top, bottom = a + (b - a) * fx, c + (d - c) * fx
    return top + (bottom - top) * fy


@njit(cache=True, nogil=True)
def _single_samples(image, placed, line, columns, out):  # type: ignore[no-untyped-def]
    """Samples near a border or near absent voxels."""
    _, coverage, complete = image
    start, shape = placed
    total, count = out
    for j in range(columns[0], columns[1]):
        z, y, x = _point(line, j)
        if not _keeps((z, y, x), 0.0, shape):
            continue
        if complete or coverage[int(z) - start[0], int(y) - start[1], int(x) - start[2]]:
            z0, z1, fz = _neighbours(z, shape[0], start[0])
            y0, y1, fy = _neighbours(y, shape[1], start[1])
            x0, x1, fx = _neighbours(x, shape[2], start[2])
            total[j] += _weighted(image, (z0, z1), (y0, y1), (x0, x1), (fz, fy, fx))
            count[j] += 1


@njit(cache=True, nogil=True)
def _neighbours(at, count, start):  # type: ignore[no-untyped-def]
    """The two voxels of the block around a coordinate inside the grid, and the second's weight."""
    # Truncation is the floor here, because the sum is never negative.
    low = int(at + 0.5) - 1
    return max(low, 0) - start, min(low + 1, count - 1) - start, at - 0.5 - low


@njit(cache=True, nogil=True)
def _weighted(image, at_z, at_y, at_x, fraction):  # type: ignore[no-untyped-def]
    """Trilinear value over the stored ones of the eight neighbours."""
    data, coverage, complete = image
    total, weights = 0.0, 0.0
    for corner in range(_CORNERS):
        i, j, k = corner >> 2, corner >> 1 & 1, corner & 1
        z, y, x = at_z[i], at_y[j], at_x[k]
        if complete or coverage[z, y, x]:
            wz = fraction[0] if i else 1 - fraction[0]
            wy = fraction[1] if j else 1 - fraction[1]
            wx = fraction[2] if k else 1 - fraction[2]
            total += wz * wy * wx * data[z, y, x]
            weights += wz * wy * wx
    return total / weights
