"""L4dense2019's reconstructed neurites: ``axons.hdf5`` and ``dendrites.hdf5``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmend.annotations.agglomeration import Agglomeration
from segmend.annotations.columns import Categories, Lists, Places
from segmend.annotations.matlab import MatlabFile, open_matlab
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids

L4DENSE_GRID = VoxelGrid((28, 11.24, 11.24), (0, 0, 0), (4096, 9216, 6144))
"""The grid of L4dense2019's published cubes: its voxel 1 is voxel 0 here."""


@dataclass(frozen=True, slots=True)
class Skeletons:
    """Skeletons of neurites; the numbers of nodes start at 0 in each.

    Attributes:
        nodes: One place per node, all skeletons one after the other; all are known.
        segments: Per skeleton, the segment that each node lies in, uint64.
        edges: Per skeleton, rows of two node numbers, int64; none where the file holds the single
            edge (1, 1), which stands for no edge.
    """

    nodes: Places
    segments: Lists
    edges: Lists

    def nodes_of(self, number: int) -> NDArray[np.int64]:
        """Voxels of one skeleton's nodes, int64 ``(n, 3)``, ``(z, y, x)``."""
        starts = self.segments.starts
        return self.nodes.voxels[starts[number] : starts[number + 1]]

    def __len__(self) -> int:
        return len(self.segments)


@dataclass(frozen=True, slots=True)
class Axons:
    """Axons; the axon with id ``i`` is row ``i - 1`` of every column.

    Attributes:
        classes: ``corticocortical``, ``thalamocortical``, ...
        supervoxels: Ids of the supervoxels of each.
        skeletons: Their skeletons.
    """

    classes: Categories
    supervoxels: Lists
    skeletons: Skeletons

    def agglomeration(self) -> Agglomeration:
        """Which supervoxels belong to which axon id."""
        return Agglomeration.of_lists(self.supervoxels, classes=self.classes)

    def __len__(self) -> int:
        return len(self.supervoxels)


@dataclass(frozen=True, slots=True)
class Dendrites:
    """Postsynaptic targets, somata included; the one with id ``i`` is row ``i - 1``.

    Attributes:
        neuron_ids: The neuron that each belongs to, uint64, 0 for none.
        classes: ``apicaldendrite``, ``soma``, ...
        supervoxels: Ids of the supervoxels of each.
        skeletons: Their skeletons.
    """

    neuron_ids: Ids
    classes: Categories
    supervoxels: Lists
    skeletons: Skeletons

    def agglomeration(self) -> Agglomeration:
        """Which supervoxels belong to which dendrite id."""
        return Agglomeration.of_lists(
            self.supervoxels, classes=self.classes, neuron_ids=self.neuron_ids
        )

    def __len__(self) -> int:
        return len(self.supervoxels)


@dataclass(frozen=True, slots=True)
class SpineHeads:
    """Spine heads; the one with id ``i`` is row ``i - 1``.

    Attributes:
        supervoxels: Ids of the supervoxels of each.
        volume_um3: float64, cubic micrometres.
    """

    supervoxels: Lists
    volume_um3: NDArray[np.float64]

    def agglomeration(self) -> Agglomeration:
        """Which supervoxels belong to which spine head id."""
        return Agglomeration.of_lists(self.supervoxels)

    def __len__(self) -> int:
        return len(self.supervoxels)


def read_axons(path: str | Path) -> Axons:
    """Read ``axons.hdf5``.

    Raises:
        ReadFailedError: if the file is missing or damaged.
        SchemaError: if a group is missing, a code has no name, columns differ in length, or a
            skeleton does not hold together.
    """
    file = open_matlab(path)
    classes, supervoxels, skeletons = _neurites(file, "axons")
    return Axons(classes, supervoxels, skeletons)


def read_dendrites(path: str | Path) -> Dendrites:
    """Read the dendrites of ``dendrites.hdf5``.

    Raises:
        ReadFailedError: if the file is missing or damaged.
        SchemaError: as `read_axons`.
    """
    file = open_matlab(path)
    classes, supervoxels, skeletons = _neurites(file, "dendrites")
    neuron_ids = file.ids("dendrites/neuronId")
    file.check_lengths({"dendrites/class": len(classes), "dendrites/neuronId": len(neuron_ids)})
    return Dendrites(neuron_ids, classes, supervoxels, skeletons)


