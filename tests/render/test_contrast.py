"""Percentiles and greys of a slice, against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.render.contrast import stretch_limits, write_image


def covered_by(rng, shape, share):
    covered = rng.random(shape) < share
    covered.flat[rng.integers(covered.size)] = True
    return covered


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 1), (1, 2), (3, 34), (40, 50)]),
    st.sampled_from([0.01, 0.5, 1.0]),
    st.sampled_from(["whole", "thirds", "normal", "equal", "wide"]),
)
def test_the_limits_are_numpys_percentiles(seed, shape, share, kind):
    rng = np.random.default_rng(seed)
    em = {
        "whole": lambda: rng.integers(0, 256, shape),
        "thirds": lambda: rng.integers(0, 766, shape) / 3,
        "normal": lambda: rng.normal(0, 50, shape),
        "equal": lambda: np.full(shape, rng.integers(-3, 4)),
        "wide": lambda: rng.normal(0, 1, shape) * 10.0 ** rng.integers(-30, 30, shape),
    }[kind]().astype(np.float32)
    covered = covered_by(rng, shape, share)
    expected = np.percentile(em[covered], (1, 99)).astype(np.float32)
    assert stretch_limits(em, covered) == tuple(expected)


def test_where_nothing_is_covered_there_is_no_contrast():
    assert stretch_limits(np.ones((4, 4), np.float32), np.zeros((4, 4), bool)) == (0, 0)


@pytest.mark.parametrize("limits", [(20.0, 200.0), (0.0, 1e-3), (77.0, 77.0)])
def test_a_slice_is_stretched_between_its_limits_and_black_where_not_covered(limits):
    rng = np.random.default_rng(1)
    em = (rng.integers(0, 766, (30, 40)) / 3).astype(np.float32)
    covered, sides = covered_by(rng, em.shape, 0.8), rng.integers(0, 4, em.shape).astype(np.uint8)
    out = np.empty((*em.shape, 3), np.uint8)
    low, high = (np.float32(v) for v in limits)
    write_image((em, covered, sides), (low, high), out)
    if high > low:
        grey = np.rint(np.clip((em - low) * (255 / (high - low)), 0, 255))
    else:
        grey = np.full(em.shape, 128)
    assert np.array_equal(out[..., 0], np.where(covered, grey, 0))
    assert np.array_equal(out[..., 1:] > 0, np.stack([sides & 1, sides & 2], -1) > 0)
    assert set(np.unique(out[..., 1:])) <= {0, 255}
