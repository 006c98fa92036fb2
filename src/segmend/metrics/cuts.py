"""Is the cut of a split mask where it should be? A large side cannot hide a lost small one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.sample import SPLIT_MASK_B, SPLIT_MASK_BACKGROUND
from segmend.metrics.masks import checked_pair

CUT_TOLERANCE = 3
"""Pixels that a cut may lie beside the true one: 0.0075 of the diagonal of 224 x 224 pixels, the
share that boundary benchmarks use (Martin, Fowlkes and Malik, TPAMI 2004), rounded up."""

Bools = NDArray[np.bool_]


def split_mask_rand(pred: Any, target: Any) -> float:
    """Adjusted Rand index of the two sides of one sample over its foreground.

    1 for the true sides, about 0 for a cut that has nothing to do with them, whatever their sizes
    (Hubert and Arabie, J. Classif. 1985). All views of the sample are one table.

    Args:
        pred: True (or non-zero) where side B is predicted, shape (views, rows, columns).
        target: 0 = A, 128 = B, 255 = background, uint8, same shape.

    Returns:
        A number of at most 1; NaN without any foreground, 1 where neither has two sides.

    Raises:
        BadInputError: as `split_mask_iou`.
    """
    said_b, truth = checked_pair(pred, target)
    foreground = truth != SPLIT_MASK_BACKGROUND
    is_b = truth[foreground] == SPLIT_MASK_B
    table = np.bincount(2 * is_b + said_b[foreground], minlength=4).reshape(2, 2)
    if not table.sum():
        return float("nan")
    together = _pairs(table).sum()
    by_truth, by_pred = _pairs(table.sum(axis=1)).sum(), _pairs(table.sum(axis=0)).sum()
    expected = by_truth * by_pred / max(float(_pairs(table.sum())), 1.0)
    highest = (by_truth + by_pred) / 2
    # Both have one side: they agree, and the index has no scale.
    return 1.0 if highest == expected else float((together - expected) / (highest - expected))


def cut_f_score(pred: Any, target: Any, *, tolerance: int = CUT_TOLERANCE) -> float:
    """How well the line between the sides is drawn: F-score of cut pixels within a tolerance.

    A cut pixel is one of the foreground with one of the other side above, below, left or right.
    It is right if the other picture has a cut pixel within ``tolerance`` rows and columns. Pixels
    of all views count together.

    Args:
        pred: True (or non-zero) where side B is predicted, shape (views, rows, columns).
        target: 0 = A, 128 = B, 255 = background, uint8, same shape.
        tolerance: Pixels.

    Returns:
        A number in [0, 1]; NaN where the true sides touch in no view, so that there is no line.

    Raises:
        BadInputError: as `split_mask_iou`.
    """
    said_b, truth = checked_pair(pred, target)
    foreground = truth != SPLIT_MASK_BACKGROUND
    wanted = _cut(truth == SPLIT_MASK_B, foreground)
    if not wanted.any():
        return float("nan")
    drawn = _cut(said_b, foreground)
    found = np.count_nonzero(wanted & _grown(drawn, tolerance)) / np.count_nonzero(wanted)
    if not found:
        return 0.0
    right = np.count_nonzero(drawn & _grown(wanted, tolerance)) / np.count_nonzero(drawn)
    return 2 * found * right / (found + right)


def _pairs(counts: Any) -> NDArray[np.float64]:
    values = np.asarray(counts, np.float64)
    return values * (values - 1) / 2


def _cut(is_b: Bools, foreground: Bools) -> Bools:
    """Foreground pixels beside one of the other side."""
    cut = np.zeros(is_b.shape, bool)
    for axis in (1, 2):
        first, second = [slice(None)] * 3, [slice(None)] * 3
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(first), tuple(second)
        across = foreground[a] & foreground[b] & (is_b[a] != is_b[b])
        cut[a] |= across
        cut[b] |= across
    return cut


def _grown(pixels: Bools, reach: int) -> Bools:
    """Everything within ``reach`` rows and columns of a pixel."""
    grown = pixels
    for axis in (1, 2):
        line = np.moveaxis(grown, axis, 2)
        wide = line.copy()
        for step in range(1, reach + 1):
            wide[..., step:] |= line[..., :-step]
            wide[..., :-step] |= line[..., step:]
        grown = np.moveaxis(wide, 2, axis)
    return grown
