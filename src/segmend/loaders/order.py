"""The order of rows: a pure function of seed and epoch, whoever asks and however many workers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, NoSamplesError
from segmend.core.random import keyed_generator

Order = NDArray[np.int64]


def epoch_order(n: int, seed: int, epoch: int) -> Order:
    """A permutation of ``0 .. n-1``.

    Args:
        n: Number of rows.
        seed: Seed of the run.
        epoch: Number of the epoch; every epoch has another order.

    Returns:
        int64, length n.
    """
    if n < 0:
        raise BadInputError(f"a number of rows must not be negative, got {n}")
    return keyed_generator("epoch order", seed, epoch).permutation(n).astype(np.int64)


def balanced_order(labels: Sequence[float] | NDArray[np.floating], seed: int, epoch: int) -> Order:
    """As many rows as there are, drawn so that every class comes equally often.

    Indices are drawn, not rows, so nothing is read only to be thrown away. Within a class every
    row comes equally often too (to within one): rows of small classes repeat, a large class shows
    another part of itself each epoch.

    Args:
        labels: One class per row.
        seed: Seed of the run.
        epoch: Number of the epoch.

    Returns:
        int64, as long as ``labels``; class counts differ by at most one.

    Raises:
        NoSamplesError: if there are no rows.
        BadInputError: if a label is missing (NaN).
    """
    values = np.asarray(labels, np.float64)
    if not values.size:
        raise NoSamplesError("no rows to draw from")
    if np.isnan(values).any():
        raise BadInputError("rows without a label cannot be balanced", found="a label is NaN")
    classes = np.unique(values)
    rng = keyed_generator("balanced order", seed, epoch)
    share, rest = divmod(len(values), len(classes))
    # Which classes get the one row more changes from epoch to epoch.
    extra = set(rng.permutation(len(classes))[:rest].tolist())
    drawn = [
        _draw(np.flatnonzero(values == value), share + (i in extra), rng)
        for i, value in enumerate(classes)
    ]
    return rng.permutation(np.concatenate(drawn)).astype(np.int64)


def _draw(rows: Order, n: int, rng: np.random.Generator) -> Order:
    """Draw n of the rows, each as often as the others to within one."""
    rounds, rest = divmod(n, len(rows))
    return np.concatenate([np.tile(rows, rounds), rng.permutation(rows)[:rest]])
