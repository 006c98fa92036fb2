"""What happens where two neurites touch: synapses, false merges, faint membranes without one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Point
from segmend.core.random import keyed_generator
from segmend.synthetic.anatomy import Kind
from segmend.synthetic.contacts import Contacts
from segmend.synthetic.cuts import SMALLEST_VOXELS, Cuts
from segmend.synthetic.edges import Edges
from segmend.synthetic.marks import FAINT, SYNAPSE, VESICLE, Mark
from segmend.synthetic.organelles import place
from segmend.synthetic.paint import CLEFT_HALF
from segmend.synthetic.spec import TissueSpec

APART = 260.0
"""Least distance between two junctions, nm."""

BOUTON = 85.0
"""Least radius of an axon where it makes a synapse, nm."""

DECOYS = 1.0
"""Faint membranes that are no false merge, per false merge."""


@dataclass(frozen=True, slots=True)
class Junction:
    """A place where two neurites touch.

    Attributes:
        point: On the common membrane, layout space, nm.
        within: On the axis of the first neurite.
        neurons: Numbers of the two; of a synapse the presynaptic first.
        fragments: Their fragments.
        radius: Of the first neurite, nm.
    """

    point: NDArray[np.float64]
    within: NDArray[np.float64]
    neurons: tuple[int, int]
    fragments: tuple[int, int]
    radius: float


@dataclass(frozen=True, slots=True)
class SynapseSite:
    """A synapse that was checked in voxels.

    Attributes:
        junction: Where it is; the presynaptic neurite first.
        fragments: Fragments at ``pre`` and ``post``.
        center: Centre of a voxel of the cleft, nm.
        pre: Centre of a voxel of the presynaptic neuron beside the cleft, nm.
        post: Centre of a voxel of the postsynaptic neuron beside the cleft, nm.
    """

    junction: Junction
    fragments: tuple[int, int]
    center: Point
    pre: Point
    post: Point


def junctions(contacts: Contacts, edges: Edges) -> list[Junction]:
    """All contacts as junctions, in their order."""
    end = edges.capsule[:, 7] + edges.capsule[:, 8]
    return [
        Junction(
            point,
            within,
            (int(edges.neuron[a]), int(edges.neuron[b])),
            (int(edges.fragment[a]), int(edges.fragment[b])),
            float(end[a]),
        )
        for point, within, a, b in zip(*contacts, strict=True)
    ]


class Chosen:
    """Junctions chosen so far; a new one keeps its distance."""

    def __init__(self) -> None:
        self.points: list[NDArray[np.float64]] = []

    def free(self, junction: Junction) -> bool:
        """Whether nothing chosen is near."""
        if not self.points:
            return True
        away = np.linalg.norm(np.array(self.points) - junction.point, axis=1)
        return bool(away.min() >= APART)

    def add(self, junction: Junction) -> None:
        """Keep a junction."""
        self.points.append(junction.point)


def synaptic_candidates(found: list[Junction], kinds: tuple[Kind, ...]) -> list[Junction]:
    """Boutons touching dendrites, then boutons touching other axons, in the given order."""
    boutons = [
        j
        for j in found
        if kinds[j.neurons[0]] == "axon"
        and j.radius >= BOUTON
        and kinds[j.neurons[1]] in ("dendrite", "axon", "soma")
    ]
    return sorted(boutons, key=lambda j: kinds[j.neurons[1]] == "axon")


class MergeTree:
    """Which fragments the automatic segmentation unites.

    A segment never holds two fragments of one neuron, nor more than `LARGEST` fragments, so that
    every false merge can be undone by its own split.
    """

    LARGEST = 3

    def __init__(self, neuron_of: NDArray[np.int64]) -> None:
        self._neuron_of = neuron_of
        self._group = {n: [n] for n in range(len(neuron_of))}

    def unite(self, a: int, b: int) -> bool:
        """Unite the segments of two fragments if that keeps the rule."""
        first, second = self._group[a], self._group[b]
        both = first + second
        neurons = {int(self._neuron_of[n]) for n in both}
        if first is second or len(both) > self.LARGEST or len(neurons) < len(both):
            return False
        for n in both:
            self._group[n] = both
        return True

    def segment(self) -> NDArray[np.int64]:
        """Segment of every fragment, numbered from 0."""
        least = np.array([min(self._group[n]) for n in range(len(self._neuron_of))])
        return np.unique(least, return_inverse=True)[1].astype(np.int64)


def merge_candidates(found: list[Junction], kinds: tuple[Kind, ...], cuts: Cuts) -> list[Junction]:
    """Contacts of two neurites that are both large enough to matter."""
    neurites = ("axon", "dendrite")
    return [
        j
        for j in found
        if kinds[j.neurons[0]] in neurites
        and kinds[j.neurons[1]] in neurites
        and min(cuts.voxels[j.fragments[0]], cuts.voxels[j.fragments[1]]) >= SMALLEST_VOXELS
    ]


def faint_mark(junction: Junction, rng: np.random.Generator, low: float, high: float) -> Mark:
    """A membrane drawn faint between two neurites."""
    return Mark(
        FAINT,
        place(junction.point),
        reach=float(rng.uniform(110, 190)),
        size=0.0,
        strength=float(rng.uniform(low, high)),
        u=junction.neurons[0],
        v=junction.neurons[1],
    )


def synapse_mark(spec: TissueSpec, junction: Junction, item: int) -> Mark:
    """The cleft and densities of a synapse."""
    size = keyed_generator("synthetic", spec.seed, "synapse", *place(junction.point)).uniform(
        85, 165
    )
    pre, post = junction.neurons
    return Mark(
        SYNAPSE,
        place(junction.point),
        reach=1.2 * float(size),
        size=float(size),
        # Half the width of the cleft: wide enough to hold the centres of some voxels.
        strength=max(CLEFT_HALF, 0.6 * max(spec.voxel_size)),
        u=pre,
        v=post,
        item=item,
    )


def vesicle_marks(spec: TissueSpec, junction: Junction) -> list[Mark]:
    """Vesicles in a bouton, denser towards the synapse, none on top of another."""
    rng = keyed_generator("synthetic", spec.seed, "vesicles", *place(junction.point))
    inward = junction.within - junction.point
    inward /= max(1e-6, float(np.linalg.norm(inward)))
    count = int(rng.integers(90, 240))
    depth = 38.0 + rng.exponential(110.0, (count, 1))
    side = rng.normal(0.0, 90.0, (count, 3))
    points = junction.point + inward * depth + side - inward * (side @ inward)[:, None]
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    kept = [points[n] for n in range(count) if np.all(gaps[n, :n] > 42.0)]
    pre = junction.neurons[0]
    return [Mark(VESICLE, place(point), reach=30.0, size=16.0, u=pre) for point in kept]
