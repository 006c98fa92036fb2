"""Pictures that occur in two splits, as they are or nearly so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.evaluate.audit.fingerprints import Bits

NEAR = 0.2
"""Largest share of differing bits, of those that either sets, in near-duplicates."""

PLAIN = 64
"""Prints with fewer bits set are too plain to be told apart: on FIB-25 thin processes that lie
alike, of some 30 bits, were within `NEAR` of each other and show different tissue."""

_BAND = 2  # bytes of a fingerprint that must be equal for two pictures to be compared at all
_LEAST_BITS = 3  # a band with fewer tells too little
_CROWD = 2_000  # larger groups are told apart by a second band

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Twins:
    """Rows whose picture occurs in another split.

    Attributes:
        rows: Rows of the later split (train, validation, test), in order.
        twin: For each, one row of an earlier split with that picture.
    """

    rows: Rows
    twin: Rows

    def __len__(self) -> int:
        return len(self.rows)


def exact_twins(digests: Sequence[bytes | None], splits: NDArray[np.int64]) -> Twins:
    """Rows whose picture is that of a row of another split.

    Args:
        digests: Of the picture of each row; None: nothing to compare.
        splits: Number of the split of each row; a row is a twin of rows of lower splits.
    """
    first: dict[bytes, int] = {}
    found: list[tuple[int, int]] = []
    for row in np.argsort(splits, kind="stable").tolist():
        digest = digests[row]
        if digest is None:
            continue
        other = first.setdefault(digest, row)
        if splits[other] != splits[row]:
            found.append((row, other))
    return _twins(found)


def near_twins(prints: Bits, splits: NDArray[np.int64], *, near: float = NEAR) -> Twins:
    """Rows whose fingerprint nearly is that of a row of another split.

    Only rows that agree in some band of 16 bits are compared, so the work grows with the number of
    rows and not with its square. Two prints of 512 bits at the limit share a band with a
    probability above 0.99 if their differences are spread evenly; prints with fewer differences
    than bands always do.

    Args:
        prints: uint8 (rows, bytes); those of fewer than `PLAIN` bits have no twins.
        splits: Number of the split of each row; a row is a twin of rows of lower splits.
        near: See `NEAR`.
    """
    best = np.full(len(prints), near)
    twin = np.full(len(prints), -1, np.int64)
    bands = prints.reshape(len(prints), -1, _BAND)
    keys = bands[..., 0].astype(np.int64) * 256 + bands[..., 1]
    told = np.bitwise_count(bands).sum(axis=2) >= _LEAST_BITS
    told &= (np.bitwise_count(prints).sum(axis=1) >= PLAIN)[:, None]
    for band in range(keys.shape[1]):
        rows = np.flatnonzero(told[:, band])
        second = keys[:, (band + 1) % keys.shape[1]]
        for group in _groups(rows, keys[:, band], second):
            _compare(group, prints, splits, best, twin)
    rows = np.flatnonzero(twin >= 0)
    return Twins(rows, twin[rows])


def _groups(rows: Rows, keys: Rows, second: Rows) -> list[Rows]:
    """Rows of equal key, at least two each; a crowd is told apart by its second key."""
    groups = []
    for group in _equal(rows, keys):
        groups += [group] if len(group) <= _CROWD else _equal(group, second)
    return groups


def _equal(rows: Rows, keys: Rows) -> list[Rows]:
    order = rows[np.argsort(keys[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(keys[order])) + 1
    return [group for group in np.split(order, starts) if len(group) > 1]


def _compare(
    group: Rows, prints: Bits, splits: NDArray[np.int64], best: NDArray[np.float64], twin: Rows
) -> None:
    """Look in a group for the nearest row of a lower split, and keep it if it is nearer."""
    for later in np.unique(splits[group])[1:]:
        ours, others = group[splits[group] == later], group[splits[group] < later]
        step = max(1, 2_000_000 // (len(others) * prints.shape[1]))
        for start in range(0, len(ours), step):
            part = ours[start : start + step]
            distance = _distances(prints[part], prints[others])
            place = distance.argmin(axis=1)
            found = distance[np.arange(len(part)), place]
            nearer = found <= best[part]
            best[part[nearer]], twin[part[nearer]] = found[nearer], others[place[nearer]]


def _distances(a: Bits, b: Bits) -> NDArray[np.float64]:
    """Share of differing bits, of those that either sets, for all pairs."""
    differ = np.bitwise_count(a[:, None] ^ b[None]).sum(axis=2)
    either = np.bitwise_count(a[:, None] | b[None]).sum(axis=2)
    distance: NDArray[np.float64] = differ / np.maximum(either, 1)
    return distance


def _twins(pairs: Sequence[tuple[int, int]]) -> Twins:
    array = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return Twins(array[:, 0], array[:, 1])