def read_spine_heads(path: str | Path) -> SpineHeads:
    """Read the spine heads of ``dendrites.hdf5``.

    Raises:
        ReadFailedError: if the file is missing or damaged.
        SchemaError: if a group is missing, columns differ in length, or a volume is not positive.
    """
    file = open_matlab(path)
    supervoxels = file.lists_of_segments("spineHeads/agglomerate")
    volumes = file.numbers("spineHeads/volume", "f").astype(np.float64)
    file.check_lengths(
        {"spineHeads/agglomerate": len(supervoxels), "spineHeads/volume": len(volumes)}
    )
    bad = ~(np.isfinite(volumes) & (volumes > 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise file.error("spineHeads/volume", f"entry {row + 1} is {volumes[row]}")
    return SpineHeads(supervoxels, volumes)


def read_axon_supervoxels(path: str | Path) -> Agglomeration:
    """Which supervoxels belong to which axon of ``axons.hdf5``, without classes and skeletons.

    Reading skeletons takes most of the time of a table: mapping a segmentation needs none.

    Raises:
        ReadFailedError: if the file is missing or damaged.
        SchemaError: if the group is missing, or a list names segment 0.
        BadInputError: if two axons share a supervoxel.
    """
    return Agglomeration.of_lists(open_matlab(path).lists_of_segments("axons/agglomerate"))


def read_dendrite_supervoxels(path: str | Path) -> Agglomeration:
    """The same for the dendrites of ``dendrites.hdf5``."""
    return Agglomeration.of_lists(open_matlab(path).lists_of_segments("dendrites/agglomerate"))


def read_spine_head_supervoxels(path: str | Path) -> Agglomeration:
    """The same for the spine heads of ``dendrites.hdf5``."""
    return Agglomeration.of_lists(open_matlab(path).lists_of_segments("spineHeads/agglomerate"))


def _neurites(file: MatlabFile, root: str) -> tuple[Categories, Lists, Skeletons]:
    """What axons and dendrites have in common."""
    classes = file.categories(f"{root}/class")
    supervoxels = file.lists_of_segments(f"{root}/agglomerate")
    skeletons = _skeletons(file, f"{root}/skeleton")
    file.check_lengths(
        {
            f"{root}/class": len(classes),
            f"{root}/agglomerate": len(supervoxels),
            f"{root}/skeleton": len(skeletons),
        }
    )
    return classes, supervoxels, skeletons


def _skeletons(file: MatlabFile, key: str) -> Skeletons:
    matrices = file.lists_of_matrices(key, {"nodes": 3, "edges": 2})
    nodes, edges = matrices["nodes"], matrices["edges"]
    segments = file.lists_of_ids(key, "segIds")
    differ = np.flatnonzero(nodes.sizes != segments.sizes)
    if differ.size:
        n = int(differ[0])
        found = f"{nodes.sizes[n]} nodes and {segments.sizes[n]} segment ids"
        raise file.error(f"{key}/{n + 1}", found)
    places = file.as_places(f"{key}/*/nodes", nodes.values)
    for what, missing in (("nodes", ~places.known), ("segIds", segments.values == 0)):
        if missing.any():
            n = int(nodes.owners[np.argmax(missing)])
            raise file.error(f"{key}/{n + 1}/{what}", "one is 0: nodes and segments count from one")
    return Skeletons(places, segments, _zero_based_edges(file, key, edges, nodes.sizes))


def _zero_based_edges(file: MatlabFile, key: str, edges: Lists, counts: NDArray[np.int64]) -> Lists:
    """Edges by node numbers from 0; the lone edge (1, 1) stands for none."""
    rows, owners = edges.values, edges.owners
    loops = rows[:, 0] == rows[:, 1]
    alone = (edges.sizes == 1)[owners] & loops & (rows[:, 0] == 1)
    bad = (rows < 1).any(axis=1) | (rows > counts[owners][:, None]).any(axis=1) | (loops & ~alone)
    if bad.any():
        row = int(np.argmax(bad))
        n = int(owners[row])
        found = f"the edge {rows[row].tolist()} of {counts[n]} nodes, counted from one"
        raise file.error(f"{key}/{n + 1}/edges", found)
    sizes = np.bincount(owners[~alone], minlength=len(edges))
    return Lists.of_sizes(rows[~alone] - 1, sizes.tolist())
