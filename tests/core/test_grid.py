"""The grid against exact rational arithmetic."""

from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmend.core.box import Box, VoxelBox
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid

nm = st.integers(-10_000_000, 10_000_000).map(lambda pm: pm / 1000)
sizes = st.integers(1, 60_000).map(lambda pm: pm / 1000)
triples = st.tuples(nm, nm, nm)


def exact(value):
    return Fraction(round(value * 1000), 1000)


@given(st.tuples(sizes, sizes, sizes), triples, triples, st.tuples(*[sizes] * 3))
def test_outer_and_inner_equal_rational_arithmetic(size, offset, start, width):
    grid = VoxelGrid(size, offset, (10, 10, 10))
    box = Box(start, [a + w for a, w in zip(start, width, strict=True)])
    outer, inner = grid.to_voxels(box, "outer"), grid.to_voxels(box, "inner")
    for axis in range(3):
        low = (exact(box.start[axis]) - exact(offset[axis])) / exact(size[axis])
        high = (exact(box.stop[axis]) - exact(offset[axis])) / exact(size[axis])
        assert (outer.start[axis], outer.stop[axis]) == (floor(low), ceil(high))
        assert inner.start[axis] == ceil(low)
        assert inner.stop[axis] == max(floor(high), ceil(low))
    assert grid.to_box(outer).contains(box)


@given(st.tuples(sizes, sizes, sizes), triples, st.tuples(*[st.integers(-500, 500)] * 3))
def test_voxels_to_nm_and_back_is_exact(size, offset, start):
    grid = VoxelGrid(size, offset, (1, 1, 1))
    voxels = VoxelBox(start, tuple(v + 3 for v in start))
    box = grid.to_box(voxels)
    for rounding in ("outer", "inner", "exact"):
        assert grid.to_voxels(box, rounding) == voxels


@given(st.tuples(sizes, sizes, sizes), triples, st.tuples(*[st.integers(-500, 500)] * 3))
def test_the_voxel_at_a_voxels_centre_is_that_voxel(size, offset, index):
    grid = VoxelGrid([s * 2 for s in size], offset, (1, 1, 1))
    centre = grid.centers(np.array(index))
    assert grid.voxel_at(centre) == index
    np.testing.assert_allclose(grid.continuous(centre), np.array(index) + 0.5, atol=1e-4)
    np.testing.assert_allclose(grid.points(grid.continuous(centre)), centre, atol=1e-4)


def test_voxels_of_11_24_nm_do_not_drift():
    grid = VoxelGrid((28, 11.24, 11.24), (0, 0, 0), (4096, 9216, 6144))
    assert grid.box.stop == (114_688, 103_587.84, 69_058.56)
    assert grid.voxel_at((0, 11.24 * 8509, 0)) == (0, 8509, 0)


def test_exact_refuses_a_box_between_corners():
    grid = VoxelGrid((10, 10, 10), (0, 0, 0), (5, 5, 5))
    with pytest.raises(BadInputError, match="voxel corners"):
        grid.to_voxels(Box((0, 0, 5), (10, 10, 20)), "exact")


def test_crop_keeps_the_place_in_space():
    grid = VoxelGrid((40, 4, 4), (400, 0, 8), (10, 20, 30))
    voxels = VoxelBox((1, 2, 3), (4, 6, 8))
    assert grid.crop(voxels).box == grid.to_box(voxels)


@pytest.mark.parametrize("size", [(0, 1, 1), (1, -4, 1), (float("nan"), 1, 1)])
def test_a_voxel_size_that_is_not_positive_is_refused(size):
    with pytest.raises(BadInputError):
        VoxelGrid(size, (0, 0, 0), (1, 1, 1))
