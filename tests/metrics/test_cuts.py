"""Cuts against scikit-learn's index, scipy's dilation and lines one can draw by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import adjusted_rand_score

from segmend.core.errors import BadInputError
from segmend.metrics.cuts import cut_f_score, split_mask_rand

A, B, BACKGROUND = 0, 128, 255


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (3, draw(st.integers(2, 12)), draw(st.integers(2, 12)))
    target = generator.choice(np.array([A, B, BACKGROUND], np.uint8), shape)
    return generator.random(shape) < draw(st.floats(0, 1)), target


@given(masks())
def test_rand_is_that_of_scikit_learn_on_the_foreground(case) -> None:
    pred, target = case
    inside = target != BACKGROUND
    if not inside.any():
        assert np.isnan(split_mask_rand(pred, target))
        return
    expected = adjusted_rand_score(target[inside], pred[inside])
    assert split_mask_rand(pred, target) == pytest.approx(expected, abs=1e-9)
    assert split_mask_rand(~pred, target) == pytest.approx(expected, abs=1e-9)


def _line(is_b: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Cut pixels, one by one."""
    cut = np.zeros(is_b.shape, bool)
    for v, y, x in np.argwhere(inside):
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            row, column = y + dy, x + dx
            if 0 <= row < cut.shape[1] and 0 <= column < cut.shape[2] and inside[v, row, column]:
                cut[v, y, x] |= is_b[v, y, x] != is_b[v, row, column]
    return cut


@settings(max_examples=40)
@given(masks(), st.integers(0, 4))
def test_f_score_counts_cut_pixels_near_the_other_line(case, tolerance) -> None:
    pred, target = case
    inside = target != BACKGROUND
    wanted, drawn = _line(target == B, inside), _line(pred, inside)
    found = cut_f_score(pred, target, tolerance=tolerance)
    if not wanted.any():
        assert np.isnan(found)
        return
    square = np.ones((1, 2 * tolerance + 1, 2 * tolerance + 1), bool)
    recall = wanted[ndimage.binary_dilation(drawn, square)].sum() / wanted.sum()
    precision = drawn[ndimage.binary_dilation(wanted, square)].sum() / max(drawn.sum(), 1)
    expected = 2 * recall * precision / (recall + precision) if recall else 0.0
    assert found == pytest.approx(expected)


def test_a_lost_small_side_shows_here_though_most_pixels_are_right() -> None:
    target = np.full((3, 40, 40), A, np.uint8)
    target[:, 30:, 30:] = B
    nothing = np.zeros(target.shape, bool)
    assert split_mask_rand(nothing, target) == pytest.approx(0)
    assert cut_f_score(nothing, target) == 0
    shifted = np.zeros(target.shape, bool)
    shifted[:, 27:, 27:] = True
    assert cut_f_score(shifted, target) == 1
    assert cut_f_score(shifted, target, tolerance=1) < 0.2


def test_other_values_and_shapes_are_refused() -> None:
    target = np.zeros((3, 4, 4), np.uint8)
    for score in (split_mask_rand, cut_f_score):
        with pytest.raises(BadInputError, match="must be predicted as"):
            score(np.zeros((3, 4, 5), bool), target)
        with pytest.raises(BadInputError, match="holds only"):
            score(np.zeros((3, 4, 4), bool), target + 1)
