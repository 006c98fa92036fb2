"""Annotations against the usual ways: relabelling to neurites, NML, and the synapse table.

    python benchmarks/bench_annotations.py [--part relabel|nml|synapses] [--side 512]
        [--supervoxels 20_000_000] [--nodes 50_000] [--synapses 20_000] [--repeat 3] [--json]

Relabelling: a box of supervoxels as large as those of L4dense (10,000 voxels), against neurites
that hold half of all of them; the peer that matters is reading the box from its cube (HDF5 as
MATLAB writes it, in the page cache). Slow peers map an eighth of the box, ours beside them too.
NML: nodes with edges in one file; `wknml` is webKnossos' own reader, `ElementTree` the plainest
loop. Synapses: the whole of ``synapses.hdf5``; the peer opens every list by h5py.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import fastremap
import h5py
import numpy as np
import pandas as pd
from table import Line, show, timed

from segmend.annotations.agglomeration import Agglomeration
from segmend.annotations.annotation import Annotation, Edge, Node, Parameters, Tree
from segmend.annotations.columns import Lists
from segmend.annotations.nml import read_nml, write_nml
from segmend.annotations.synapses import IDS, LISTS, PLACES, read_synapses
from segmend.core.box import VoxelBox
from segmend.volumes.drivers.hdf5_cubes import open_hdf5_cubes

CUBE = 21
"""Voxels a side of a supervoxel."""

PER_NEURITE = 40
GOAL = 2.0
"""How many times faster than reading mapping should be: "well under" its time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--supervoxels", type=int, default=20_000_000)
    parser.add_argument("--nodes", type=int, default=50_000)
    parser.add_argument("--synapses", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts = asked.part or list(PARTS)
        show(
            (line for part in parts for line in PARTS[part](asked, Path(folder))),
            as_json=asked.json,
        )


def relabel(asked: argparse.Namespace, folder: Path) -> Iterator[Line]:
    rng = np.random.default_rng(0)
    side, many = asked.side, asked.supervoxels
    held = np.sort(rng.permutation(many)[: many // 2]).astype(np.uint64) + np.uint64(1)
    sizes = [PER_NEURITE] * (len(held) // PER_NEURITE)
    neurites = Agglomeration.of_lists(Lists.of_sizes(held[: sum(sizes)], sizes))
    few = -(-side // CUBE)
    ids = rng.integers(1, many, (few, few, few), dtype=np.uint32)
    labels = np.kron(ids, np.ones((CUBE,) * 3, np.uint32))[:side, :side, :side].copy()
    with h5py.File(folder / "x0y0z0.hdf5", "w") as file:
        file["data"] = labels
    cubes = open_hdf5_cubes(
        folder, "data", cube_shape=(side,) * 3, grid_shape=(1, 1, 1), dtype="uint32",
        voxel_size=(28, 11.24, 11.24),
    )  # fmt: skip
    box = VoxelBox((0, 0, 0), (side,) * 3)
    out = np.empty(labels.shape, np.uint64)
    table = np.zeros(many + 1, np.uint32)
    table[neurites.keys] = neurites.owners
    job = f"map {side}^3 to neurites, {many / 1e6:.0f} M supervoxels"
    ours, reading, fancy = timed(
        asked.repeat,
        lambda: neurites.relabel(labels, out=out),
        lambda: cubes.read_voxels(box),
        lambda: table[labels],
    )
    yield Line(job, ours, "reading the box", reading, GOAL)
    yield Line("the same", ours, "numpy, table[labels]", fancy)
    part = np.ascontiguousarray(labels[: side // 2, : side // 2, : side // 2])
    job = f"map {side // 2}^3 to neurites"
    mine = out.reshape(-1)[: part.size].reshape(part.shape)
    peers: dict[str, Callable[[], object]] = {
        "fastremap.unique + remap": lambda: _fastremap(part, table),
        "numpy, searchsorted": lambda: _searchsorted(part, neurites.keys, neurites.owners),
        "pandas, Series.map": lambda: _pandas(part, neurites.keys, neurites.owners),
    }
    for peer, theirs in peers.items():
        ours, other = timed(1, lambda: neurites.relabel(part, out=mine), theirs)
        yield Line(job, ours, peer, other)


def _fastremap(labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    present = fastremap.unique(labels)
    return fastremap.remap(
        labels, dict(zip(present.tolist(), table[present].tolist(), strict=True))
    )


def _searchsorted(labels: np.ndarray, keys: np.ndarray, owners: np.ndarray) -> np.ndarray:
    at = np.minimum(np.searchsorted(keys, labels), len(keys) - 1)
    return np.where(keys[at] == labels, owners[at], 0)


def _pandas(labels: np.ndarray, keys: np.ndarray, owners: np.ndarray) -> np.ndarray:
    known = pd.Series(owners, index=keys)
    found = pd.Series(labels.reshape(-1)).map(known)
    return found.fillna(0).to_numpy(np.uint64).reshape(labels.shape)


def nml(asked: argparse.Namespace, folder: Path) -> Iterator[Line]:
    rng = np.random.default_rng(0)
    trees, first = [], 1
    for number in range(1, 101):
        count = asked.nodes // 100
        places = rng.integers(0, 6000, (count, 3)).astype(float).tolist()
        nodes = tuple(Node(first + i, (x, y, z), radius=30.0) for i, (x, y, z) in enumerate(places))
        edges = tuple(Edge(first + i - 1, first + i) for i in range(1, count))
        trees.append(Tree(number, f"neurite {number}", nodes=nodes, edges=edges))
        first += count
    scale = Parameters(
        experiment={"name": "2012-09-28_ex145_07x2_ROI2017"},
        scale_xyz=(11.24, 11.24, 28.0),
        offset_xyz=(0.0, 0.0, 0.0),
    )
    path = folder / "neurites.nml"
    write_nml(Annotation(parameters=scale, trees=tuple(trees)), path)
    peers: dict[str, Callable[[], object]] = {"ElementTree, plain loop": lambda: _elements(path)}
    if importlib.util.find_spec("wknml"):
        import wknml

        peers["wknml"] = lambda: wknml.parse_nml(path.open("rb"))
    for peer, theirs in peers.items():
        ours, other = timed(asked.repeat, lambda: read_nml(path), theirs)
        yield Line(f"read NML, {asked.nodes} nodes", ours, peer, other, 1)


def _elements(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    found = []
    for tree in ET.parse(path).getroot().iter("thing"):
        nodes = [[float(n.get(axis)) for axis in "xyz"] for n in tree.iter("node")]
        edges = [[int(e.get(end)) for end in ("source", "target")] for e in tree.iter("edge")]
        found.append((np.array(nodes), np.array(edges)))
    return found


def synapses(asked: argparse.Namespace, folder: Path) -> Iterator[Line]:
    path = folder / "synapses.hdf5"
    _write_synapses(path, asked.synapses)
    ours, theirs = timed(
        asked.repeat, lambda: read_synapses(path), lambda: _every_list(path, asked.synapses)
    )
    job = f"read synapses.hdf5, {asked.synapses} synapses"
    yield Line(job, ours, "h5py, list by list", theirs, 10)


def _write_synapses(path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name in LISTS:
            group = file.create_group(f"synapses/{name}")
            spaces = {k: h5py.h5s.create_simple((k,)) for k in range(1, 7)}
            for number, size in enumerate(rng.integers(1, 7, count).tolist(), 1):
                made = h5py.h5d.create(
                    group.id, str(number).encode(), h5py.h5t.NATIVE_UINT32, spaces[size]
                )
                ids = rng.integers(1, 2**24, size, dtype=np.uint32)
                made.write(h5py.h5s.ALL, h5py.h5s.ALL, ids)
        for name in PLACES:
            file[f"synapses/{name}"] = rng.integers(1, 3000, (3, count), dtype=np.uint32)
        for name in IDS:
            file[f"synapses/{name}"] = rng.integers(0, 1000, count, dtype=np.uint32)
        file["synapses/asiArea"] = rng.random(count, dtype=np.float32) + np.float32(0.01)
        types = file.create_dataset("synapses/type", data=rng.integers(1, 5, count, dtype=np.uint8))
        for code, name in enumerate(("primaryspine", "secondaryspine", "shaft", "soma"), 1):
            types.attrs[name] = np.uint8(code)


def _every_list(path: Path, count: int) -> list[object]:
    found: list[object] = []
    with h5py.File(path) as file:
        for name in LISTS:
            group = file[f"synapses/{name}"]
            found.append([group[str(number)][()] for number in range(1, count + 1)])
        found += [file[f"synapses/{name}"][()] for name in (*PLACES, *IDS, "asiArea", "type")]
    return found


PARTS = {"relabel": relabel, "nml": nml, "synapses": synapses}


if __name__ == "__main__":
    main()
