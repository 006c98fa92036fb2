"""The best oblique plane, against a search in plain numpy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.render.planes import (
    CARDINAL,
    INNER,
    SEARCH_SIZE,
    best_plane,
    plane_areas,
    plane_axes,
    search_normals,
)

PIXEL = 5.0


def slow_areas(codes, center, size, axes):
    """Areas of A and B on one plane, from positions in nm."""
    pitch = INNER * 224 * PIXEL / SEARCH_SIZE
    at = (np.arange(SEARCH_SIZE) - (SEARCH_SIZE - 1) / 2) * pitch
    row, column = np.array(axes.row[::-1]), np.array(axes.column[::-1])
    points = center * size + at[:, None, None] * row + at[None, :, None] * column
    voxels = np.floor(points / size).astype(int)
    inside = ((voxels >= 0) & (voxels < codes.shape)).all(-1)
    seen = codes[tuple(np.where(inside[..., None], voxels, 0).transpose(2, 0, 1))]
    return [int(((seen == side) & inside).sum()) for side in (1, 2)]


def blobs(seed, shape=(40, 48, 52)):
    rng = np.random.default_rng(seed)
    at = np.indices(shape).transpose(1, 2, 3, 0)
    centers = rng.uniform(0.3, 0.7, (2, 3)) * shape
    stretch = rng.uniform(0.3, 2, (2, 3))
    codes = np.zeros(shape, np.uint8)
    for side in (2, 1):
        distance = (((at - centers[side - 1]) * stretch[side - 1]) ** 2).sum(-1)
        codes[distance < rng.uniform(20, 150)] = side
    return codes


def test_there_are_51_normals_of_which_no_two_are_one_plane():
    normals = np.array(search_normals())
    assert len(normals) == 51
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1)
    dots = np.abs(normals @ normals.T)
    np.fill_diagonal(dots, 0)
    assert dots.max() < 0.99
    for axis in np.eye(3):
        assert np.abs(normals @ axis).max() == pytest.approx(1)
    # Every normal is a cardinal axis turned about one axis by a multiple of ten degrees.
    assert ((np.abs(normals) < 1e-9).sum(1) >= 1).all()
    angles = np.degrees(np.arccos(np.clip(np.abs(normals).max(1), 0, 1)))
    assert np.abs(angles / 10 - np.round(angles / 10)).max() < 1e-6


def test_in_plane_axes_are_orthonormal_and_lie_in_the_plane():
    for normal in search_normals():
        axes = plane_axes(normal)
        frame = np.array([axes.row, axes.column, axes.normal])
        assert frame @ frame.T == pytest.approx(np.eye(3), abs=1e-9)
        assert max(axes.column, key=abs) > 0


def test_cardinal_normals_give_the_cardinal_slices():
    for axes in CARDINAL.values():
        assert plane_axes(axes.normal) == axes


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(10.0, 10.0, 10.0), (40.0, 8.0, 9.0)]))
def test_the_best_plane_is_the_best_of_a_slow_search(seed, size):
    codes, size = blobs(seed), np.array(size)
    center = np.random.default_rng(seed).uniform(0.4, 0.6, 3) * codes.shape
    planes = [plane_axes(n) for n in search_normals()]
    slow = [slow_areas(codes, center, size, axes) for axes in planes]
    fast = plane_areas(codes, center, size, PIXEL)
    # A sample within a rounding error of a voxel's face may fall to either side.
    assert np.abs(fast - slow).max() <= 2
    scores = [math.log(max(a, 1)) + math.log(max(b, 1)) for a, b in slow]
    found = planes.index(best_plane(codes, center, size, PIXEL))
    assert scores[found] >= max(scores) - 0.1
    exact = [math.log(max(a, 1)) + math.log(max(b, 1)) for a, b in fast.tolist()]
    assert exact[found] == pytest.approx(max(exact), abs=1e-12)


def test_a_flat_pair_is_shown_in_its_own_plane():
    """Two thin sheets side by side in the plane perpendicular to (0, sin 30, cos 30)."""
    normal = plane_axes(
        next(
            n
            for n in search_normals()
            if abs(n[2] - math.cos(math.pi / 6)) < 1e-6 and n[0] == 0 and n[1] < 0
        )
    ).normal
    at = np.indices((60, 60, 60)).transpose(1, 2, 3, 0) + 0.5
    centered = (at - 30)[..., ::-1]
    sheet = np.abs(centered @ np.array(normal)) < 1.5
    codes = np.where(sheet, np.where(centered[..., 0] < 0, 1, 2), 0).astype(np.uint8)
    found = best_plane(codes, np.array([30.0, 30, 30]), np.array([10.0, 10, 10]), PIXEL)
    assert found.normal == normal


def test_without_b_the_area_of_a_decides():
    codes = np.zeros((40, 40, 40), np.uint8)
    codes[:, 18:22, :] = 1
    found = best_plane(codes, np.array([20.0, 20, 20]), np.array([10.0, 10, 10]), PIXEL)
    assert found.normal == (0, 1, 0)
