"""L4dense: folders of merger mode tracings as webKnossos writes them, with known answers.

Names of the real files are not known; what is (reference/datasets.md, B.1): NML, one node in every
supervoxel of a neurite, voxels of the whole data set, counted from zero (the group's code adds 1).
That TypeEM's trees are named by their type is told by the group's code; that the targets of the
inhibitory axons are is inferred.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from segmend.annotations.annotation import (
    Annotation,
    Edge,
    Group,
    NamedBox,
    Node,
    Parameters,
    Tree,
)
from segmend.annotations.nml import write_nml
from segmend.core.box import VoxelBox
from segmend.synthetic.history import Synapse
from segmend.synthetic.tissue import Tissue
from segmend.testing.standins.l4dense_tables import TableTruth, supervoxel_at

CUBES = (
    VoxelBox((4, 6, 6), (44, 58, 74)),
    VoxelBox((36, 6, 6), (76, 58, 74)),
    VoxelBox((4, 60, 6), (76, 114, 74)),
)
"""Three boxes that are traced densely, voxels ``(z, y, x)`` counted from zero."""


def write_tracings(name: str, folder: Path, tissue: Tissue, truth: TableTruth) -> None:
    """Write one folder.

    Args:
        name: Its name in the record of l4dense2019.
        folder: Where.
        tissue: Whose neurons are traced.
        truth: Their supervoxels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if name == "inhibitory-axons":
        for number, axon in enumerate(inhibitory_axons(tissue, truth), 1):
            write_nml(_with_targets(tissue, truth, axon), folder / f"axon-{number}.nml")
        return
    if name in ("connectem-cubes", "typeem-cubes"):
        typed = name == "typeem-cubes"
        for number, box in enumerate(CUBES, 1):
            neurons = [n for n in truth.members if typed or tissue.kinds[n] != "glia"]
            made = _traced(tissue, truth, neurons, box=box, typed=typed)
            write_nml(made, folder / f"cube-{number}.nml")
        return
    chosen = {
        "connectem-neurites": (*truth.axons[:3], *truth.dendrites[:3]),
        "manual-neurons": truth.dendrites[:2],
    }[name]
    for number, neuron in enumerate(chosen, 1):
        made = _traced(tissue, truth, [neuron])
        # Whole neurons leave the segmentation.
        made = made if name == "connectem-neurites" else _leaving(made, tissue)
        write_nml(made, folder / f"{name}-{number}.nml")


def neurite_type(tissue: Tissue, truth: TableTruth, neuron: int) -> str:
    """TypeEM's type of a neuron: what only receives is a dendrite, as in the tables."""
    if tissue.kinds[neuron] == "glia":
        return "astrocyte"
    return "axon" if neuron in truth.axons else "dendrite"


def inhibitory_axons(tissue: Tissue, truth: TableTruth) -> list[int]:
    """The three axons with most synapses onto dendrites."""
    counts = Counter(s.pre_neuron for s in tissue.synapses if s.post_neuron in truth.dendrites)
    return sorted(truth.axons, key=lambda axon: (-counts[axon], axon))[:3]


def target_type(tissue: Tissue, truth: TableTruth, synapse: Synapse) -> str:
    """What a synapse is onto."""
    at = supervoxel_at(tissue, truth.supervoxels, synapse.post_point_nm)[1]
    if at in truth.heads:
        return "spine head"
    return "soma" if tissue.kinds[synapse.post_neuron] == "soma" else "shaft"


def _with_targets(tissue: Tissue, truth: TableTruth, axon: int) -> Annotation:
    """An axon as a tree, and a tree of one node for every target of it, named by its type."""
    made = _traced(tissue, truth, [axon])
    trees = [replace(made.trees[0], name="axon")]
    number = len(trees[0].nodes) + 1
    for synapse in tissue.synapses:
        if synapse.pre_neuron != axon or synapse.post_neuron not in truth.dendrites:
            continue
        (z, y, x), _ = supervoxel_at(tissue, truth.supervoxels, synapse.post_point_nm)
        name = f"{target_type(tissue, truth, synapse)} {len(trees):02d}"
        node = Node(number, (float(x), float(y), float(z)))
        trees.append(Tree(len(trees) + 1, name, nodes=(node,)))
        number += 1
    return replace(made, trees=tuple(trees))


def _leaving(made: Annotation, tissue: Tissue) -> Annotation:
    """With two more nodes, the one beyond the cubes along x, the other beyond all voxels."""
    (tree,) = made.trees
    last = max(node.id for node in tree.nodes)
    x = tissue.spec.shape[2]
    beyond = (Node(last + 1, (x + 4.0, 8.0, 8.0)), Node(last + 2, (x + 40.0, 8.0, 8.0)))
    edges = (Edge(last, last + 1), Edge(last + 1, last + 2))
    longer = replace(tree, nodes=(*tree.nodes, *beyond), edges=(*tree.edges, *edges))
    return replace(made, trees=(longer,))


def _traced(
    tissue: Tissue,
    truth: TableTruth,
    neurons: list[int],
    *,
    box: VoxelBox | None = None,
    typed: bool = False,
) -> Annotation:
    """A tree per neuron, a node in each of its supervoxels (inside the box)."""
    box = box or VoxelBox((0, 0, 0), truth.supervoxels.shape)
    part = truth.supervoxels[box.slices]
    ids, first = np.unique(part, return_index=True)
    voxels = np.stack(np.unravel_index(first, part.shape), -1) + np.array(box.start)
    at = dict(zip(ids.tolist(), voxels.tolist(), strict=True))
    trees, number = [], 1
    traced = [(neuron, list(truth.members[neuron])) for neuron in sorted(neurons)]
    heads = [(head, [head]) for head in truth.heads if head in at] if typed else []
    for tree, (neuron, supervoxels) in enumerate([*traced, *heads], 1):
        places = [at[s] for s in supervoxels if s in at]
        nodes = tuple(
            Node(number + i, (float(x), float(y), float(z)), radius=20.0)
            for i, (z, y, x) in enumerate(places)
        )
        edges = tuple(Edge(number + i - 1, number + i) for i in range(1, len(places)))
        number += len(places)
        is_head = tree > len(traced)
        kind = "spinehead" if is_head else neurite_type(tissue, truth, neuron)
        label = f"{kind} {neuron:04d}" if typed else f"neurite {neuron:04d}"
        trees.append(Tree(tree, label, group=1, nodes=nodes, edges=edges))
    return Annotation(
        parameters=Parameters(
            experiment={"name": "2012-09-28_ex145_07x2_ROI2017"},
            scale_xyz=(11.24, 11.24, 28.0),
            boxes=(_named(box),),
        ),
        trees=tuple(trees),
        groups=(Group(1, "merger mode"),),
    )


def _named(box: VoxelBox) -> NamedBox:
    (z, y, x), (depth, height, width) = box.start, box.shape
    return NamedBox("userBoundingBox", (x, y, z), (width, height, depth), {"name": "dense"})
