"""L4dense: the tables of neurites, synapses, segments and the connectome, as MATLAB writes them.

Source of the layout: reference/datasets.md, B.3 to B.8. The answers are those of the tissue.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Point
from segmend.core.grid import VoxelGrid
from segmend.core.ids import relabel_dense
from segmend.synthetic.tissue import Tissue

CUT = 16
"""Voxels a side of the blocks that cut segments into supervoxels, so that neurites have several."""

AXON_CLASSES = {"corticocortical": 1, "thalamocortical": 2, "inhibitory": 3, "other": 4}
TARGET_CLASSES = {
    "apicaldendrite": 1,
    "axoninitialsegment": 2,
    "otherdendrite": 4,
    "smoothdendrite": 5,
    "soma": 8,
    "proximaldendrite": 9,
}
DENDRITE_CODES = (1, 4, 5, 9)
SYNAPSE_TYPES = {"PrimarySpine": 1, "SecondarySpine": 2, "Shaft": 3, "Soma": 4}


@dataclass(frozen=True, slots=True)
class TableTruth:
    """What the tables were written from.

    Attributes:
        supervoxels: uint32 ``(z, y, x)``, 0 outside neurons.
        mapped: uint32: supervoxels of one axon or dendrite under the id of the lowest.
        axons: Neuron of each axon, in the order of their ids.
        dendrites: Neuron of each dendrite.
        members: Supervoxels of each neuron.
        heads: Supervoxels that are spine heads: every second synapse onto a dendrite is on one.
        counts: Synapses by row and column of the connectome.
    """

    supervoxels: NDArray[np.uint32]
    mapped: NDArray[np.uint32]
    axons: tuple[int, ...]
    dendrites: tuple[int, ...]
    members: dict[int, tuple[int, ...]]
    heads: tuple[int, ...]
    counts: dict[tuple[int, int], int]


def write_tables(folder: Path, tissue: Tissue, *, columns_first: bool = True) -> TableTruth:
    """Write ``axons``, ``dendrites``, ``synapses`` and ``segments.hdf5`` and ``connectome.csv``.

    Args:
        folder: Where.
        tissue: Whose neurons become axons and dendrites; glia are neither.
        columns_first: As MATLAB stores matrices; False: the other way round.

    Returns:
        What the files must say.
    """
    truth = _truth(tissue)
    writer = _Writer(tissue, truth, columns_first)
    writer.axons(folder / "axons.hdf5")
    writer.dendrites(folder / "dendrites.hdf5")
    writer.synapses(folder / "synapses.hdf5")
    writer.segments(folder / "segments.hdf5")
    writer.connectome(folder / "connectome.csv")
    return truth


def _truth(tissue: Tissue) -> TableTruth:
    z, y, x = np.indices(tissue.neurons.shape, np.uint64)
    block = ((z // CUT) * 64 + y // CUT) * 64 + x // CUT
    parts = relabel_dense(tissue.automatic)[0].astype(np.uint64)
    key = (tissue.neurons * np.uint64(parts.max() + 1) + parts) * np.uint64(2**18) + block
    key[tissue.neurons == 0] = 0
    supervoxels = relabel_dense(key)[0].astype(np.uint32)
    # A supervoxel lies in one neuron: that of its first voxel.
    ids, first = np.unique(supervoxels, return_index=True)
    members: dict[int, list[int]] = {}
    for supervoxel, neuron in zip(ids.tolist(), tissue.neurons.flat[first].tolist(), strict=True):
        if supervoxel:
            members.setdefault(neuron, []).append(supervoxel)
    present = sorted(n for n in members if tissue.kinds[n] != "glia")
    # "Dendrites" are all postsynaptic targets, so that a neurite that only receives is one.
    targets = {s.post_neuron for s in tissue.synapses} - {s.pre_neuron for s in tissue.synapses}
    axons = tuple(n for n in present if tissue.kinds[n] == "axon" and n not in targets)
    dendrites = tuple(n for n in present if n not in axons)
    mapped = supervoxels.copy()
    for neuron in present:
        mapped[tissue.neurons == neuron] = min(members[neuron])
    counts = Counter(
        (axons.index(s.pre_neuron), dendrites.index(s.post_neuron))
        for s in tissue.synapses
        if s.pre_neuron in axons and s.post_neuron in dendrites
    )
    held = {neuron: tuple(sorted(ids)) for neuron, ids in members.items()}
    onto = [s for s in tissue.synapses if s.post_neuron in dendrites]
    heads = {supervoxel_at(tissue, supervoxels, s.post_point_nm)[1] for s in onto[::2]}
    return TableTruth(
        supervoxels, mapped, axons, dendrites, held, tuple(sorted(heads)), dict(counts)
    )


def supervoxel_at(
    tissue: Tissue, supervoxels: NDArray[np.uint32], point: Point
) -> tuple[tuple[int, int, int], int]:
    """The voxel ``(z, y, x)`` that holds a point, and its supervoxel."""
    spec = tissue.spec
    at = VoxelGrid(spec.voxel_size, (0, 0, 0), spec.shape).voxel_at(point)
    return at, int(supervoxels[at])


class _Writer:
    def __init__(self, tissue: Tissue, truth: TableTruth, columns_first: bool) -> None:
        self._tissue, self._truth, self._columns_first = tissue, truth, columns_first
        flat = truth.supervoxels.reshape(-1)
        ids, first, counts = np.unique(flat, return_index=True, return_counts=True)
        kept = ids > 0
        self._counts = counts[kept]
        # One-based x, y, z of a voxel inside each.
        voxels = np.stack(np.unravel_index(first[kept], truth.supervoxels.shape), -1)
        self._positions = (voxels[:, ::-1] + 1).astype(np.uint32)

    def axons(self, path: Path) -> None:
        names = list(AXON_CLASSES.values())
        codes = [names[i % len(names)] for i in range(len(self._truth.axons))]
        with _file(path) as file:
            self._neurites(file, "axons", self._truth.axons, codes, AXON_CLASSES)

    def dendrites(self, path: Path) -> None:
        neurons, kinds = self._truth.dendrites, self._tissue.kinds
        codes = [
            TARGET_CLASSES["soma"] if kinds[n] == "soma" else DENDRITE_CODES[i % 4]
            for i, n in enumerate(neurons)
        ]
        somata = [n for n in neurons if kinds[n] == "soma"]
        neuron_ids = [somata.index(n) + 1 if n in somata else 0 for n in neurons]
        heads = self._truth.heads
        volume = np.prod(self._tissue.spec.voxel_size) / 1e9
        with _file(path) as file:
            self._neurites(file, "dendrites", neurons, codes, TARGET_CLASSES)
            file["dendrites/neuronId"] = np.array(neuron_ids, np.uint32)
            for number, head in enumerate(heads, 1):
                file[f"spineHeads/agglomerate/{number}"] = np.array([head], np.uint32)
            sizes = np.array([self._counts[head - 1] for head in heads])
            file["spineHeads/volume"] = (sizes * volume).astype(np.float32)

    def synapses(self, path: Path) -> None:
        synapses, truth, heads = self._tissue.synapses, self._truth, self._truth.heads
        pre = [self._at(s.pre_point_nm) for s in synapses]
        post = [self._at(s.post_point_nm) for s in synapses]
        center = [self._at(s.center_nm) for s in synapses]
        axon_ids = [_id(truth.axons, s.pre_neuron) for s in synapses]
        head_ids = [_id(heads, segment) for _, segment in post]
        area = [0.1 + 0.01 * n if head else np.nan for n, head in enumerate(head_ids)]
        types = [1 + n % 2 if head else 3 + n % 2 for n, head in enumerate(head_ids)]
        with _file(path) as file:
            _categorical(file, "synapses/type", types, SYNAPSE_TYPES)
            for side, points in (("pre", pre), ("post", post)):
                for number, (_, segment) in enumerate(points, 1):
                    file[f"synapses/{side}SegIds/{number}"] = np.array([segment], np.uint32)
            for name, points in (("pre", pre), ("syn", center), ("post", post)):
                self._matrix(file, f"synapses/{name}Position", [place for place, _ in points])
            file["synapses/preAxonId"] = np.array(axon_ids, np.uint32)
            file["synapses/preSplitAxonId"] = np.array(axon_ids, np.uint32)
            targets = [_id(truth.dendrites, s.post_neuron) for s in synapses]
            file["synapses/postDendriteId"] = np.array(targets, np.uint32)
            file["synapses/postSpineHeadId"] = np.array(head_ids, np.uint32)
            file["synapses/asiArea"] = np.array(area, np.float32)

    def segments(self, path: Path) -> None:
        with _file(path) as file:
            self._matrix(file, "segments/position", self._positions)
            file["segments/voxelCount"] = self._counts.astype(np.uint32)

    def connectome(self, path: Path) -> None:
        names = {code: name for name, code in TARGET_CLASSES.items()}
        with h5py.File(path.with_name("dendrites.hdf5")) as file:
            types = [names[int(code)] for code in file["dendrites/class"][()]]
        classes = list(AXON_CLASSES)
        lines = [",".join(["", *types])]
        for row in range(len(self._truth.axons)):
            cells = (str(self._truth.counts.get((row, column), 0)) for column in range(len(types)))
            lines.append(",".join([classes[row % len(classes)], *cells]))
        path.write_text("\n".join(lines) + "\n")

    def _neurites(
        self,
        file: Any,
        root: str,
        neurons: tuple[int, ...],
        codes: list[int],
        names: dict[str, int],
    ) -> None:
        _categorical(file, f"{root}/class", codes, names)
        for number, neuron in enumerate(neurons, 1):
            segments = np.array(self._truth.members[neuron], np.uint32)
            file[f"{root}/agglomerate/{number}"] = segments
            at = f"{root}/skeleton/{number}"
            count = len(segments)
            chain = [[i, i + 1] for i in range(1, count)] or [[1, 1]]
            self._matrix(file, f"{at}/nodes", self._positions[segments - 1])
            self._matrix(file, f"{at}/edges", chain)
            file[f"{at}/segIds"] = segments

    def _matrix(self, file: Any, key: str, rows: Any) -> None:
        matrix = np.array(rows, np.uint32)
        file[key] = matrix.T if self._columns_first else matrix

    def _at(self, point: Point) -> tuple[list[int], int]:
        """One-based x, y, z of the voxel that holds a point, and its supervoxel."""
        (z, y, x), supervoxel = supervoxel_at(self._tissue, self._truth.supervoxels, point)
        return [x + 1, y + 1, z + 1], supervoxel


def _id(known: tuple[int, ...], item: int) -> int:
    return known.index(item) + 1 if item in known else 0


def _file(path: Path) -> Any:
    file = h5py.File(path, "w")
    file.attrs["info"] = "segmend.testing.standins.l4dense_tables"
    return file


def _categorical(file: Any, key: str, codes: list[int], names: dict[str, int]) -> None:
    file[key] = np.array(codes, np.uint8)
    for name, code in names.items():
        file[key].attrs[name] = np.uint8(code)
