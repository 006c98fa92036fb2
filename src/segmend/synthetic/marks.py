"""Marks: everything local that the tissue carries beside its neurites.

A mark is a ball or a capsule in layout space. One table holds them all, so that one list per cell
of voxels says which of them a voxel must look at.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

MITOCHONDRION, SYNAPSE, VESICLE, FAINT, SMUDGE, HAZE, GLIA = range(7)
"""Kinds: organelle capsule; synaptic contact (``u`` pre, ``v`` post); vesicle in neuron ``u``;
faint membrane between ``u`` and ``v``; dark smudge inside ``u``; low contrast; reach of glia
``u``."""


REACH, SIZE, STRENGTH = 6, 7, 8
KIND, U, V, ITEM = range(4)
"""Columns of the two arrays of `Marks`."""


class Marks(NamedTuple):
    """One row per mark, packed for the inner loop; layout space, nm.

    ``shape``: columns centre (3), delta (3), `REACH`, `SIZE`, `STRENGTH`; ``role``: columns
    `KIND`, `U`, `V`, `ITEM`; see `Mark`.
    """

    shape: NDArray[np.float64]
    role: NDArray[np.int64]

    def of_kind(self, kind: int) -> NDArray[np.float64]:
        """Shapes of the marks of one kind."""
        return self.shape[self.role[:, KIND] == kind]

    def near(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Marks:
        """Marks that may reach into a box of layout space, in table order."""
        start = self.shape[:, :3]
        end, reach = start + self.shape[:, 3:6], self.shape[:, REACH, None]
        inside = (np.minimum(start, end) - reach <= high) & (np.maximum(start, end) + reach >= low)
        rows = np.flatnonzero(np.all(inside, axis=1))
        return Marks(self.shape[rows], self.role[rows])


class Mark(NamedTuple):
    """One mark.

    Attributes:
        kind: One of the kinds above.
        centre: Of the ball, or one end of the capsule's axis.
        reach: Distance from the axis within which it has any influence.
        size: Radius of what is drawn, if that is less than the reach.
        strength: What the kind says.
        u: Number of a neuron; -1 if none.
        v: Number of another neuron (of `GLIA`: fragment of the glia's sheets); -1 if none.
        item: Number of the instance, from 1.
        delta: Other end of the axis minus ``centre``.
    """

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
    shape = [(*m.centre, *m.delta, m.reach, m.size, m.strength) for m in marks]
    role = [(m.kind, m.u, m.v, m.item) for m in marks]
    return Marks(
        np.array(shape, np.float64).reshape(-1, 9), np.array(role, np.int64).reshape(-1, 4)
    )


@njit(cache=True, nogil=True)
def distance_to_mark(shape: NDArray[np.float64], m: int, z: float, y: float, x: float) -> float:
    """Distance from a point to the axis of a mark, nm."""
    z, y, x = z - shape[m, 0], y - shape[m, 1], x - shape[m, 2]
    a, b, c = shape[m, 3], shape[m, 4], shape[m, 5]
    length2 = a * a + b * b + c * c
    if length2 > 0.0:
        t = min(1.0, max(0.0, (z * a + y * b + x * c) / length2))
        z, y, x = z - t * a, y - t * b, x - t * c
    return np.sqrt(z * z + y * y + x * x)
