"""Scores of segmentations beside scikit-image and counting by sorting.

    python benchmarks/bench_metrics.py [--json] [--quick] [--cpu] [--data FOLDER]

Real labels: mouse512 against a copy of it that was cut at a grid of planes and joined at random,
and FIB-25's automatic segmentation against its ground truth. Ours counts on as many threads as
segmend uses (SEGMEND_WORKERS), peers on one; ``--cpu`` compares CPU time, all threads together.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fastremap
import h5py
import numpy as np
from scipy import ndimage
from skimage.metrics import adapted_rand_error, variation_of_information
from table import Line, show, timed

from segmend.metrics.segmentation.contingency import contingency
from segmend.metrics.segmentation.information import variation_of_information as information
from segmend.metrics.segmentation.neurons import border_mask
from segmend.metrics.segmentation.rand import adapted_rand

DATA = Path(__file__).parents[1].parent / "shared" / "data"
PIECE = 200
"""Voxels between the planes at which labels are cut."""


def perturbed(labels: Any) -> Any:
    """Every second label cut at a grid of planes, the others joined in pairs: about 4,200."""
    block = sum(
        (np.arange(n) // PIECE * 3**axis).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, n in enumerate(labels.shape)
    )
    cut = labels.astype(np.int64) * 32 + block
    found = np.where(labels % 2 == 0, labels // 4 * 4, cut)
    return np.where(labels == 0, 0, found).astype(labels.dtype)


def ours(found: Any, truth: Any) -> tuple[float, float, float]:
    """VI and adapted Rand error from one table."""
    table = contingency(found, truth)
    bits = information(table)
    return bits.split, bits.merge, adapted_rand(table, rules="scikit-image").error


def theirs(found: Any, truth: Any) -> tuple[float, float, float]:
    """The same of scikit-image, as its users call it."""
    merge, split = variation_of_information(found, truth, ignore_labels=(0,))
    return split, merge, adapted_rand_error(truth, found, ignore_labels=(0,))[0]


def pairs_by_sorting(found: Any, truth: Any, unique: Any) -> Any:
    """The table alone, from one 64-bit key per voxel; ids below 2**32 only."""
    return unique(found.astype(np.uint64) << np.uint64(32) | truth, return_counts=True)


def overlap_lines(name: str, found: Any, truth: Any, repeat: int, *, cpu: bool) -> Iterator[Line]:
    """One volume beside all peers."""
    np.testing.assert_allclose(ours(found, truth)[2], theirs(found, truth)[2], rtol=1e-6)
    mine, peer = timed(repeat, lambda: ours(found, truth), lambda: theirs(found, truth), cpu=cpu)
    yield Line(f"VI + adapted Rand, {name}", mine, "scikit-image", peer, 30)
    for label, unique in (("fastremap.unique", fastremap.unique), ("np.unique", np.unique)):
        mine, peer = timed(
            repeat,
            lambda: contingency(found, truth),
            lambda unique=unique: pairs_by_sorting(found, truth, unique),
            cpu=cpu,
        )
        yield Line(f"table of overlaps, {name}", mine, label, peer)


def border_by_scipy(truth: Any, distance: float) -> Any:
    """CREMI's mask of borders as its owners' Python makes it, section by section."""
    near = np.empty(truth.shape, bool)
    for section, out in zip(truth, near, strict=True):
        padded = np.pad(section, 1, mode="edge")
        inside = (section == padded[:-2, 1:-1]) & (section == padded[2:, 1:-1])
        inside &= (section == padded[1:-1, :-2]) & (section == padded[1:-1, 2:])
        out[:] = ndimage.distance_transform_edt(inside) <= distance
    return near


def lines(data: Path, *, quick: bool, cpu: bool) -> Iterator[Line]:
    with h5py.File(data / "mouse512" / "mouse512.h5") as file:
        labels = file["labels"][:]
    # Its ids reach 7.8e7, and scikit-image makes arrays as long as the largest id of a pair: dense.
    labels = fastremap.renumber(labels)[0].astype(np.uint32)
    small = fastremap.renumber(np.ascontiguousarray(labels[:256, :256, :256]))[0].astype(np.uint32)
    for dtype in (np.uint32, np.uint64):
        cube = small.astype(dtype)
        yield from overlap_lines(f"256^3 {cube.dtype}", perturbed(cube), cube, 3, cpu=cpu)
    with h5py.File(data / "fib25" / "fib25.h5") as file:
        truth = file["volumes/labels/neuron_ids"][:]
        found = file["volumes/labels/automatic"][:]
    yield from overlap_lines("FIB-25 automatic, 175x250x250 uint64", found, truth, 3, cpu=cpu)
    borders = partial(border_mask, truth, 6.25), partial(border_by_scipy, truth, 6.25)
    mine, peer = timed(3, *borders, cpu=cpu)
    yield Line("border mask of CREMI, FIB-25, 6.25 voxels", mine, "scipy EDT", peer)
    if not quick:
        whole = perturbed(labels)
        yield from overlap_lines("512^3 uint32", whole, labels, 2, cpu=cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="leave 512^3 out")
    parser.add_argument("--cpu", action="store_true", help="CPU time, best of the turns")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    found = lines(arguments.data, quick=arguments.quick, cpu=arguments.cpu)
    show(found, as_json=arguments.json)


if __name__ == "__main__":
    main()
