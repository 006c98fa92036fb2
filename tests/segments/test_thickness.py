"""Thickness against scipy's distance transform."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import distance_transform_edt

from segmend.core.grid import VoxelGrid
from segmend.segments.thickness import holds_ball

labels = hnp.arrays(np.uint64, (5, 6, 7), elements=st.sampled_from([0, 2**60, 2**60 + 1]))
thick = st.tuples(*[st.integers(1, 6)] * 3)
radii = st.integers(0, 60).map(float)


@given(labels, thick, st.tuples(*[st.sampled_from([5.0, 10.0, 30.0])] * 3), radii)
@settings(max_examples=200, deadline=None)
def test_a_ball_fits_where_the_distance_transform_says_so(array, block, size, radius):
    z, y, x = block
    array[:z, :y, :x] = 2**60  # something thick, so that both answers occur
    grid = VoxelGrid(size, (0, 0, 0), array.shape)
    inside = np.pad(array == np.uint64(2**60), 1)
    farthest = distance_transform_edt(inside, sampling=size).max()
    assert holds_ball(array, 2**60, grid, radius_nm=radius) == (farthest >= radius)


def test_an_absent_label_is_nowhere_thick():
    array = np.ones((3, 3, 3), np.uint64)
    assert not holds_ball(array, 5, VoxelGrid((1, 1, 1), (0, 0, 0), (3, 3, 3)), radius_nm=0)
