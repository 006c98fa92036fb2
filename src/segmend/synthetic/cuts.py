"""Where the automatic segmentation cuts a neurite: false splits.

Real segmentations lose a neurite where it is thin, where a section is missing, and where staining
or focus fails. Candidates of each cause are cut at random until the wanted number is reached, and
only where both sides stay large enough to be worth a correction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.random import keyed_generator
from segmend.synthetic.anatomy import Forest
from segmend.synthetic.history import Cause
from segmend.synthetic.marks import HAZE, REACH, Marks
from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.warp import MISSING, Sections

THIN_NECK = 52.0
"""Largest radius of a neck that is lost for being thin, nm."""

LOST_RADIUS = 150.0
"""Largest radius of a neurite that is lost at a missing section or in haze, nm."""

SMALLEST_VOXELS = 1500
"""Estimated voxels that each side of an error keeps."""

SHARES: dict[Cause, float] = {"thin neck": 0.6, "missing section": 0.2, "low contrast": 0.2}
"""How many of the false splits have each cause, as far as there are candidates."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """False splits of a forest.

    Attributes:
        cause: For each node whose edge to its parent is cut, why.
        fragment: int64, fragment of every node, numbered from 0.
        voxels: float64, estimated voxels of each fragment inside the volume.
        spared: Thin necks that were left whole.
    """

    cause: dict[int, Cause]
    fragment: NDArray[np.int64]
    voxels: NDArray[np.float64]
    spared: tuple[int, ...]


def cut_forest(
    spec: TissueSpec, forest: Forest, neuron: NDArray[np.int64], sections: Sections, marks: Marks
) -> Cuts:
    """Choose the false splits of a volume.

    Args:
        spec: Its ``false_splits`` is the rate aimed at.
        forest: All arbors.
        neuron: Neuron of every node.
        sections: Missing ones are a cause.
        marks: Haze among them is a cause.
    """
    rng = keyed_generator("synthetic", spec.seed, "false splits")
    wanted = round(spec.false_splits * spec.cubic_micrometres)
    candidates = _candidates(spec, forest, neuron, sections, marks)
    saw = _Saw(forest, neuron, edge_voxels(spec, forest))
    shuffled = {
        why: [int(n) for n in rng.permutation(np.array(nodes, np.int64))]
        for why, nodes in candidates.items()
    }
    for why, share in SHARES.items():
        limit = len(saw.cause) + math.ceil(wanted * share)
        _cut_some(saw, shuffled[why], why, limit)
    _cut_some(saw, shuffled["thin neck"], "thin neck", wanted)
    spared = [n for n in shuffled["thin neck"] if n not in saw.cause]
    fragment, voxels = saw.fragments()
    return Cuts(saw.cause, fragment, voxels, tuple(spared))


def _cut_some(saw: _Saw, nodes: list[int], why: Cause, limit: int) -> None:
    for node in nodes:
        if len(saw.cause) >= limit:
            return
        saw.try_cut(node, why)


def edge_voxels(spec: TissueSpec, forest: Forest) -> NDArray[np.float64]:
    """Estimated voxels of every node's edge inside the volume: its cylinder, a little swollen."""
    parent = np.maximum(forest.parent, 0)
    middle = 0.5 * (forest.nodes + forest.nodes[parent])
    inside = np.all((middle > 0) & (middle < np.array(spec.extent)), axis=1) & (forest.parent >= 0)
    length = np.linalg.norm(forest.nodes - forest.nodes[parent], axis=1)
    # Neurites swell into the gaps between them; 1.3 is what counting voxels gives.
    cubic_nm = 1.3 * np.pi * forest.radius**2 * length
    return np.where(inside, cubic_nm / math.prod(spec.voxel_size), 0.0)


def _candidates(
    spec: TissueSpec, forest: Forest, neuron: NDArray[np.int64], sections: Sections, marks: Marks
) -> dict[Cause, list[int]]:
    parent = np.maximum(forest.parent, 0)
    middle = 0.5 * (forest.nodes + forest.nodes[parent])
    extent = np.array(spec.extent)
    sound = (forest.parent >= 0) & (neuron == neuron[parent])
    sound &= np.all((middle > 60) & (middle < extent - 60), axis=1)
    sound &= np.array([kind in ("axon", "dendrite") for kind in forest.kinds])[forest.arbor]
    along = forest.path == forest.path[parent]
    tight = forest.radius < THIN_NECK
    # The thinnest node of its surroundings on the path, or the base of a thin side branch.
    smaller = ~along | (forest.radius <= forest.radius[parent])
    next_on_path = np.full(len(parent), np.inf)
    next_on_path[parent[along & sound]] = forest.radius[along & sound]
    neck = sound & tight & smaller & (forest.radius <= next_on_path)
    thin = sound & (forest.radius < LOST_RADIUS)
    missing = (np.flatnonzero(sections.kind == MISSING) + 0.5) * spec.voxel_size[0]
    low = np.minimum(forest.nodes[:, 0], forest.nodes[parent, 0])
    high = np.maximum(forest.nodes[:, 0], forest.nodes[parent, 0])
    crossing = np.zeros(len(parent), bool)
    for z in missing:
        crossing |= (low <= z) & (z < high)
    hazy = np.zeros(len(parent), bool)
    for mark in marks.of_kind(HAZE):
        hazy |= np.linalg.norm(middle - mark[:3], axis=1) < 0.6 * mark[REACH]
    return {
        "thin neck": np.flatnonzero(neck).tolist(),
        "missing section": np.flatnonzero(thin & crossing).tolist(),
        "low contrast": np.flatnonzero(thin & hazy & ~neck).tolist(),
    }


class _Saw:
    """Cuts edges of a forest one at a time, keeping the size of every piece."""

    def __init__(
        self, forest: Forest, neuron: NDArray[np.int64], voxels: NDArray[np.float64]
    ) -> None:
        self.cause: dict[int, Cause] = {}
        self._voxels = voxels
        self._parent = forest.parent
        # A piece starts where there is no parent, or where the parent is another neuron.
        apart = (forest.parent < 0) | (neuron != neuron[np.maximum(forest.parent, 0)])
        self._starts = apart
        self._children: list[list[int]] = [[] for _ in forest.parent]
        for node in np.flatnonzero(~apart):
            self._children[forest.parent[node]].append(int(node))

    def _below(self, node: int) -> float:
        """Voxels of the piece from a node down."""
        total, stack = 0.0, [node]
        while stack:
            here = stack.pop()
            total += float(self._voxels[here])
            stack.extend(child for child in self._children[here] if not self._starts[child])
        return total

    def try_cut(self, node: int, why: Cause) -> bool:
        """Cut a node from its parent if both sides stay large enough."""
        if self._starts[node]:
            return False
        below = self._below(node)
        if below < SMALLEST_VOXELS:
            return False
        top = node
        while not self._starts[top]:
            top = int(self._parent[top])
        if self._below(top) - below < SMALLEST_VOXELS:
            return False
        self._starts[node] = True
        self.cause[node] = why
        return True

    def fragments(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Fragment of every node, and estimated voxels of every fragment."""
        fragment = np.cumsum(self._starts) - 1
        for node in np.flatnonzero(~self._starts):
            fragment[node] = fragment[self._parent[node]]
        voxels = np.bincount(fragment, weights=self._voxels)
        return fragment.astype(np.int64), voxels.astype(np.float64)
