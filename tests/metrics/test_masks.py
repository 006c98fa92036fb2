"""Permutation-invariant IoU against brute force over namings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import jaccard_score

from segmend.core.errors import BadInputError
from segmend.metrics.masks import permutation_invariant_miou, split_mask_iou

SHAPE = (3, 4, 5)
PRED = hnp.arrays(np.bool_, SHAPE)
TARGET = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 128, 255]))


def brute_force(pred: np.ndarray, target: np.ndarray) -> float:
    """Both namings, scored class by class on the foreground by a peer."""
    held = target != 255
    truth = (target[held] == 128).astype(int)
    scores = []
    for said in (pred[held].astype(int), 1 - pred[held]):
        classes = np.union1d(truth, said)
        scores.append(np.mean([jaccard_score(truth == c, said == c) for c in classes]))
    return max(scores)


@given(PRED, TARGET)
def test_iou_equals_brute_force_over_both_namings(pred, target) -> None:
    if (target == 255).all():
        assert np.isnan(split_mask_iou(pred, target))
    else:
        assert split_mask_iou(pred, target) == pytest.approx(brute_force(pred, target))


@given(PRED, TARGET)
def test_iou_ignores_naming_and_background(pred, target) -> None:
    named = split_mask_iou(pred, target)
    renamed = split_mask_iou(~pred, target)
    elsewhere = split_mask_iou(pred ^ (target == 255), target)
    np.testing.assert_equal([renamed, elsewhere], [named, named])


def test_one_naming_holds_for_all_views() -> None:
    target = np.zeros((3, 2, 2), np.uint8)
    target[:, 0] = 128
    pred = target == 128
    assert split_mask_iou(pred, target) == 1
    pred[0] = ~pred[0]  # right by itself under the other naming, but not with the other views
    assert split_mask_iou(pred, target) == pytest.approx(8 / 16)


def test_saying_one_side_only_gives_a_quarter_on_even_sides() -> None:
    target = np.zeros((3, 2, 2), np.uint8)
    target[:, 0] = 128
    assert split_mask_iou(np.zeros((3, 2, 2)), target) == 0.25


def test_mean_leaves_out_samples_without_foreground() -> None:
    good = np.zeros((1, 2, 2), np.uint8)
    empty = np.full((1, 2, 2), 255, np.uint8)
    pred = np.zeros((1, 2, 2), bool)
    assert permutation_invariant_miou([pred, pred], [good, empty]) == 1
    assert np.isnan(permutation_invariant_miou([pred], [empty]))


def test_other_values_and_shapes_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"4 pixels, e\.g\. 1"):
        split_mask_iou(np.zeros((1, 2, 2)), np.ones((1, 2, 2), np.uint8))
    with pytest.raises(BadInputError, match="must be predicted as"):
        split_mask_iou(np.zeros((2, 2)), np.zeros((1, 2, 2), np.uint8))
