"""The order of rows: a pure function of seed and epoch, whoever asks and however many workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def balanced_order(classes: Sequence[float] | NDArray[Any], seed: int, epoch: int) -> Order:
    """As many rows as there are, drawn so that every class comes equally often.

    Indices are drawn, not rows, so nothing is read only to be thrown away. Within a class every
    row comes equally often too (to within one): rows of small classes repeat, a large class shows
    another part of itself each epoch.

    Args:
        classes: One class per row: labels, or the numbers of `strata`.
        seed: Seed of the run.
        epoch: Number of the epoch.

    Returns:
        int64, as long as ``classes``; class counts differ by at most one.

    Raises:
        NoSamplesError: if there are no rows.
        BadInputError: if a label is missing (NaN).
    """
    values = np.asarray(classes)
    if not values.size:
        raise NoSamplesError("no rows to draw from")
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise BadInputError("rows without a label cannot be balanced", found="a label is NaN")
    found, of_row = np.unique(values, return_inverse=True)
    rng = keyed_generator("balanced order", seed, epoch)
    share, rest = divmod(len(values), len(found))
    # Which classes get the one row more changes from epoch to epoch.
    extra = set(rng.permutation(len(found))[:rest].tolist())
    by_class = np.split(np.argsort(of_row, kind="stable"), np.cumsum(np.bincount(of_row))[:-1])
    drawn = [_draw(rows, share + (i in extra), rng) for i, rows in enumerate(by_class)]
    return rng.permutation(np.concatenate(drawn)).astype(np.int64)


def strata(*columns: Sequence[Any] | NDArray[Any]) -> Order:
    """A number for every combination of values that occurs, one per row.

    Args:
        columns: Properties of the rows, for example labels and species; all of one length.

    Returns:
        int64, to be given to `balanced_order`.

    Raises:
        BadInputError: if a label is missing (NaN), or lengths differ.
    """
    numbers: Order = np.zeros(len(columns[0]) if columns else 0, np.int64)
    for column in columns:
        values = np.asarray(column)
        if len(values) != len(numbers):
            raise BadInputError(
                "properties of rows have different lengths",
                found=f"{len(values)} and {len(numbers)}",
            )
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise BadInputError("rows without a label cannot be balanced", found="a label is NaN")
        distinct, codes = np.unique(values, return_inverse=True)
        numbers = np.unique(numbers * len(distinct) + codes, return_inverse=True)[1].astype(
            np.int64
        )
    return numbers


def _draw(rows: Order, n: int, rng: np.random.Generator) -> Order:
    """Draw n of the rows, each as often as the others to within one."""
    rounds, rest = divmod(n, len(rows))
    return np.concatenate([np.tile(rows, rounds), rng.permutation(rows)[:rest]])
