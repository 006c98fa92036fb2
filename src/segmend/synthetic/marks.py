"""Marks: everything local that the tissue carries beside its neurites.

A mark is a ball or a capsule in layout space. One table holds them all, so that one list per cell of
voxels says which of them a voxel must look at.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

MITOCHONDRION, SYNAPSE, VESICLE, FAINT, SMUDGE, HAZE, GLIA = range(7)
"""Kinds: organelle capsule; synaptic contact (``u`` pre, ``v`` post); vesicle in neuron ``u``; faint
membrane between ``u`` and ``v``; dark smudge inside ``u``; low contrast; reach of glia ``u``."""


class Marks(NamedTuple):
    """One row per mark; nm, layout space.

    ``reach`` bounds the influence around the axis from ``centre`` to ``centre + delta``; ``size`` and
    ``strength`` mean what the kind says; ``u``, ``v`` are neuron numbers (-1: none); ``item`` is the
    number of the instance, from 1.
    """

    kind: NDArray[np.int64]
    centre: NDArray[np.float64]
    delta: NDArray[np.float64]
    reach: NDArray[np.float64]
    size: NDArray[np.float64]
    strength: NDArray[np.float64]
    u: NDArray[np.int64]
    v: NDArray[np.int64]
    item: NDArray[np.int64]

    def near(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Marks:
        """Marks that may reach into a box of layout space, in table order."""
        a = np.minimum(self.centre, self.centre + self.delta) - self.reach[:, None]
        b = np.maximum(self.centre, self.centre + self.delta) + self.reach[:, None]
        rows = np.flatnonzero(np.all((a <= high) & (b >= low), axis=1))
        return Marks(*(column[rows] for column in self))


class Mark(NamedTuple):
    """One row of `Marks`, before the table is made."""

    kind: int
    centre: tuple[float, float, float]
    reach: float
    size: float
    strength: float = 1.0
    u: int = -1
    v: int = -1
    item: int = 0
    delta: tuple[float, float, float] = (0.0, 0.0, 0.0)


def mark_table(marks: list[Mark]) -> Marks:
    """The table of some marks, in the given order."""

    def floats(name: str) -> NDArray[np.float64]:
        return np.array([getattr(mark, name) for mark in marks], np.float64)

    def whole(name: str) -> NDArray[np.int64]:
        return np.array([getattr(mark, name) for mark in marks], np.int64)

    return Marks(
        kind=whole("kind"),
        centre=floats("centre").reshape(-1, 3),
        delta=floats("delta").reshape(-1, 3),
        reach=floats("reach"),
        size=floats("size"),
        strength=floats("strength"),
        u=whole("u"),
        v=whole("v"),
        item=whole("item"),
    )


@njit(cache=True, nogil=True)
def distance_to_mark(marks: Marks, n: int, point: tuple[float, float, float]) -> float:
    """Distance from a point to the axis of a mark, nm."""
    z, y, x = point
    z, y, x = z - marks.centre[n, 0], y - marks.centre[n, 1], x - marks.centre[n, 2]
    a, b, c = marks.delta[n]
    length2 = a * a + b * b + c * c
    if length2 > 0.0:
        t = min(1.0, max(0.0, (z * a + y * b + x * c) / length2))
        z, y, x = z - t * a, y - t * b, x - t * c
    return np.sqrt(z * z + y * y + x * x)
