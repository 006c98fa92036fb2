"""Branch points of tubes whose axes are known.

The tubes lie askew to the grid, as in tissue: scikit-image's thinning eats bars of exactly even
width along an axis (its issue 3757).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from segmend.core.errors import BadInputError, GridMismatchError
from segmend.core.grid import VoxelGrid
from segmend.segments import skeleton
from segmend.segments.skeleton import branch_points

VOXEL_SIZES = [(10, 10, 10), (40, 10, 10), (10, 25, 10)]
CENTRE = np.array([403.0, 398.0, 401.0])
ASKEW = np.linalg.qr(np.array([[5.0, 1, 2], [-1, 4, 1], [1, -2, 5]]))[0]


def tubes(ends, voxel_size, *, radius=60.0, start=CENTRE) -> tuple[np.ndarray, VoxelGrid]:
    """Straight tubes (nm) from one point to each end, in a cube of 800 nm."""
    grid = VoxelGrid(voxel_size, (0, 0, 0), [int(800 / v) for v in voxel_size])
    centres = grid.centers(np.moveaxis(np.indices(grid.shape), 0, -1))
    mask = np.zeros(grid.shape, bool)
    for end in np.asarray(ends, float):
        length = np.linalg.norm(end - start)
        along = (end - start) / length
        t = np.clip((centres - start) @ along, 0, length)
        mask |= np.linalg.norm(centres - start - t[..., None] * along, axis=-1) < radius
    return mask, grid


def directions(*degrees: float, length: float = 300.0) -> np.ndarray:
    angles = np.radians(degrees)
    zeros = np.zeros_like(angles)
    return CENTRE + length * np.stack([zeros, np.sin(angles), np.cos(angles)], 1) @ ASKEW


@pytest.mark.parametrize("voxel_size", VOXEL_SIZES)
@pytest.mark.parametrize("turn", [0, 1, 2])
def test_a_y_has_one_branch_point_of_degree_3_at_its_middle(voxel_size, turn):
    offsets = np.roll(directions(0, 120, 240) - CENTRE, turn, axis=1)
    mask, grid = tubes(CENTRE + offsets, voxel_size)
    (branch,) = branch_points(mask, grid)
    assert branch.degree == 3
    assert np.linalg.norm(np.subtract(branch.point_nm, CENTRE)) <= 30
    # The middle of a Y of tubes of 60 nm is at most 60 nm / sin 60 degrees from the background.
    assert 60 - max(voxel_size) <= branch.radius_nm <= 70 + max(voxel_size)


def test_the_radius_is_that_of_the_distance_transform():
    mask, grid = tubes(directions(0, 120, 240), (10, 10, 10))
    (branch,) = branch_points(mask, grid)
    distance = ndimage.distance_transform_edt(mask, sampling=grid.voxel_size)
    assert branch.radius_nm == pytest.approx(distance[grid.voxel_at(branch.point_nm)])


def test_four_arms_have_one_branch_point_of_degree_4():
    mask, grid = tubes(directions(0, 90, 180, 270), (10, 10, 10))
    (branch,) = branch_points(mask, grid)
    assert branch.degree == 4


@pytest.mark.parametrize("voxel_size", VOXEL_SIZES)
@pytest.mark.parametrize("degrees", [0, 30, 45, 90])
def test_a_straight_tube_has_none(voxel_size, degrees):
    mask, grid = tubes(directions(degrees, degrees + 180), voxel_size)
    assert branch_points(mask, grid) == []


def test_a_tube_that_goes_on_beyond_the_array_has_none_at_the_cut():
    mask, grid = tubes(directions(0, 180, length=1000), (10, 10, 10), radius=100)
    assert mask[:, :, 0].any()
    assert mask[:, :, -1].any()
    assert branch_points(mask, grid) == []


@pytest.mark.parametrize(("length", "found"), [(105, 0), (260, 1)])
def test_a_side_branch_shorter_than_twice_the_radius_is_dropped(length, found):
    trunk, grid = tubes(directions(0, 180), (10, 10, 10), radius=70)
    side, _ = tubes(directions(90, length=length), (10, 10, 10), radius=30)
    branches = branch_points(trunk | side, grid)
    assert len(branches) == found
    assert all(np.linalg.norm(np.subtract(b.point_nm, CENTRE)) <= 30 for b in branches)


def test_roughness_of_the_surface_makes_no_branch():
    rng = np.random.default_rng(0)
    mask, grid = tubes(directions(0, 180), (10, 10, 10), radius=60)
    inner, _ = tubes(directions(0, 180), (10, 10, 10), radius=50)
    rough = inner | (mask & (rng.random(mask.shape) < 0.5))
    assert branch_points(rough, grid) == []


def test_a_cavity_makes_no_branch():
    mask, grid = tubes(directions(0, 180), (10, 10, 10), radius=90)
    mask[38:42, 38:42, 38:42] = False
    assert branch_points(mask, grid) == []


def test_a_fork_too_large_to_thin_in_full_is_found_on_coarser_cubes(monkeypatch):
    mask, grid = tubes(directions(0, 120, 240), (20, 10, 10))
    monkeypatch.setattr(skeleton, "MAX_CUBES", mask.size // 4)
    (branch,) = branch_points(mask, grid)
    assert branch.degree == 3
    assert np.linalg.norm(np.subtract(branch.point_nm, CENTRE)) <= 40


def test_arms_that_close_into_a_loop_are_no_branches():
    arms, grid = tubes(directions(0, 180), (10, 10, 10), radius=40)
    centres = grid.centers(np.moveaxis(np.indices(grid.shape), 0, -1)) - CENTRE
    z, y, x = np.moveaxis(centres @ ASKEW.T, -1, 0)
    hole = np.hypot(y, x) < 150
    torus = np.hypot(np.hypot(y, x) - 150, z) < 40
    assert branch_points((arms & ~hole) | torus, grid) == []
    opened = torus & ~((np.abs(x) < 30) & (y > 0))
    branches = branch_points((arms & ~hole) | opened, grid)
    assert [branch.degree for branch in branches] == [3, 3]


@pytest.mark.parametrize(("gap", "degrees"), [(300, [3, 3]), (60, [4])])
def test_two_forks_far_apart_are_two_and_close_together_one(gap, degrees):
    mask, grid = tubes(directions(0, 180, length=gap / 2), (10, 10, 10), radius=50)
    for fork, turns in ((0, (-60, 60)), (180, (120, 240))):
        (start,) = directions(fork, length=gap / 2)
        ends = start - CENTRE + directions(*turns, length=200)
        mask |= tubes(ends, (10, 10, 10), radius=50, start=start)[0]
    assert [branch.degree for branch in branch_points(mask, grid)] == degrees


def test_separate_parts_are_looked_at_each():
    below, above = CENTRE + np.array([[0, 0, -180], [0, 0, 180]])
    arms = directions(0, 120, 240, length=130) - CENTRE
    mask, grid = tubes(below + arms, (10, 10, 10), radius=25, start=below)
    mask |= tubes(above + arms, (10, 10, 10), radius=25, start=above)[0]
    found = branch_points(mask, grid)
    assert [branch.degree for branch in found] == [3, 3]
    for middle in (below, above):
        distances = [np.linalg.norm(np.subtract(b.point_nm, middle)) for b in found]
        assert min(distances) < 20


def test_the_points_move_with_the_grid():
    mask, grid = tubes(directions(0, 120, 240), (10, 10, 10))
    moved = VoxelGrid((10, 10, 10), (5000, 6000, 7000), grid.shape)
    (here,), (there,) = branch_points(mask, grid), branch_points(mask, moved)
    np.testing.assert_allclose(np.subtract(there.point_nm, here.point_nm), [5000, 6000, 7000])
    assert there.radius_nm == here.radius_nm


@pytest.mark.parametrize("shape", [(5, 5, 5), (1, 9, 9), (1, 1, 1)])
@pytest.mark.parametrize("filled", [True, False])
def test_empty_and_full_masks_have_none(shape, filled):
    mask = np.full(shape, filled)
    assert branch_points(mask, VoxelGrid((1, 1, 1), (0, 0, 0), shape)) == []


def test_a_mask_that_is_not_bool_or_off_the_grid_is_refused():
    grid = VoxelGrid((1, 1, 1), (0, 0, 0), (4, 4, 4))
    with pytest.raises(BadInputError, match="bool"):
        branch_points(np.zeros((4, 4, 4), np.uint8), grid)
    with pytest.raises(GridMismatchError, match="does not fit"):
        branch_points(np.zeros((4, 4, 5), bool), grid)
