"""Our thinning is scikit-image's, voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import skeletonize

from segmend.segments.thinning import thinned


@settings(max_examples=60)
@given(
    shape=st.tuples(*[st.integers(2, 14)] * 3),
    seed=st.integers(0, 2**31),
    share=st.floats(0.1, 1),
    smooth=st.sampled_from([0, 0, 1, 2]),
)
def test_any_shape_is_thinned_as_by_the_peer(shape, seed, share, smooth):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), smooth)
    mask = field <= np.quantile(field, share)
    assert np.array_equal(thinned(mask), skeletonize(mask).astype(bool))


def test_tubes_and_balls_of_tissue_are_thinned_as_by_the_peer():
    field = ndimage.gaussian_filter(np.random.default_rng(1).random((40, 50, 60)), 3)
    for level in (0.45, 0.5, 0.53):
        mask = field > level
        assert np.array_equal(thinned(mask), skeletonize(mask).astype(bool))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 5), (1, 9, 9)])
def test_flat_arrays_are_thinned_and_an_empty_one_is_empty(shape):
    assert not thinned(np.zeros(shape, bool)).any()
    assert thinned(np.ones(shape, bool)).any()
