"""Kernels that sample a plane of an image and of the two sides, straight from the voxels.

Coordinates are continuous voxels: the centre of voxel 0 is 0.5.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from segmend.core.sample import IMAGE_SIZE
from segmend.render.labels import SIDE_A, SIDE_B

SLAB = (-1, 0, 1)
"""Samples along the plane's normal, in finest voxels."""

_MIDDLE = (IMAGE_SIZE - 1) / 2


@njit(cache=True, nogil=True)
def sample_em(image, placed, plane, out):  # type: ignore[no-untyped-def]
    """Mean over the slab of trilinear samples.

    Beyond the outermost voxel centres the outermost voxels go on; absent neighbours carry no
    weight; a sample counts if the voxel it falls into is stored.

    Args:
        image: Block ``(z, y, x)``, its coverage, and whether that is complete. It must hold both
            neighbours of every sample inside the grid.
        placed: The block's first voxel in the grid, and the shape of the grid.
        plane: Centre, float64 ``(3,)``; steps per row, column and slab sample, float64 ``(3, 3)``.
        out: float32 ``(224, 224)`` for the mean and bool ``(224, 224)`` for whether any of the
            slab's samples counted, overwritten.
    """
    data, coverage, complete = image
    (start_z, start_y, start_x), (nz, ny, nx) = placed
    center, steps = plane
    em, covered = out
    for i in range(IMAGE_SIZE):
        for j in range(IMAGE_SIZE):
            total, count = 0.0, 0
            for k in SLAB:
                z, y, x = _point(center, steps, i - _MIDDLE, j - _MIDDLE, k)
                if not (0 <= z < nz and 0 <= y < ny and 0 <= x < nx):
                    continue
                z0, z1, fz = _neighbours(z, nz, start_z)
                y0, y1, fy = _neighbours(y, ny, start_y)
                x0, x1, fx = _neighbours(x, nx, start_x)
                if complete:
                    near = _bilinear(data, z0, y0, y1, x0, x1, fy, fx)
                    far = _bilinear(data, z1, y0, y1, x0, x1, fy, fx)
                    total += near + (far - near) * fz
                    count += 1
                elif coverage[int(z) - start_z, int(y) - start_y, int(x) - start_x]:
                    total += _weighted(data, coverage, (z0, z1), (y0, y1), (x0, x1), (fz, fy, fx))
                    count += 1
            covered[i, j] = count > 0
            em[i, j] = total / count if count else 0.0


@njit(cache=True, nogil=True)
def sample_sides(codes, plane, out):  # type: ignore[no-untyped-def]
    """Nearest voxels over the slab.

    Args:
        codes: uint8 ``(z, y, x)``, see `SideBlock`; outside it there is neither side.
        plane: As in `sample_em`, in voxels of ``codes``.
        out: uint8 ``(224, 224)``, overwritten: bit 0 where a sample is A, bit 1 where one is B.
    """
    nz, ny, nx = codes.shape
    center, steps = plane
    for i in range(IMAGE_SIZE):
        for j in range(IMAGE_SIZE):
            found = 0
            for k in SLAB:
                z, y, x = _point(center, steps, i - _MIDDLE, j - _MIDDLE, k)
                if 0 <= z < nz and 0 <= y < ny and 0 <= x < nx:
                    code = codes[int(z), int(y), int(x)]
                    found |= (code == SIDE_A) | (code == SIDE_B) << 1
            out[i, j] = found


@njit(cache=True, nogil=True)
def _point(center, steps, row, column, layer):  # type: ignore[no-untyped-def]
    return (
        center[0] + row * steps[0, 0] + column * steps[1, 0] + layer * steps[2, 0],
        center[1] + row * steps[0, 1] + column * steps[1, 1] + layer * steps[2, 1],
        center[2] + row * steps[0, 2] + column * steps[1, 2] + layer * steps[2, 2],
    )


@njit(cache=True, nogil=True)
def _neighbours(at, count, start):  # type: ignore[no-untyped-def]
    """The two voxels of the block around a coordinate inside the grid, and the second's weight."""
    # Truncation is the floor here, because the sum is never negative.
    low = int(at + 0.5) - 1
    return max(low, 0) - start, min(low + 1, count - 1) - start, at - 0.5 - low


@njit(cache=True, nogil=True)
def _bilinear(data, z, y0, y1, x0, x1, fy, fx):  # type: ignore[no-untyped-def]
    a, b = np.float64(data[z, y0, x0]), np.float64(data[z, y0, x1])
    c, d = np.float64(data[z, y1, x0]), np.float64(data[z, y1, x1])
    top, bottom = a + (b - a) * fx, c + (d - c) * fx
    return top + (bottom - top) * fy


@njit(cache=True, nogil=True)
def _weighted(data, coverage, at_z, at_y, at_x, fraction):  # type: ignore[no-untyped-def]
    """Trilinear value over the stored ones of the eight neighbours."""
    total, weights = 0.0, 0.0
    for corner in range(8):
        i, j, k = corner >> 2, corner >> 1 & 1, corner & 1
        z, y, x = at_z[i], at_y[j], at_x[k]
        if coverage[z, y, x]:
            wz = fraction[0] if i else 1 - fraction[0]
            wy = fraction[1] if j else 1 - fraction[1]
            wx = fraction[2] if k else 1 - fraction[2]
            total += wz * wy * wx * data[z, y, x]
            weights += wz * wy * wx
    return total / weights
