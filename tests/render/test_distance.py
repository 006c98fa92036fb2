"""Exact distances, against scipy's transform of the whole array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from segmend.render.distance import distances


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1.0, 1.0, 1.0), (40.0, 8.0, 8.0), (30.0, 4.6, 7.1)]),
    st.sampled_from([0.003, 0.05, 0.5]),
)
def test_distances_in_a_part_equal_those_of_the_whole_array(seed, size, density):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 16, 3).tolist())
    mask = rng.random(shape) < density
    mask[tuple(rng.integers(0, shape))] = True
    start = tuple(int(rng.integers(0, n)) for n in shape)
    stop = tuple(int(rng.integers(a + 1, n + 1)) for a, n in zip(start, shape, strict=True))
    part = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    expected = distance_transform_edt(~mask, sampling=size)[part]
    assert distances(mask, start, stop, np.array(size)) == pytest.approx(expected, rel=1e-9)


def test_an_empty_mask_is_infinitely_far():
    mask = np.zeros((3, 4, 5), bool)
    assert np.isinf(distances(mask, (0, 0, 0), (3, 4, 5), np.ones(3))).all()
