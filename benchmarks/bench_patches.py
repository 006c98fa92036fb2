"""Patches (32, 256, 256) of real EM from HDF5: ours beside a bare h5py loop, and targets alone.

python benchmarks/bench_patches.py --data ../shared/data/fib25/fib25.h5
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from skimage.segmentation import find_boundaries
from table import Line, show, timed

import segmend as sg
from segmend.patches.relabel import dense
from segmend.patches.sources import Source
from segmend.patches.targets import Truth

SIZE = (32, 256, 256)
OFFSETS = [
    (-1, 0, 0), (0, -1, 0), (0, 0, -1), (-2, 0, 0), (0, -3, 0), (0, 0, -3),
    (-3, 0, 0), (0, -9, 0), (0, 0, -9), (-4, 0, 0), (0, -27, 0), (0, 0, -27),
]  # fmt: skip


def write(folder: Path, data: Path, compression: str | None) -> Path:
    """A crop of the data as CREMI lays it out: chunks (32, 64, 64)."""
    path = folder / f"{compression}.h5"
    fib25 = sg.open("fib25", path=data)
    grid = fib25.image.grid
    box = grid.to_box(sg.VoxelBox((0, 0, 0), tuple(min(n, 320) for n in grid.shape)))
    options = {"chunks": (32, 64, 64), "compression": compression}
    with h5py.File(path, "w") as file:
        for name, values in (("raw", fib25.image[box]), ("labels", fib25.segments("neurons", box))):
            # FIB-25's crop is smaller than a few patches: mirrored up to 320 on each axis.
            wide = np.pad(values, [(0, max(0, 320 - n)) for n in values.shape], mode="symmetric")
            made = file.create_dataset(name, data=wide, **options)
            made.attrs["resolution"] = grid.voxel_size
    return path


def bare(path: Path) -> Iterator[tuple[np.ndarray, ...]]:
    """What people write by hand: h5py slices, NumPy affinities as float32."""
    draw = np.random.default_rng(0)
    with h5py.File(path) as file:
        while True:
            free = [n - s + 1 for n, s in zip(file["raw"].shape, SIZE, strict=True)]
            start = [int(draw.integers(n)) for n in free]
            box = tuple(slice(a, a + s) for a, s in zip(start, SIZE, strict=True))
            raw, labels = file["raw"][box], file["labels"][box]
            yield raw, numpy_affinities(labels), find_boundaries(labels)


def numpy_affinities(labels: np.ndarray) -> np.ndarray:
    values = np.zeros((len(OFFSETS), *labels.shape), np.float32)
    for c, (z, y, x) in enumerate(OFFSETS):
        here = values[c, -z or None :, -y or None :, -x or None :]
        one = labels[-z or None :, -y or None :, -x or None :]
        stop = [n + o for n, o in zip(labels.shape, (z, y, x), strict=True)]
        here[...] = one == labels[: stop[0], : stop[1], : stop[2]]
    return values


def lines(data: Path, repeat: int) -> Iterator[Line]:
    targets = [sg.Affinities(OFFSETS, zero_is="boundary"), sg.Boundaries()]
    with tempfile.TemporaryDirectory() as folder:
        for compression in ("gzip", None):
            path = write(Path(folder), data, compression)
            image = sg.open_volume(path, key="raw")
            mix = sg.mix({Source("crop", image, sg.open_volume(path, key="labels")): 1.0})
            patches = sg.Patches(mix, SIZE, targets=targets)
            peer = bare(path)
            for threads in (0, 2):
                sampler = sg.RandomSampler(mix, SIZE, 10_000)
                ours = sg.batches(patches, sampler, threads=threads)
                took = timed(repeat, lambda ours=ours: next(ours), lambda peer=peer: next(peer))
                job = f"patch + 12 affinities + boundaries, h5 {compression}, {threads} threads"
                yield Line(job, took[0], "h5py, numpy float32, skimage", took[1], goal=10)
                ours.close()
        labels = sg.open_volume(path, key="labels").read_voxels(sg.VoxelBox((0, 0, 0), SIZE)).data
        truth = Truth(dense(labels).labels, np.ones(SIZE, np.uint8), None, (8.0, 8.0, 8.0))
        took = timed(repeat, lambda: targets[0].of(truth), lambda: numpy_affinities(labels))
        yield Line("12 affinities with masks, uint8", took[0], "numpy float32, no masks", took[1])
        took = timed(repeat, lambda: targets[1].of(truth), lambda: find_boundaries(labels))
        yield Line("boundaries, thick", took[0], "skimage", took[1])
        took = timed(repeat, lambda: dense(labels), lambda: np.unique(labels, return_inverse=True))
        yield Line("dense relabelling, uint64", took[0], "numpy.unique", took[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="fib25.h5")
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    show(lines(given.data, given.repeat), as_json=given.json)


if __name__ == "__main__":
    main()
