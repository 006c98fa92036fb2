"""Everything about a volume that is not a voxel: small, global, and enough to draw any block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.random import keyed_generator
from segmend.synthetic.anatomy import Forest, Kind, plant
from segmend.synthetic.cuts import Cuts, cut_forest
from segmend.synthetic.edges import EdgeGrid, build_edges, edge_grid, split_into_neurons
from segmend.synthetic.junctions import Junction, SynapseSite
from segmend.synthetic.marks import Mark, Marks, mark_table
from segmend.synthetic.organelles import glial_sheets, haze, mitochondria
from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.warp import Sections, cut_sections

FIRST_ID = 864_691_128_455_135_232
"""Ids start where the root ids of a CAVE server of this layout do: far above 2**53."""

ID_RANGE = 2**54


@dataclass(frozen=True, slots=True)
class Ids:
    """Tables from number to id, uint64.

    Attributes:
        neurons: Id of each neuron.
        automatic: Id of the automatic segment that holds each fragment.
    """

    neurons: NDArray[np.uint64]
    automatic: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A volume before its voxels.

    Attributes:
        spec: What was asked for.
        forest: All arbors, in layout space.
        neuron: Neuron of every node.
        cuts: False splits.
        grid: Edges, found by position.
        marks: Everything local.
        sections: Jitter, staining and damage per section.
        ids: Numbers to ids.
        kinds: Kind of each neuron.
        tone: Brightness of each neuron's cytoplasm.
        glia: Whether each neuron is glia.
        owner: Neuron of each fragment.
        segment: Automatic segment of each fragment.
        merges: False merges.
        synapses: Synapses; the cleft of number ``n`` is instance ``n + 1``.
    """

    spec: TissueSpec
    forest: Forest
    neuron: NDArray[np.int64]
    cuts: Cuts
    grid: EdgeGrid
    marks: Marks
    sections: Sections
    ids: Ids
    kinds: tuple[Kind, ...]
    tone: NDArray[np.float64]
    glia: NDArray[np.bool_]
    owner: NDArray[np.int64]
    segment: NDArray[np.int64]
    merges: tuple[Junction, ...]
    synapses: tuple[SynapseSite, ...]


def draw_ids(spec: TissueSpec, count: int) -> NDArray[np.uint64]:
    """The first ``count`` ids of a volume, distinct; a longer draw starts with the same ones."""
    rng = keyed_generator("synthetic", spec.seed, "ids")
    seen: dict[int, None] = {}
    while len(seen) < count:
        seen[FIRST_ID + int(rng.integers(ID_RANGE))] = None
    return np.array(list(seen), np.uint64)


def bare_blueprint(spec: TissueSpec) -> tuple[Blueprint, list[Mark]]:
    """A volume with its neurites, glia and false splits, but nothing where neurites touch.

    Returns:
        The blueprint, in which every fragment is a segment of its own, and its marks.
    """
    forest, sections = plant(spec), cut_sections(spec)
    neuron = split_into_neurons(spec, forest)
    foggy = haze(spec)
    cuts = cut_forest(spec, forest, neuron, sections, mark_table(foggy))
    owner = np.zeros(len(cuts.voxels), np.int64)
    owner[cuts.fragment] = neuron
    kinds = _kinds(forest, neuron)
    marks = [
        *glial_sheets(spec, forest, neuron, cuts.fragment),
        *mitochondria(spec, forest, neuron),
        *foggy,
    ]
    blueprint = Blueprint(
        spec=spec,
        forest=forest,
        neuron=neuron,
        cuts=cuts,
        grid=edge_grid(build_edges(forest, neuron, cuts.fragment)),
        marks=mark_table(marks),
        sections=sections,
        ids=name(spec, len(kinds), np.arange(len(owner))),
        kinds=kinds,
        tone=_tones(spec, kinds),
        glia=np.array([kind == "glia" for kind in kinds]),
        owner=owner,
        segment=np.arange(len(owner)),
        merges=(),
        synapses=(),
    )
    return blueprint, marks


def name(spec: TissueSpec, neurons: int, segment: NDArray[np.int64]) -> Ids:
    """Ids of neurons, then of automatic segments."""
    count = int(segment.max()) + 1
    ids = draw_ids(spec, neurons + count)
    return Ids(ids[:neurons], ids[neurons:][segment])


def _kinds(forest: Forest, neuron: NDArray[np.int64]) -> tuple[Kind, ...]:
    kinds: list[Kind] = ["axon"] * (int(neuron.max()) + 1)
    for arbor, number in zip(forest.arbor.tolist(), neuron.tolist(), strict=True):
        kinds[number] = forest.kinds[arbor]
    return tuple(kinds)


def _tones(spec: TissueSpec, kinds: tuple[Kind, ...]) -> NDArray[np.float64]:
    """Glia is pale, axons a little darker than dendrites, and each cell stains in its own way."""
    rng = keyed_generator("synthetic", spec.seed, "tones")
    base = {"soma": 2.0, "dendrite": 4.0, "axon": -3.0, "glia": 16.0}
    return np.array([base[kind] for kind in kinds]) + rng.normal(0.0, 7.0, len(kinds))
