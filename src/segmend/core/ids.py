"""Segment ids: uint64 in arrays, decimal strings in JSON, dense int64 before any tensor.

A float64 holds integers exactly only up to 2**53 and JavaScript has no other number, while root
ids reach 8.6e17: an id that passes through a float silently becomes another neuron.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError

Ids = NDArray[np.uint64]

MAX_ID = 2**64 - 1


def as_ids(values: Any) -> Ids:
    """Convert to a uint64 array without ever passing through floats.

    Args:
        values: Integers, decimal strings or an integer array of any shape.

    Raises:
        BadInputError: for floats, booleans, negative numbers, or numbers above 2**64 - 1.
    """
    if isinstance(values, np.ndarray):
        return _checked_array(values)
    items = [as_id(v) for v in values]
    return np.array(items, dtype=np.uint64)


def as_id(value: Any) -> int:
    """One id as a Python int.

    Raises:
        BadInputError: as `as_ids`.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise BadInputError(
            f"a segment id must be a whole number, got {value!r}",
            found=f"its type is {type(value).__name__}",
            fix="Pass integers or decimal strings; floats lose ids above 2**53",
        )
    if not 0 <= int(value) <= MAX_ID:
        raise BadInputError(f"a segment id must fit into uint64, got {value}")
    return int(value)


def id_strings(ids: Iterable[Any]) -> list[str]:
    """Ids as decimal strings, the form for JSON and URLs."""
    return [str(as_id(v)) for v in ids]


def relabel_dense(labels: NDArray[Any]) -> tuple[NDArray[np.int64], Ids]:
    """Number the ids of a label array 0..n-1 so that they survive floats and tensors.

    Args:
        labels: Integer array of any shape.

    Returns:
        The dense labels (int64, same shape; 0 stays 0 whether it occurs or not) and the inverse
        table (uint64), so that ``table[dense] == labels``.
    """
    ids = _checked_array(np.asarray(labels))
    unique, dense = np.unique(ids, return_inverse=True)
    dense = dense.reshape(ids.shape)
    if unique.size and unique[0] == 0:
        return dense.astype(np.int64), unique
    table = np.concatenate([np.zeros(1, np.uint64), unique])
    return dense.astype(np.int64) + 1, table


def unsigned(values: NDArray[Any]) -> NDArray[Any]:
    """Ids in the unsigned dtype of their own width: `as_ids` without a copy.

    Args:
        values: Any integer dtype and shape.

    Raises:
        BadInputError: for floats, booleans or negative numbers.
    """
    if values.dtype.kind not in "iu":
        raise BadInputError(
            f"segment ids must be integers, got an array of {values.dtype}",
            fix="Read the labels in their stored integer type; floats lose ids above 2**53",
        )
    if values.dtype.kind == "i" and values.size and values.min() < 0:
        raise BadInputError(f"segment ids must not be negative, got {values.min()}")
    return values.astype(f"=u{values.dtype.itemsize}", copy=False)


def _checked_array(values: NDArray[Any]) -> Ids:
    return unsigned(values).astype(np.uint64, copy=False)
