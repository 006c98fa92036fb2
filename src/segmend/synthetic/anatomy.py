"""Growing the arbors of a whole volume: somata, dendrites with spines, glia, axons with boutons.

Sizes follow measured cortex and fly neuropil: axons 80-200 nm wide with boutons of 250-450 nm,
spine necks of 70-130 nm, dendrites of 250-700 nm, glial processes in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.random import keyed_generator
from segmend.synthetic.growth import CAP, CHOICES, MARGIN, STEP, THINNEST, Space, grow, next_free
from segmend.synthetic.spec import TissueSpec

Kind = Literal["soma", "dendrite", "axon", "glia"]
Floats = NDArray[np.float64]
Profile = Callable[[np.random.Generator, int], Floats]

SOMA_VOLUME = 45.0
"""Cubic micrometres of tissue per soma; a cortical soma is larger than the default volume."""

DENDRITE_CABLE = 1.7
"""Micrometres of dendrite per cubic micrometre of tissue."""

GLIA_VOLUME = 14.0
"""Cubic micrometres of tissue per glial process."""

FILL_PASSES = (100.0, 70.0, 48.0)
"""Axons start where there is this much clearance, nm: thick ones first, then the gaps."""

LARGEST_HOLE = 100.0
"""No point of the volume is further than about this from the surface of a neurite, nm."""

SHORTEST = 5
"""A path of fewer nodes than this is not worth a neurite."""

ORPHAN = 30
"""An axon of fewer nodes than this that ends inside the volume is a branch of a neighbour."""


@dataclass(frozen=True, slots=True)
class Forest:
    """All arbors as one table of nodes; the edge of a node leads to its parent.

    Attributes:
        nodes: float64 ``(n, 3)``, layout space, nm, ``(z, y, x)``.
        radius: float64 ``(n,)`` nm.
        parent: int64 ``(n,)``, always an earlier node; -1 for the first node of an arbor.
        arbor: int64 ``(n,)``.
        path: int64 ``(n,)``: unbranched run the node was grown in.
        kinds: Kind of each arbor.
    """

    nodes: Floats
    radius: Floats
    parent: NDArray[np.int64]
    arbor: NDArray[np.int64]
    path: NDArray[np.int64]
    kinds: tuple[Kind, ...]


@dataclass(slots=True)
class _Gardener:
    """Grows arbors one after the other into the same space."""

    spec: TissueSpec
    space: Space
    rng: np.random.Generator
    nodes: list[Floats] = field(default_factory=list)
    radius: list[float] = field(default_factory=list)
    parent: list[int] = field(default_factory=list)
    arbor: list[int] = field(default_factory=list)
    path: list[int] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    paths: int = 0

    def direction(self) -> Floats:
        """A random unit vector."""
        vector = self.rng.standard_normal(3)
        return np.asarray(vector / np.linalg.norm(vector))

    def root(self, kind: Kind, point: Floats, radius: float) -> int:
        """Begin an arbor."""
        self.kinds.append(kind)
        self.paths += 1
        node = self._add(point, radius, -1)
        self.space.stamp(node, np.array([point, point]), radius)
        return node

    def _add(self, point: Floats, radius: float, parent: int) -> int:
        self.nodes.append(point)
        self.radius.append(radius)
        self.parent.append(parent)
        self.arbor.append(len(self.kinds) - 1 if parent < 0 else self.arbor[parent])
        self.path.append(self.paths)
        return len(self.nodes) - 1

    def extend(self, start: int, points: Floats, radii: Floats) -> list[int]:
        """Add a path to a node, take its space and return its nodes."""
        if not len(points):
            return []
        self.paths += 1
        grown, parent, before = [], start, self.nodes[start]
        for point, radius in zip(points, radii, strict=True):
            parent = self._add(point, float(radius), parent)
            grown.append(parent)
            self.space.stamp(parent, np.array([before, point]), float(radius))
            before = point
        return grown

    def run(
        self, point: Floats, heading: Floats, wanted: Floats, wiggle: float
    ) -> tuple[Floats, Floats]:
        """Try a path from a point; nothing is kept yet."""
        turns = self.rng.standard_normal((len(wanted), CHOICES, 3)) * wiggle
        turns[:, 0] = 0.0
        return grow(self.space.clearance, self.space.origin, point, heading, wanted, turns)

    def trunk(self, kind: Kind, point: Floats, profile: Profile, wiggle: float) -> list[int]:
        """A new arbor grown both ways from a point; empty if there is no room.

        A short piece that ends inside the volume at both ends becomes a branch of a neighbour:
        tissue holds few orphans.
        """
        heading = self.direction()
        steps = int((max(self.spec.extent) + 2 * MARGIN) / STEP)
        ahead = self.run(point, heading, profile(self.rng, steps), wiggle)
        back = self.run(point, -heading, profile(self.rng, steps), wiggle)
        points = np.vstack([back[0][::-1], point, ahead[0]])
        ends = [float(r[0]) for _, r in (ahead, back) if len(r)]
        middle = max(THINNEST, min(self.space.at(point), *ends, CAP))
        radii = np.concatenate([back[1][::-1], [middle], ahead[1]])
        if len(points) < SHORTEST:
            return []
        if len(points) < ORPHAN and kind == "axon" and self._inside(points[[0, -1]]):
            return self._adopt(points, radii)
        first = self.root(kind, points[0], float(radii[0]))
        return [first, *self.extend(first, points[1:], radii[1:])]

    def _inside(self, points: Floats) -> bool:
        return bool(np.all(points > 0) and np.all(points < np.array(self.spec.extent)))

    def _adopt(self, points: Floats, radii: Floats) -> list[int]:
        """Hang a piece onto the neurite nearest to one of its ends."""
        owners = [self.space.owner_at(end) for end in (points[0], points[-1])]
        gaps = [
            float(np.linalg.norm(self.nodes[owner] - end)) if self._may_adopt(owner) else np.inf
            for owner, end in zip(owners, (points[0], points[-1]), strict=True)
        ]
        nearest = int(np.argmin(gaps))
        if not np.isfinite(gaps[nearest]):
            return []
        step = -1 if nearest else 1
        return self.extend(owners[nearest], points[::step], radii[::step])

    def _may_adopt(self, node: int) -> bool:
        return node >= 0 and self.kinds[self.arbor[node]] in ("axon", "dendrite")

    def branch(self, node: int, wanted: Floats, wiggle: float) -> list[int]:
        """A side branch that leaves a node sideways; empty if there is no room."""
        axis = self.nodes[node] - self.nodes[max(self.parent[node], 0)]
        side = np.cross(axis, self.direction())
        norm = float(np.linalg.norm(side))
        if norm == 0.0:
            return []
        side /= norm
        start = self.nodes[node] + side * (self.radius[node] + wanted[0] + 25.0)
        room = self.space.at(start)
        if room < 0.8 * wanted[0]:
            return []
        points, radii = self.run(start, side, wanted[1:], wiggle)
        if len(points) < 2:
            return []
        first = min(room, wanted[0])
        return self.extend(node, np.vstack([start, points]), np.array([first, *radii]))


def _axon(rng: np.random.Generator, steps: int) -> Floats:
    """Radius of an axon: a thin shaft, boutons every micrometre or less, a thin neck at times."""
    arc = np.arange(steps) * STEP
    wave = 1 + 0.1 * np.sin(arc / 170 + rng.uniform(0, 6))
    shaft = rng.uniform(42.0, 80.0) * wave
    at = rng.uniform(0, 700) + np.cumsum(rng.uniform(450, 1300, steps // 9 + 1))
    heights, width = rng.uniform(110, 210, len(at)), rng.uniform(140, 230)
    radius = np.maximum(shaft, _highest(steps, at, heights, width))
    at = rng.uniform(100, 900) + np.cumsum(rng.uniform(350, 1300, steps // 7 + 1))
    depths = rng.uniform(0.35, 0.6, len(at))
    narrowed = radius * (1 - _highest(steps, at, depths, 90.0))
    return np.maximum(np.where(radius < 100, narrowed, radius), 30.0)


@njit(cache=True, nogil=True)
def _highest(steps: int, places: Any, heights: Any, width: float) -> Floats:
    """Height, at each step of a path, of the highest of some bell curves; below 1e-4 it is 0."""
    highest = np.zeros(steps)
    for n in range(len(places)):
        first = max(0, int((places[n] - 3.1 * width) / STEP))
        last = min(steps, int((places[n] + 3.1 * width) / STEP) + 2)
        for k in range(first, last):
            away = (k * STEP - places[n]) / width
            highest[k] = max(highest[k], heights[n] * np.exp(-away * away))
    return highest


def _dendrite(rng: np.random.Generator, steps: int) -> Floats:
    """Radius of a dendrite: thick, with slow varicosities and a tighter place now and then."""
    arc = np.arange(steps) * STEP
    base = rng.uniform(150, 290)
    wave = 1 + 0.18 * np.sin(arc / rng.uniform(200, 400) + rng.uniform(0, 6))
    tight = 1 - 0.55 * np.exp(-(((arc - rng.uniform(400, 2500)) / 120) ** 2))
    return np.asarray(base * wave * tight)


def _glia(rng: np.random.Generator, steps: int) -> Floats:
    """Radius of a glial process: irregular."""
    arc = np.arange(steps) * STEP
    wave = np.sin(arc / 90 + rng.uniform(0, 6)) * np.sin(arc / 140 + rng.uniform(0, 6))
    return np.asarray(95 + 50 * wave)


def _spine(rng: np.random.Generator) -> Floats:
    """Radius of a spine: neck, then head."""
    neck, head = int(rng.integers(3, 7)), int(rng.integers(3, 5))
    return np.concatenate(
        [np.full(neck, rng.uniform(33, 55)), np.full(head, rng.uniform(100, 160))]
    )


def plant(spec: TissueSpec) -> Forest:
    """Grow all arbors of a volume, thick ones first."""
    rng = keyed_generator("synthetic", spec.seed, "growth")
    gardener = _Gardener(spec, Space.empty(spec), rng)
    _grow_somata(gardener)
    order = rng.permutation(gardener.space.clearance.size)
    _grow_dendrites(gardener, order)
    _grow_glia(gardener, order)
    for needed in FILL_PASSES:
        _fill(gardener, order, needed)
    _plug(gardener, order)
    g = gardener
    return Forest(
        np.array(g.nodes).reshape(-1, 3),
        np.array(g.radius),
        np.array(g.parent, np.int64),
        np.array(g.arbor, np.int64),
        np.array(g.path, np.int64),
        tuple(g.kinds),
    )


def _grow_somata(g: _Gardener) -> None:
    """Somata near the faces of the volume, partly inside, each with a dendrite or two."""
    extent = np.array(g.spec.extent)
    if extent.min() < 1200.0:
        return
    for _ in range(max(1, round(g.spec.cubic_micrometres / SOMA_VOLUME))):
        radius = g.rng.uniform(0.30, 0.36) * min(extent.min(), 4000.0)
        centre = g.rng.uniform(0.15, 0.85, 3) * extent
        axis = int(g.rng.integers(3))
        far = bool(g.rng.random() < 0.5)
        centre[axis] = extent[axis] + 0.2 * radius if far else -0.2 * radius
        if g.space.at(np.clip(centre, 0, extent)) < CAP:
            continue
        root = g.root("soma", centre, float(radius))
        inward = np.clip(centre, 0.35 * extent, 0.65 * extent) - centre
        inward /= np.linalg.norm(inward)
        start = centre + inward * (radius - 60.0)
        points, radii = g.run(start + inward * 320, inward, _dendrite(g.rng, 90), 0.1)
        if len(points):
            g.extend(root, np.vstack([start, points]), np.array([radii[0], *radii]))


def _grow_dendrites(g: _Gardener, order: NDArray[np.int64]) -> None:
    """Dendrites until their share of cable is reached, with branches and spines."""
    budget, at = DENDRITE_CABLE * g.spec.cubic_micrometres * 1000.0, 0
    while budget > 0:
        at = next_free(g.space.clearance, order, at, 0.9 * CAP)
        if at < 0:
            return
        nodes = g.trunk("dendrite", g.space.point(int(order[at])), _dendrite, 0.11)
        at += 1
        budget -= len(nodes) * STEP
        _branch_off(g, nodes, every=2500.0, make=lambda: _dendrite(g.rng, 60) * 0.65, wiggle=0.14)
        _branch_off(g, nodes, every=420.0, make=lambda: _spine(g.rng), wiggle=0.3)


def _grow_glia(g: _Gardener, order: NDArray[np.int64]) -> None:
    at = 0
    for _ in range(max(1, round(g.spec.cubic_micrometres / GLIA_VOLUME))):
        at = next_free(g.space.clearance, order, at, 0.6 * CAP)
        if at < 0:
            return
        nodes = g.trunk("glia", g.space.point(int(order[at])), _glia, 0.35)
        _branch_off(g, nodes, every=500.0, make=lambda: _glia(g.rng, 40), wiggle=0.4)
        at += 1


def _fill(g: _Gardener, order: NDArray[np.int64], needed: float) -> None:
    """Axons in all the room that is left."""
    at = next_free(g.space.clearance, order, 0, needed)
    while at >= 0:
        nodes = g.trunk("axon", g.space.point(int(order[at])), _axon, 0.26)
        _branch_off(g, nodes, every=1500.0, make=lambda: _axon(g.rng, 70), wiggle=0.3)
        at = next_free(g.space.clearance, order, at + 1, needed)


def _plug(g: _Gardener, order: NDArray[np.int64]) -> None:
    """A stub in every hole that no axon would grow in: no voxel may be far from everything."""
    at = next_free(g.space.clearance, order, 0, LARGEST_HOLE)
    while at >= 0:
        point = g.space.point(int(order[at]))
        root = g.root("axon", point, LARGEST_HOLE / 2)
        g.extend(root, point[None] + g.direction() * STEP, np.array([LARGEST_HOLE / 2]))
        at = next_free(g.space.clearance, order, at + 1, LARGEST_HOLE)


def _branch_off(
    g: _Gardener, nodes: list[int], *, every: float, make: Callable[[], Floats], wiggle: float
) -> None:
    """Try a branch at random nodes of a path, on average one in ``every`` nm."""
    for node in nodes:
        if g.rng.random() < STEP / every:
            g.branch(node, make(), wiggle)
