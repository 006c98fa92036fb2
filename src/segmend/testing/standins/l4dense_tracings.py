"""L4dense: folders of merger mode tracings as webKnossos writes them, with known answers.

Names of the real files are not known; what is (reference/datasets.md, B.1): NML, one node in every
supervoxel of a neurite, voxels of the whole data set.
"""

from __future__ import annotations

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
from segmend.synthetic.tissue import Tissue
from segmend.testing.standins.l4dense_tables import TableTruth

CUBES = (
    VoxelBox((4, 6, 6), (44, 58, 74)),
    VoxelBox((36, 6, 6), (76, 58, 74)),
    VoxelBox((4, 60, 6), (76, 114, 74)),
)
"""Three boxes that are traced densely, voxels ``(z, y, x)`` counted from zero."""

TYPES = {"axon": "axon", "soma": "dendrite", "dendrite": "dendrite", "glia": "astrocyte"}
"""Types of TypeEM by kind of neuron."""


def write_tracings(name: str, folder: Path, tissue: Tissue, truth: TableTruth) -> None:
    """Write one folder.

    Args:
        name: Its name in the record of l4dense2019.
        folder: Where.
        tissue: Whose neurons are traced.
        truth: Their supervoxels.
    """
    folder.mkdir(parents=True, exist_ok=True)
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
        "inhibitory-axons": truth.axons[:3],
    }[name]
    for number, neuron in enumerate(chosen, 1):
        write_nml(_traced(tissue, truth, [neuron]), folder / f"{name}-{number}.nml")


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
    for tree, neuron in enumerate(sorted(neurons), 1):
        places = [at[s] for s in truth.members[neuron] if s in at]
        nodes = tuple(
            Node(number + i, (float(x), float(y), float(z)), radius=20.0)
            for i, (z, y, x) in enumerate(places)
        )
        edges = tuple(Edge(number + i - 1, number + i) for i in range(1, len(places)))
        number += len(places)
        kind = TYPES.get(tissue.kinds[neuron], "dendrite")
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
