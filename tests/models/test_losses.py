"""The loss of split masks against a plain statement of it."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segmend.models.losses import split_mask_loss

LOGITS = hnp.arrays(np.float32, (2, 3, 4, 4), elements=st.floats(-5, 5, width=32))
TARGETS = hnp.arrays(np.uint8, (2, 3, 4, 4), elements=st.sampled_from([0, 1, 255]))


def slow(logits: np.ndarray, target: np.ndarray) -> float:
    """0.5 CE + 0.5 (1 - mean Dice) on the foreground, the smaller over both namings."""
    held = target != 255
    if not held.any():
        return 0.0
    p = 1 / (1 + np.exp(-logits[held].astype(np.float64)))
    losses = []
    for truth in (target[held] == 1, target[held] == 0):
        entropy = -np.where(truth, np.log(p), np.log(1 - p)).mean()
        dice = [
            (2 * (q * t).sum() + 1) / (q.sum() + t.sum() + 1)
            for q, t in ((p, truth), (1 - p, ~truth))
        ]
        losses.append(0.5 * entropy + 0.5 * (1 - np.mean(dice)))
    return min(losses)


@given(LOGITS, TARGETS)
def test_loss_is_the_plain_one_per_row(logits, targets) -> None:
    fast = split_mask_loss(torch.from_numpy(logits), torch.from_numpy(targets)).numpy()
    expected = [slow(x, t) for x, t in zip(logits, targets, strict=True)]
    np.testing.assert_allclose(fast, expected, rtol=1e-4, atol=1e-5)


@given(LOGITS, TARGETS)
def test_loss_does_not_depend_on_which_side_is_called_b(logits, targets) -> None:
    renamed = np.where(targets == 255, targets, 1 - targets).astype(np.uint8)
    losses = [
        split_mask_loss(torch.from_numpy(x), torch.from_numpy(t)).numpy()
        for x, t in ((logits, targets), (logits, renamed), (-logits, targets))
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-4, atol=1e-5)


def test_views_that_disagree_on_the_naming_cost() -> None:
    target = torch.tensor([[[0, 1]], [[0, 1]]], dtype=torch.uint8)[None]
    agree = torch.tensor([[[-9.0, 9.0]], [[-9.0, 9.0]]])[None]
    differ = torch.tensor([[[-9.0, 9.0]], [[9.0, -9.0]]])[None]
    assert split_mask_loss(agree, target) < 0.01
    assert split_mask_loss(differ, target) > 1
