"""Growing one unbranched path through free space.

Free space is known on a coarse lattice of *clearance*: the distance in nm from a lattice point to
the surface of the nearest thing grown so far, capped at `CAP`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.synthetic.spec import TissueSpec

PITCH = 40.0
"""Spacing of the clearance lattice, nm."""

CAP = 220.0
"""Clearance beyond which nobody needs to know more, nm."""

STEP = 50.0
"""Length of a step of a path, nm."""

MARGIN = 260.0
"""Tissue is grown this far beyond the volume, nm, so that its faces are not special."""

CHOICES = 12
"""Directions tried at each step."""

THINNEST = 26.0
"""A path ends where it would become thinner than this radius, nm."""


@dataclass(frozen=True, slots=True)
class Space:
    """The clearance lattice.

    Attributes:
        clearance: float32 nm, changed in place as paths are stamped.
        owner: int32, the node whose edge is nearest; -1 where nothing is within `CAP`.
        origin: Position of lattice point (0, 0, 0), nm.
    """

    clearance: NDArray[np.float32]
    owner: NDArray[np.int32]
    origin: NDArray[np.float64]

    @classmethod
    def empty(cls, spec: TissueSpec) -> Space:
        """Free space around a whole volume and its margin."""
        shape = [int(np.ceil((width + 2 * MARGIN) / PITCH)) + 1 for width in spec.extent]
        clearance = np.full(shape, CAP, np.float32)
        return cls(clearance, np.full(shape, -1, np.int32), np.full(3, -MARGIN))

    def stamp(self, node: int, ends: NDArray[np.float64], radius: float) -> None:
        """Take the space of a node's edge, a capsule between two points ``(2, 3)``, nm."""
        _stamp(self.clearance, self.owner, self.origin, ends, radius, node)

    def at(self, point: NDArray[np.float64]) -> float:
        """Clearance at a point, nm; minus infinity outside."""
        return float(_clearance(self.clearance, self.origin, point[0], point[1], point[2]))

    def owner_at(self, point: NDArray[np.float64]) -> int:
        """The node whose edge is nearest to a point inside the lattice; -1 if none is near."""
        index = np.rint((point - self.origin) / PITCH).astype(np.int64)
        return int(self.owner[tuple(np.clip(index, 0, np.array(self.owner.shape) - 1))])

    def point(self, index: int) -> NDArray[np.float64]:
        """Position of a lattice point given by its flat index, nm."""
        return np.array(np.unravel_index(index, self.clearance.shape)) * PITCH + self.origin


@njit(cache=True, nogil=True)
def _clearance(
    field: NDArray[np.float32], origin: NDArray[np.float64], z: float, y: float, x: float
) -> float:
    """Trilinear interpolation of the lattice."""
    u, v, w = (z - origin[0]) / PITCH, (y - origin[1]) / PITCH, (x - origin[2]) / PITCH
    i, j, k = int(np.floor(u)), int(np.floor(v)), int(np.floor(w))
    if i < 0 or j < 0 or k < 0:
        return -np.inf
    if i + 1 >= field.shape[0] or j + 1 >= field.shape[1] or k + 1 >= field.shape[2]:
        return -np.inf
    fu, fv, fw = u - i, v - j, w - k
    total = 0.0
    for a in range(2):
        for b in range(2):
            line = field[i + a, j + b, k] * (1.0 - fw) + field[i + a, j + b, k + 1] * fw
            total += (fu if a else 1.0 - fu) * (fv if b else 1.0 - fv) * line
    return total


@njit(cache=True, nogil=True)
def _stamp(
    field: NDArray[np.float32],
    owner: NDArray[np.int32],
    origin: NDArray[np.float64],
    ends: NDArray[np.float64],
    radius: float,
    node: int,
) -> None:
    a, b = ends[0], ends[1]
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    delta, length2 = b - a, 0.0
    for n in range(3):
        low[n] = max(0, int(np.floor((min(a[n], b[n]) - radius - CAP - origin[n]) / PITCH)))
        top = int(np.ceil((max(a[n], b[n]) + radius + CAP - origin[n]) / PITCH)) + 1
        high[n] = min(field.shape[n], top)
        length2 += delta[n] * delta[n]
    inverse = 1.0 / length2 if length2 > 0 else 0.0
    for i in range(low[0], high[0]):
        z = i * PITCH + origin[0] - a[0]
        for j in range(low[1], high[1]):
            y = j * PITCH + origin[1] - a[1]
            for k in range(low[2], high[2]):
                x = k * PITCH + origin[2] - a[2]
                t = (z * delta[0] + y * delta[1] + x * delta[2]) * inverse
                t = min(1.0, max(0.0, t))
                dz, dy, dx = z - t * delta[0], y - t * delta[1], x - t * delta[2]
                distance = np.sqrt(dz * dz + dy * dy + dx * dx) - radius
                if distance < field[i, j, k]:
                    field[i, j, k] = distance
                    owner[i, j, k] = node


@njit(cache=True, nogil=True)
def next_free(
    field: NDArray[np.float32], order: NDArray[np.int64], first: int, needed: float
) -> int:
    """Position in ``order`` (flat lattice indices), from ``first`` on, with clearance; or -1."""
    flat = field.ravel()
    for n in range(first, len(order)):
        if flat[order[n]] >= needed:
            return n
    return -1


@njit(cache=True, nogil=True)
def _best_direction(
    field: NDArray[np.float32],
    origin: NDArray[np.float64],
    here: NDArray[np.float64],
    heading: NDArray[np.float64],
    turns: NDArray[np.float64],
    wanted: float,
) -> tuple[float, NDArray[np.float64]]:
    """The direction with most room one and two steps ahead, straight on where there is plenty."""
    best, chosen = -np.inf, heading
    for n in range(len(turns)):
        direction = heading + turns[n]
        direction /= np.sqrt((direction * direction).sum())
        near = here + STEP * direction
        far = near + STEP * direction
        room = min(wanted, _clearance(field, origin, near[0], near[1], near[2]))
        ahead = min(wanted, _clearance(field, origin, far[0], far[1], far[2]))
        if ahead == -np.inf:
            ahead = room
        score = room + 0.6 * ahead + 14.0 * (direction * heading).sum()
        if score > best:
            best, chosen = score, direction
    return best, chosen


@njit(cache=True, nogil=True)
def grow(
    field: NDArray[np.float32],
    origin: NDArray[np.float64],
    start: NDArray[np.float64],
    heading: NDArray[np.float64],
    wanted: NDArray[np.float64],
    turns: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grow a path until it is blocked, leaves the lattice or has its full length.

    Args:
        field: Clearance lattice, nm.
        origin: Its first point, nm.
        start: First node (not repeated in the result), nm.
        heading: Unit vector.
        wanted: Radius wanted at each step, nm; its length bounds the path's.
        turns: Normal draws scaled to the wiggle, ``(steps, CHOICES, 3)``.

    Returns:
        Nodes ``(n, 3)`` nm and radii ``(n,)`` nm; n may be 0.
    """
    nodes, radii = np.empty((len(wanted), 3)), np.empty(len(wanted))
    here, direction = start.copy(), heading.copy()
    count = 0
    for n in range(len(wanted)):
        _, direction = _best_direction(
            field, origin, here, direction, turns[n], max(wanted[n], 90.0) + 20.0
        )
        here = here + STEP * direction
        room = _clearance(field, origin, here[0], here[1], here[2])
        if room < THINNEST:
            break
        nodes[n], radii[n] = here, min(wanted[n], room)
        count += 1
    return nodes[:count], radii[:count]
