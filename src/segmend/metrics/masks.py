"""Scores of a split mask, whose two sides have no order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.core.sample import SPLIT_MASK_A, SPLIT_MASK_B, SPLIT_MASK_BACKGROUND

Mask = NDArray[np.uint8]


def split_mask_iou(pred: Any, target: Any) -> float:
    """Mean IoU of the two sides of one sample, under the better of the two namings.

    All views of the sample share one naming: A in the front view is A in the others. Background
    of the target is ignored, whatever is predicted there. A side that neither prediction nor target
    holds does not enter the mean.

    Args:
        pred: True (or non-zero) where side B is predicted, shape (views, rows, columns).
        target: 0 = A, 128 = B, 255 = background, uint8, same shape.

    Returns:
        A number in [0, 1]; NaN without any foreground.

    Raises:
        BadInputError: for other values in the target or unequal shapes.
    """
    said_b, truth = checked_pair(pred, target)
    foreground = truth != SPLIT_MASK_BACKGROUND
    is_b = truth[foreground] == SPLIT_MASK_B
    said = said_b[foreground]
    # Pixels by (truth, prediction): all that either naming needs.
    table = np.bincount(2 * is_b + said, minlength=4).reshape(2, 2)
    if not table.sum():
        return float("nan")
    return max(_mean_iou(table), _mean_iou(table[:, ::-1]))


def permutation_invariant_miou(pred: Iterable[Any], target: Iterable[Any]) -> float:
    """Mean of `split_mask_iou` over samples that have a foreground.

    Args:
        pred: One mask per sample, as in `split_mask_iou`.
        target: One mask per sample, as in `split_mask_iou`.

    Returns:
        A number in [0, 1]; NaN if no sample has a foreground.
    """
    scores = np.array([split_mask_iou(p, t) for p, t in zip(pred, target, strict=True)])
    defined = scores[np.isfinite(scores)]
    return float(defined.mean()) if defined.size else float("nan")


def checked_pair(pred: Any, target: Any) -> tuple[NDArray[np.bool_], Mask]:
    """A predicted and a true mask as arrays of one shape.

    Args:
        pred: True (or non-zero) where side B is predicted, shape (views, rows, columns).
        target: 0 = A, 128 = B, 255 = background, uint8, same shape.

    Raises:
        BadInputError: for other values in the target or unequal shapes.
    """
    said_b, truth = np.asarray(pred).astype(bool), _checked(target)
    if said_b.shape != truth.shape:
        raise BadInputError(f"a mask must be predicted as {truth.shape}, got {said_b.shape}")
    return said_b, truth


def _mean_iou(table: NDArray[np.int64]) -> float:
    """Mean IoU of both classes from a 2 x 2 table of pixels by (truth, prediction)."""
    shared = np.diag(table)
    union = table.sum(axis=0) + table.sum(axis=1) - shared
    held = union > 0
    return float((shared[held] / union[held]).mean())


def _checked(target: Any) -> Mask:
    values = np.asarray(target)
    allowed = (SPLIT_MASK_A, SPLIT_MASK_B, SPLIT_MASK_BACKGROUND)
    wrong = values[~np.isin(values, allowed)]
    if wrong.size:
        raise BadInputError(
            f"a split mask holds only {allowed}", found=f"{wrong.size} pixels, e.g. {wrong[0]}"
        )
    return values.astype(np.uint8, copy=False)
