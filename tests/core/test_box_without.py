"""The voxels of a box that are not in another."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmend.core.box import VoxelBox

corners = st.tuples(*[st.integers(0, 6)] * 3)


@given(corners, corners, corners, corners)
def test_what_is_left_is_covered_once_and_only_once(a, b, c, d):
    def box(p, q):
        return VoxelBox(tuple(map(min, p, q)), tuple(map(max, p, q)))

    first, second = box(a, b), box(c, d)
    expected = np.zeros((7, 7, 7), int)
    expected[first.slices] = 1
    expected[second.slices] = 0
    found = np.zeros((7, 7, 7), int)
    for part in first.without(second):
        assert part.size
        found[part.slices] += 1
    np.testing.assert_array_equal(found, expected)
