"""Planes of the EM slices: the three cardinal ones and the search for the best oblique one."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.sample import IMAGE_SIZE
from segmend.render.labels import SIDE_A, SIDE_B

STEP_DEGREES = 10
SAME_NORMAL = 0.99
"""Normals whose |dot| exceeds this are one plane (reference 1.8)."""

INNER = 0.75
"""Share of the image's width in which the areas of A and B are counted (reference 1.8)."""

SEARCH_SIZE = 64
"""Samples along each side of that inner square."""

_LANES = 64
"""Voxels in one SIMD register of the widest kind."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PlaneAxes:
    """Unit vectors of a slice, world ``(x, y, z)``.

    Attributes:
        row: Direction in which row numbers grow (down the image).
        column: Direction in which column numbers grow.
        normal: Direction of the slab's samples.
    """

    row: tuple[float, float, float]
    column: tuple[float, float, float]
    normal: tuple[float, float, float]


CARDINAL = {
    "xy": PlaneAxes((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "xz": PlaneAxes((1, 0, 0), (0, 0, 1), (0, 1, 0)),
    "yz": PlaneAxes((0, 1, 0), (0, 0, 1), (1, 0, 0)),
}
"""Rows and columns as in the published slices: ``em_xy`` has rows x and columns y."""


@functools.cache
def search_normals() -> tuple[tuple[float, float, float], ...]:
    """The 51 candidate normals ``(x, y, z)``, in a fixed order.

    Each cardinal axis is turned about the next (x about y, y about z, z about x) from -90 to 90
    degrees in steps of 10; later near-duplicates of earlier normals, or of their opposites, are
    left out.
    """
    kept: list[Vector] = []
    for axis in range(3):
        other = (axis + 2) % 3
        for degrees in range(-90, 91, STEP_DEGREES):
            angle = np.radians(degrees)
            normal = np.zeros(3)
            normal[axis], normal[other] = np.cos(angle), -np.sin(angle)
            normal = np.round(normal, 12) + 0.0
            if all(abs(normal @ n) <= SAME_NORMAL for n in kept):
                kept.append(normal)
    return tuple((float(n[0]), float(n[1]), float(n[2])) for n in kept)


@functools.cache
def plane_axes(normal: tuple[float, float, float]) -> PlaneAxes:
    """The in-plane axes of a normal; the cardinal planes come out as in `CARDINAL`.

    Rows follow the first of x, y, z that is at least 26 degrees away from the normal, projected
    onto the plane; columns are perpendicular to both, turned so that their largest component is
    positive (the first of x, y, z, where two are equal).
    """
    n = np.array(normal)
    reference = np.eye(3)[int(np.argmax(np.abs(n) < 0.9))]
    row = reference - (reference @ n) * n
    row /= np.linalg.norm(row)
    column = np.round(np.cross(n, row), 12)
    largest = int(np.argmax(np.abs(column)))
    column = column * np.sign(column[largest]) + 0.0
    row = np.round(row, 12) + 0.0
    x, y, z = row.tolist()
    u, v, w = column.tolist()
    return PlaneAxes((x, y, z), (u, v, w), normal)


@functools.cache
def _candidates() -> tuple[list[PlaneAxes], NDArray[np.int64], Vector]:
    """All candidate planes; the world axis each one holds, as an array axis; the other direction.

    Each plane is a cardinal one turned about one of its own axes, so that one of its in-plane axes
    is a world axis. The other direction is ``(z, y, x)``.
    """
    planes = [plane_axes(n) for n in search_normals()]
    held, across = np.empty(len(planes), np.int64), np.empty((len(planes), 3))
    for i, plane in enumerate(planes):
        first, second = np.array(plane.row[::-1]), np.array(plane.column[::-1])
        along, across[i] = (first, second) if np.count_nonzero(first) == 1 else (second, first)
        (held[i],) = np.flatnonzero(along)
    return planes, held, across


def best_plane(
    codes: NDArray[np.uint8], center: Vector, voxel_size: Vector, pixel_size_nm: float
) -> PlaneAxes:
    """The plane through a point that shows most of A and B.

    Maximises ``log max(area A, 1) + log max(area B, 1)``, areas counted in samples of a 64 x 64
    grid over the inner 75 % of the image. Where there is no B, that is the area of A. Of equal
    planes the first of `search_normals` wins.

    Args:
        codes: uint8 ``(z, y, x)``, C-contiguous, see `SideBlock`. Outside it there is neither A
            nor B.
        center: The point in continuous voxels of the array, float64 ``(z, y, x)``.
        voxel_size: nm, float64 ``(z, y, x)``.
        pixel_size_nm: nm per pixel of the slices.
    """
    planes = _candidates()[0]
    areas = np.maximum(plane_areas(codes, center, voxel_size, pixel_size_nm), 1)
    # The product of whole numbers orders planes like the sum of logarithms, without rounding.
    return planes[int(np.argmax(areas[:, 0] * areas[:, 1]))]


def plane_areas(
    codes: NDArray[np.uint8], center: Vector, voxel_size: Vector, pixel_size_nm: float
) -> NDArray[np.int64]:
    """Samples of A and of B on every candidate plane: int64 ``(51, 2)``; see `best_plane`."""
    _, held, across = _candidates()
    pitch = INNER * IMAGE_SIZE * pixel_size_nm / SEARCH_SIZE
    return _areas(codes, center, 1 / voxel_size * pitch, (held, across / voxel_size * pitch))


def voxel_steps(direction: tuple[float, float, float], voxel_size: Vector) -> Vector:
    """Voxels ``(z, y, x)`` travelled by 1 nm along a world direction ``(x, y, z)``."""
    return np.array(direction[::-1]) / voxel_size


@njit(cache=True, nogil=True)
def _areas(codes, center, pitch, planes):  # type: ignore[no-untyped-def]
    """Count the samples of A and B on planes that each hold a world axis.

    The planes that hold one axis sample the same places along it. Summing A and B over these
    places first, SIMD along rows of voxels, leaves one lookup for each of a plane's 64 places
    across.

    Args:
        codes: uint8 ``(z, y, x)``, C-contiguous.
        center: float64 ``(3,)``, voxels.
        pitch: float64 ``(3,)``, voxels from sample to sample along each axis.
        planes: int64 ``(planes,)``, the axis each plane holds; float64 ``(planes, 3)``, voxels
            from sample to sample in the direction across.

    Returns:
        int64 ``(planes, 2)``.
    """
    held, across = planes
    areas = np.zeros((held.shape[0], 2), np.int64)
    at = np.arange(SEARCH_SIZE) - (SEARCH_SIZE - 1) / 2
    low, count, times = _sampled(codes.shape, center, at, pitch)
    sums = _sums(codes, low, count, times)
    flat, row, layer = codes.reshape(-1), codes.shape[2], codes.shape[1] * codes.shape[2]
    others = ((1, 2), (0, 2), (0, 1))
    for plane in range(held.shape[0]):
        axis = held[plane]
        u, v = others[axis]
        for i in range(SEARCH_SIZE):
            p = int(np.floor(center[u] + at[i] * across[plane, u]))
            q = int(np.floor(center[v] + at[i] * across[plane, v]))
            if not (0 <= p < codes.shape[u] and 0 <= q < codes.shape[v]):
                continue
            if axis == 2:
                first = np.uint64(p * layer + q * row + low[2])
                in_a, in_b = _row_sums(flat, first, times[2], count[2])
            else:
                place = (p - low[u]) * count[v] + q - low[v]
                in_a, in_b = np.int64(sums[axis, 0, place]), np.int64(sums[axis, 1, place])
            areas[plane, 0] += in_a
            areas[plane, 1] += in_b
    return areas


@njit(cache=True, nogil=True)
def _sampled(shape, center, at, pitch):  # type: ignore[no-untyped-def]
    """Along each axis: first voxel and number of voxels to sum, and how often each is sampled."""
    low, count = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for axis in range(3):
        # A direction across is a unit vector: it goes no further than the axis itself.
        reach = at[-1] * pitch[axis]
        low[axis] = min(max(int(np.floor(center[axis] - reach)), 0), shape[axis])
        stop = min(max(int(np.floor(center[axis] + reach)) + 1, low[axis]), shape[axis])
        count[axis] = stop - low[axis]
    # Whole SIMD registers along rows, where the array is wide enough: more voxels, fewer steps.
    count[2] = min((count[2] + _LANES - 1) // _LANES * _LANES, shape[2])
    low[2] = min(low[2], shape[2] - count[2])
    times = np.zeros((3, count.max()), np.uint8)
    for axis in range(3):
        for i in range(at.shape[0]):
            voxel = int(np.floor(center[axis] + at[i] * pitch[axis])) - low[axis]
            if 0 <= voxel < count[axis]:
                times[axis, voxel] += 1
    return low, count, times


@njit(cache=True, nogil=True)
def _sums(codes, low, count, times):  # type: ignore[no-untyped-def]
    """Samples of A and B along z for each (y, x), and along y for each (z, x).

    Returns:
        uint8 ``(axis, side, place)``, rows of places one after another.
    """
    nz, ny, nx = count[0], count[1], count[2]
    sums = np.zeros((2, 2, max(nz, ny) * nx), np.uint8)
    over_z_a, over_z_b, over_y_a, over_y_b = sums[0, 0], sums[0, 1], sums[1, 0], sums[1, 1]
    flat = codes.reshape(-1)
    for z in range(nz):
        for y in range(ny):
            first = ((low[0] + z) * codes.shape[1] + low[1] + y) * codes.shape[2] + low[2]
            if times[0, z]:
                _add_row(flat, first, times[0, z], (over_z_a, over_z_b), y * nx, nx)
            if times[1, y]:
                _add_row(flat, first, times[1, y], (over_y_a, over_y_b), z * nx, nx)
    return sums


@njit(cache=True, nogil=True, inline="always")
def _add_row(flat, first, times, sums, place, count):  # type: ignore[no-untyped-def]
    sums_a, sums_b = sums
    # Unsigned indices spare the test for Python's negative ones.
    source, target = np.uint64(first), np.uint64(place)
    for x in range(count):
        code = flat[source + np.uint64(x)]
        to = target + np.uint64(x)
        sums_a[to] += times if code == SIDE_A else np.uint8(0)
        sums_b[to] += times if code == SIDE_B else np.uint8(0)


@njit(cache=True, nogil=True, inline="always")
def _row_sums(flat, first, times, count):  # type: ignore[no-untyped-def]
    both = np.int32(0)
    for x in range(count):
        code = flat[first + np.uint64(x)]
        # At most 64 of each: two sums in one number.
        one = np.int32(1) if code == SIDE_A else np.int32(256) if code == SIDE_B else np.int32(0)
        both = np.int32(both + np.int32(one * times[x]))
    return np.int64(both & 255), np.int64(both >> 8)
