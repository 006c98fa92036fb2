"""SynEM: files of interfaces as the group's exporter writes them (reference/datasets.md, B.10)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from segmend.core.ids import relabel_dense
from segmend.synthetic.tissue import Tissue
from segmend.testing.standins.derived import tissue

SHAPE = (28, 72, 72)
VOXEL_SIZE = (28.0, 11.24, 11.24)
BORDER = (2, 6, 6)
"""Voxels on every side that only the image has: the features of an interface reach beyond it."""

FILES = {"training-1": 61, "training-2": 66, "test-1": 68}
"""Seed of the tissue of each file. The names of the published files are not known."""

LABELS = {"nosynapse": 1, "pretopostsynapse": 2, "posttopresynapse": 3}
TARGETS = {"nosynapse": 1, "spinehead": 2, "spineneck": 3, "shaft": 4, "soma": 5}


@dataclass(frozen=True, slots=True)
class InterfaceTruth:
    """What a file was written from.

    Attributes:
        em: uint8 ``(z, y, x)``.
        segments: uint32, smaller than the image by `BORDER` on every side.
        edges: Pairs of segments, every second one in descending order.
        labels: Name of the label of each.
        targets: Name of the target type of each.
        voxels: Of each, flat places in ``segments``, from 0.
    """

    em: NDArray[np.uint8]
    segments: NDArray[np.uint32]
    edges: tuple[tuple[int, int], ...]
    labels: tuple[str, ...]
    targets: tuple[str, ...]
    voxels: tuple[NDArray[np.int64], ...]


def interface_truth(name: str) -> InterfaceTruth:
    """What the file of a name of `FILES` says."""
    made = tissue(FILES[name], SHAPE, VOXEL_SIZE)
    dense, table = relabel_dense(made.neurons)
    inside = tuple(slice(b, -b) for b in BORDER)
    segments = dense[inside].astype(np.uint32)
    number = {int(neuron): n for n, neuron in enumerate(table.tolist())}
    synapses = {(number[s.pre_neuron], number[s.post_neuron]) for s in made.synapses}
    edges, labels, targets, voxels = [], [], [], []
    for row, ((a, b), places) in enumerate(sorted(_touching(segments).items())):
        edge = (b, a) if row % 2 else (a, b)
        forward, backward = edge in synapses, edge[::-1] in synapses
        edges.append(edge)
        label = "pretopostsynapse" if forward else "posttopresynapse" if backward else "nosynapse"
        labels.append(label)
        post = edge[1] if forward else edge[0]
        targets.append(_target(made, int(table[post])) if forward or backward else "nosynapse")
        voxels.append(np.unique(places))
    return InterfaceTruth(
        made.em, segments, tuple(edges), tuple(labels), tuple(targets), tuple(voxels)
    )


def write_interfaces(
    path: Path,
    truth: InterfaceTruth,
    *,
    layout: Literal["root", "group"] = "root",
    columns_first: bool = True,
) -> None:
    """Write a file.

    Args:
        path: Where.
        truth: What it says.
        layout: See `segmend.annotations.interfaces.LAYOUTS`.
        columns_first: As MATLAB stores matrices; False: the other way round.
    """
    root = "" if layout == "root" else "interfaces/"
    edges = np.array(truth.edges, np.uint32)
    with h5py.File(path, "w") as file:
        file.attrs["info"] = "segmend.testing.standins.l4dense_interfaces"
        file["em"], file["segmentation"] = truth.em, truth.segments
        file[f"{root}edges"] = edges.T if columns_first else edges
        _categorical(file, f"{root}labels", truth.labels, LABELS)
        _categorical(file, f"{root}targetTypes", truth.targets, TARGETS)
        cells = "interfaces" if layout == "root" else "interfaces/voxels"
        for number, places in enumerate(truth.voxels, 1):
            # MATLAB's place in (x, y, z), columns first, is the place in [z, y, x], from one.
            file[f"{cells}/{number}"] = (places + 1).astype(np.uint32)


def write_folder(folder: Path) -> None:
    """Write every file of `FILES`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        write_interfaces(folder / f"{name}.hdf5", interface_truth(name))


def _touching(segments: NDArray[np.uint32]) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Places of the voxels at which two segments share a face."""
    flat = np.arange(segments.size).reshape(segments.shape)
    found: dict[tuple[int, int], list[Any]] = {}
    for axis in range(3):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        a, b = segments[low], segments[high]
        there = (a != b) & (a > 0) & (b > 0)
        pairs = np.sort(np.stack([a[there], b[there]], -1), axis=1)
        places = np.stack([flat[low][there], flat[high][there]], -1)
        unique, row, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
        sorted_places = places[np.argsort(row.reshape(-1), kind="stable")]
        parts = np.split(sorted_places, np.cumsum(counts)[:-1])
        for (first, second), mine in zip(unique.tolist(), parts, strict=True):
            found.setdefault((first, second), []).append(mine.reshape(-1))
    return {pair: np.concatenate(parts) for pair, parts in found.items()}


def _target(made: Tissue, neuron: int) -> str:
    """Somata are somata; what else a synapse is onto goes by the number of the neuron."""
    if made.kinds[neuron] == "soma":
        return "soma"
    return ("spinehead", "spineneck", "shaft")[neuron % 3]


def _categorical(file: Any, key: str, values: tuple[str, ...], names: dict[str, int]) -> None:
    file[key] = np.array([names[value] for value in values], np.uint8)
    for name, code in names.items():
        file[key].attrs[name] = np.uint8(code)
