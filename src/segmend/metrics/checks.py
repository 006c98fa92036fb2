"""What every metric asks of its arrays before it computes anything."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError

Floats = NDArray[np.float64]


def binary_labels(labels: Any) -> NDArray[np.bool_]:
    """Labels as booleans.

    Raises:
        BadInputError: if they are not one row of zeros and ones.
    """
    values = np.asarray(labels)
    if values.ndim != 1:
        raise BadInputError(f"labels must be one row of 0 and 1, got shape {values.shape}")
    wrong = values[(values != 0) & (values != 1)]
    if wrong.size:
        raise BadInputError(
            f"labels must be 0 or 1, {wrong.size} of {values.size} are not", found=str(wrong[:3])
        )
    return values.astype(bool)


def finite_scores(scores: Any, count: int) -> Floats:
    """Scores as float64, one per label.

    Raises:
        BadInputError: if their number is not ``count`` or one is not finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (count,):
        raise BadInputError(f"there must be one score per label: {count} labels, {values.shape}")
    wrong = int(np.count_nonzero(~np.isfinite(values)))
    if wrong:
        raise BadInputError(f"scores must be finite, {wrong} of {count} are not")
    return values


def probabilities(probs: Any, count: int) -> Floats:
    """Probabilities as float64, one per label.

    Raises:
        BadInputError: as `finite_scores`, or if one lies outside [0, 1].
    """
    values = finite_scores(probs, count)
    wrong = values[(values < 0) | (values > 1)]
    if wrong.size:
        raise BadInputError(
            f"probabilities must lie in [0, 1], {wrong.size} of {count} do not",
            found=str(wrong[:3]),
        )
    return values


def row_weights(weights: Any, count: int) -> Floats:
    """Weights of resamples as float64 ``(resamples, rows)``; one row of ones if None.

    Raises:
        BadInputError: for another shape, a negative or a non-finite weight.
    """
    if weights is None:
        return np.ones((1, count))
    values = np.asarray(weights, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != count:
        raise BadInputError(f"weights must have shape (resamples, {count}), got {values.shape}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise BadInputError("weights must be finite and not negative")
    return values


def ratio(above: Floats, below: Floats) -> Floats:
    """Elementwise quotient, NaN where the divisor is zero."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
