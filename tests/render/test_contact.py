"""The contact point, against distances to every voxel pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.errors import GridMismatchError, RenderError
from segmend.core.grid import VoxelGrid
from segmend.render.contact import CENTRAL, contact_point, inner_point

SIZES = [(10.0, 10.0, 10.0), (40.0, 8.0, 8.0), (30.0, 4.0, 7.0)]


def coded(mask_a, mask_b):
    """Codes as a cut-out of a larger array, as a view is; what lies around must not matter."""
    wide = np.random.default_rng(0).integers(0, 4, np.add(mask_a.shape, 2)).astype(np.uint8)
    wide[1:-1, 1:-1, 1:-1] = mask_a + 2 * (mask_b & ~mask_a)
    return wide[1:-1, 1:-1, 1:-1]


def slow_sums(mask_a, mask_b, grid, center, cube_nm):
    """Candidate voxel centres and their sum of distances, by brute force."""
    centers = grid.centers(np.argwhere(np.ones(grid.shape, bool)))
    inside = (np.abs(centers - center) <= CENTRAL * np.array(cube_nm) / 2 + 1e-9).all(1)
    to = [
        np.linalg.norm(centers[:, None] - grid.centers(np.argwhere(m))[None], axis=2).min(1)
        for m in (mask_a, mask_b)
    ]
    return centers[inside], (to[0] + to[1])[inside]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SIZES), st.sampled_from([0.02, 0.1, 0.4]))
def test_no_voxel_of_the_central_part_is_nearer_to_both(seed, size, density):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(6, 13, 3).tolist())
    mask_a = rng.random(shape) < density
    mask_b = (rng.random(shape) < density) & ~mask_a
    if not (mask_a.any() and mask_b.any()):
        return
    grid = VoxelGrid(size, (50.0, -20.0, 1000.0), shape)
    center = tuple((np.array(grid.box.center) + rng.normal(0, 0.02, 3) * grid.box.size).tolist())
    centers, sums = slow_sums(mask_a, mask_b, grid, center, grid.box.size)
    if not len(centers):
        return
    found = contact_point(coded(mask_a, mask_b), grid, center)
    best = sums <= sums.min() + 1e-6
    distance = np.linalg.norm(centers - center, axis=1)
    at = np.argmin(np.abs(centers - found).sum(1))
    assert centers[at] == pytest.approx(found, abs=1e-6)
    assert best[at]
    assert distance[at] <= distance[best].min() + 1e-6


def test_distances_are_in_nm_not_in_voxels():
    """Along z A and B are two voxels apart (80 nm), along x three (12 nm)."""
    grid = VoxelGrid((40, 4, 4), (0, 0, 0), (9, 31, 31))
    mask_a, mask_b = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    mask_a[4, 15, 13] = True
    mask_b[4, 15, 16] = True
    mask_b[6, 15, 13] = True
    z, y, x = contact_point(coded(mask_a, mask_b), grid, grid.box.center)
    assert (z, y) == (180, 62)
    assert x in (13.5 * 4, 14.5 * 4, 15.5 * 4, 16.5 * 4)


def test_a_contact_outside_the_central_part_gives_the_nearest_voxel_inside():
    grid = VoxelGrid((10, 10, 10), (0, 0, 0), (20, 20, 20))
    mask_a, mask_b = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    mask_a[10, 10, 18] = mask_b[10, 10, 19] = True
    assert contact_point(coded(mask_a, mask_b), grid, (105, 105, 100), cube_nm=200) == (
        105,
        105,
        125,
    )


def test_a_missing_segment_or_an_outlying_centre_is_named():
    grid = VoxelGrid((10, 10, 10), (0, 0, 0), (8, 8, 8))
    mask, empty = np.ones(grid.shape, bool), np.zeros(grid.shape, bool)
    with pytest.raises(RenderError) as caught:
        contact_point(coded(mask, empty), grid, grid.box.center)
    assert caught.value.reason == "segment_not_in_view"
    with pytest.raises(RenderError) as caught:
        contact_point(coded(mask, mask), grid, (1000, 1000, 1000))
    assert caught.value.reason == "center_outside_volume"
    with pytest.raises(RenderError) as caught:
        inner_point(coded(empty, empty), grid, grid.box.center)
    assert caught.value.reason == "segment_not_in_view"
    with pytest.raises(GridMismatchError, match="shape of their grid"):
        contact_point(coded(mask[:4], mask[:4]), grid, grid.box.center)


def test_a_point_inside_the_segment_stays_where_it_is():
    grid = VoxelGrid((40, 4, 4), (0, 0, 0), (8, 8, 8))
    mask = np.zeros(grid.shape, bool)
    mask[3, 4, 5] = True
    assert inner_point(coded(mask, mask), grid, (121.5, 17.25, 22.0)) == (121.5, 17.25, 22.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SIZES))
def test_a_point_outside_moves_to_the_nearest_voxel_centre(seed, size):
    rng = np.random.default_rng(seed)
    grid = VoxelGrid(size, (0, 0, 0), (6, 7, 8))
    mask = rng.random(grid.shape) < 0.05
    mask[tuple(rng.integers(0, 6, 3))] = True
    point = tuple((rng.uniform(-0.2, 1.2, 3) * grid.box.size).tolist())
    found = inner_point(coded(mask, mask), grid, point)
    voxel = grid.voxel_at(found)
    assert mask[voxel]
    if found != point:
        distances = np.linalg.norm(grid.centers(np.argwhere(mask)) - point, axis=1)
        assert np.linalg.norm(np.array(found) - point) == pytest.approx(distances.min())
