"""Synthetic tissue in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.synthetic.anatomy import Kind
from segmend.synthetic.blueprint import Blueprint
from segmend.synthetic.design import draw_blueprint
from segmend.synthetic.history import Synapse, TrueEdit
from segmend.synthetic.record import true_history
from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.survey import Survey, survey_blocks
from segmend.synthetic.warp import to_volume


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Centre lines of one neuron inside the volume.

    Attributes:
        nodes: float64 ``(n, 3)`` nm, ``(z, y, x)``.
        radius: float64 ``(n,)`` nm.
        edges: int64 ``(m, 2)``, rows of ``nodes``.
    """

    nodes: NDArray[np.float64]
    radius: NDArray[np.float64]
    edges: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tissue:
    """A whole volume and everything that is true about it; arrays ``(z, y, x)``.

    Attributes:
        spec: What was asked for.
        em: uint8 grey values.
        neurons: uint64, dense; glia included.
        automatic: uint64, dense: an automatic segmentation with false splits and false merges.
        mitochondria: uint64 instances, 0 where none.
        clefts: uint64 instances, 0 where none.
        classes: uint8: 0 background (glia, extracellular space), 1 neuron, 2 cleft, 3 mitochondria,
            4 mito_boundary.
        edits: The log that turns ``automatic`` into ``neurons``.
        synapses: One per instance of ``clefts``.
        skeletons: By neuron id.
        kinds: ``soma``, ``dendrite``, ``axon`` or ``glia``, by neuron id.
    """

    spec: TissueSpec
    em: NDArray[np.uint8]
    neurons: NDArray[np.uint64]
    automatic: NDArray[np.uint64]
    mitochondria: NDArray[np.uint64]
    clefts: NDArray[np.uint64]
    classes: NDArray[np.uint8]
    edits: tuple[TrueEdit, ...]
    synapses: tuple[Synapse, ...]
    skeletons: dict[int, Skeleton]
    kinds: dict[int, Kind]

    @property
    def glia_ids(self) -> tuple[int, ...]:
        """Ids in ``neurons`` that are glia, sorted."""
        return tuple(sorted(n for n, kind in self.kinds.items() if kind == "glia"))


LAYERS = {
    "em": np.uint8,
    "neurons": np.uint64,
    "automatic": np.uint64,
    "mitochondria": np.uint64,
    "clefts": np.uint64,
    "classes": np.uint8,
}
"""Voxel layers of a tissue and their dtypes."""


def generate(spec: TissueSpec) -> Tissue:
    """Make a volume in memory; the same spec gives the same bytes.

    About 35 bytes per voxel: for anything larger than memory,
    `segmend.synthetic.write.write_tissue` writes the same voxels block by block.
    """
    blueprint = draw_blueprint(spec)
    survey = Survey(blueprint)
    arrays = {layer: np.empty(spec.shape, dtype) for layer, dtype in LAYERS.items()}
    for box, layers in survey_blocks(blueprint, survey):
        for layer, array in arrays.items():
            array[box.slices] = getattr(layers, layer)
    present = present_neurons(blueprint, survey)
    return Tissue(
        spec=spec,
        **arrays,
        edits=true_history(blueprint, survey),
        synapses=synapses(blueprint),
        skeletons=skeletons(blueprint, present),
        kinds={int(blueprint.ids.neurons[n]): blueprint.kinds[n] for n in present},
    )


def present_neurons(blueprint: Blueprint, survey: Survey) -> list[int]:
    """Numbers of the neurons that own a voxel."""
    return sorted({int(n) for n in blueprint.owner[np.flatnonzero(survey.voxels)]})


def synapses(blueprint: Blueprint) -> tuple[Synapse, ...]:
    """The synapses of a volume, in the order of their clefts."""
    neurons, automatic = blueprint.ids.neurons, blueprint.ids.automatic
    return tuple(
        Synapse(
            cleft_id=number + 1,
            pre_neuron=int(neurons[site.junction.neurons[0]]),
            post_neuron=int(neurons[site.junction.neurons[1]]),
            pre_segment=int(automatic[site.fragments[0]]),
            post_segment=int(automatic[site.fragments[1]]),
            center_nm=site.center,
            pre_point_nm=site.pre,
            post_point_nm=site.post,
        )
        for number, site in enumerate(blueprint.synapses)
    )


def skeletons(blueprint: Blueprint, present: list[int]) -> dict[int, Skeleton]:
    """Skeletons, cut off at the faces of the volume, of the neurons that own a voxel."""
    forest, spec = blueprint.forest, blueprint.spec
    nodes = to_volume(spec, blueprint.sections, forest.nodes)
    inside = np.all((nodes >= 0) & (nodes < np.array(spec.extent)), axis=1)
    parent = np.maximum(forest.parent, 0)
    linked = inside & inside[parent] & (forest.parent >= 0)
    linked &= blueprint.neuron == blueprint.neuron[parent]
    found = {}
    for number in present:
        rows = np.flatnonzero(inside & (blueprint.neuron == number))
        child = rows[linked[rows]]
        edges = np.stack([child, parent[child]], axis=1)
        found[int(blueprint.ids.neurons[number])] = Skeleton(
            nodes[rows], forest.radius[rows], np.searchsorted(rows, edges)
        )
    return found
