"""Everything about a volume that is not a voxel: small, global, and enough to draw any block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.random import keyed_generator
from segmend.synthetic.anatomy import Forest, plant
from segmend.synthetic.edges import EdgeGrid, build_edges, edge_grid, split_into_neurons
from segmend.synthetic.marks import Marks, mark_table
from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.warp import Sections, cut_sections

@dataclass(frozen=True, slots=True)
class Ids:
    neurons: NDArray[np.uint64]
    automatic: NDArray[np.uint64]

@dataclass(frozen=True, slots=True)
class Blueprint:
    spec: TissueSpec
    forest: Forest
    grid: EdgeGrid
    marks: Marks
    sections: Sections
    ids: Ids
    tone: NDArray[np.float64]
    glia: NDArray[np.bool_]


def draw_blueprint(spec: TissueSpec) -> Blueprint:
    forest = plant(spec)
    neuron = split_into_neurons(spec, forest)
    n = int(neuron.max()) + 1
    edges = build_edges(forest, neuron, neuron)
    rng = keyed_generator("t", spec.seed)
    glia = np.zeros(n, bool)
    ids = Ids(np.arange(1, n + 1).astype(np.uint64), np.arange(1, n + 1).astype(np.uint64))
    return Blueprint(spec, forest, edge_grid(edges), mark_table([]), cut_sections(spec), ids, rng.normal(0, 8, n), glia)
