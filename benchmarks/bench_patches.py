"""Patches (32, 256, 256) of real EM, flipped, with targets: ours beside what others do.

    PYTHONPATH=peers python benchmarks/bench_patches.py --data ../shared/data/fib25/fib25.h5

torch_em cannot be installed beside the CPU build of torch as pip would: it wants torchvision, which
does not import there. ``pip install --target peers --no-deps torch-em python-elf bioimage-cpp
kornia kornia_rs bioimageio.core bioimageio.spec mrcfile natsort pooch imageio`` does, with a stub
for torchvision (`patch_peers`). Where it is not installed its lines say so and have no ratio.

``--cpu`` is for a machine that others use: CPU time of this process, torch on one thread, best of
the turns. Jobs of several threads are left out: that time says nothing of them, and it does not see
the workers of torch_em.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np
import tensorstore as ts
import torch
from lsd_lite import get_lsds
from patch_peers import (
    OFFSETS,
    SIZE,
    bare_h5py,
    numpy_affinities,
    torch_em_loader,
    warm_tensorstore,
)
from skimage.segmentation import find_boundaries
from table import Line, resident_mb, show, timed

import segmend as sg
from segmend.patches.augment import Flips
from segmend.patches.relabel import dense
from segmend.patches.sources import Source
from segmend.patches.targets import Truth

SIDE = 320
CHUNK = (32, 64, 64)
TARGETS = {
    "affinities": sg.Affinities(OFFSETS, zero_is="boundary"),
    "boundaries": sg.Boundaries(),
}


def tissue(data: Path) -> tuple[dict[str, np.ndarray], tuple[float, ...]]:
    """FIB-25, mirrored up to 320 voxels an axis: a patch is larger than its 250."""
    fib25 = sg.open("fib25", path=data)
    box = fib25.image.box
    arrays = {"raw": fib25.image[box], "labels": fib25.segments("neurons", box)}
    # scikit-image and torch_em want 32 bits; ids of ours may have 64.
    arrays["labels"] = dense(arrays["labels"]).labels.astype(np.uint32)
    pad = [(0, SIDE - n) for n in arrays["raw"].shape]
    return {k: np.pad(v, pad, mode="symmetric") for k, v in arrays.items()}, (10.0, 10.0, 10.0)


def write_hdf5(path: Path, arrays: dict[str, np.ndarray], size: Any, compression: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            made = file.create_dataset(name, data=values, chunks=CHUNK, compression=compression)
            made.attrs["resolution"] = size


def zarr_spec(path: Path, name: str) -> dict[str, Any]:
    return {"driver": "zarr3", "kvstore": f"file://{path / name}/"}


def write_zarr(path: Path, arrays: dict[str, np.ndarray]) -> None:
    for name, values in arrays.items():
        spec = zarr_spec(path, name) | {
            "metadata": {
                "shape": values.shape,
                "data_type": str(values.dtype),
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": CHUNK}},
                "codecs": [
                    {"name": "bytes", "configuration": {"endian": "little"}},
                    {"name": "blosc", "configuration": {"cname": "zstd", "clevel": 5}},
                ],
            }
        }
        ts.open(spec, create=True).result().write(values).result()


def precomputed_spec(path: Path, name: str) -> dict[str, Any]:
    return {"driver": "neuroglancer_precomputed", "kvstore": f"file://{path / name}/"}


def write_precomputed(path: Path, arrays: dict[str, np.ndarray], size: Any) -> None:
    for name, values in arrays.items():
        labels = name == "labels"
        scale: dict[str, Any] = {
            "size": values.shape[::-1],
            "resolution": size[::-1],
            "chunk_size": CHUNK[::-1],
            "encoding": "compressed_segmentation" if labels else "raw",
        }
        if labels:
            scale["compressed_segmentation_block_size"] = [8, 8, 8]
        kind = {"data_type": str(values.dtype), "num_channels": 1}
        kind["type"] = "segmentation" if labels else "image"
        spec = precomputed_spec(path, name)
        spec |= {"multiscale_metadata": kind, "scale_metadata": scale}
        made = ts.open(spec, create=True).result()
        made[..., 0].transpose([2, 1, 0]).write(values).result()


def ours(volumes: dict[str, sg.Volume], kind: str, threads: int) -> Callable[[], Iterator[Any]]:
    mix = sg.mix({Source("crop", volumes["raw"], volumes["labels"]): 1.0})
    patches = sg.Patches(
        mix, SIZE, targets=[TARGETS[kind]], augment=[Flips(turns=False)], labels=False
    )
    sampler = sg.RandomSampler(mix, SIZE, 10_000)
    return lambda: sg.batches(patches, sampler, threads=threads)


@dataclass(frozen=True, slots=True)
class Turns:
    """How loaders are timed.

    Attributes:
        count: Patches a turn.
        repeat: Turns.
        cpu: Best CPU time of this process; else the median by the clock.
    """

    count: int
    repeat: int
    cpu: bool

    @property
    def threads(self) -> tuple[int, ...]:
        """Numbers of threads or workers that can be timed so."""
        return (0,) if self.cpu else (0, 2)

    def rates(self, *makers: Callable[[], Iterator[Any]]) -> list[float]:
        """Times per patch, ms, by turns; what a first patch and starting take is left out.

        One at a time: others have closed their threads or workers while one is measured.
        """
        clock, of_turns = (time.process_time, min) if self.cpu else (time.perf_counter, median)
        taken: list[list[float]] = [[] for _ in makers]
        for _ in range(self.repeat):
            for times, make in zip(taken, makers, strict=True):
                coming = make()
                next(coming)
                start = clock()
                for _ in range(self.count):
                    next(coming)
                times.append(1000 * (clock() - start) / self.count)
                if hasattr(coming, "close"):
                    coming.close()
                del coming
        return [of_turns(times) for times in taken]


def lines(data: Path, turns: Turns) -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays, size = tissue(data)
        files = {c: folder / f"{c}.h5" for c in ("gzip", "none")}
        for compression, path in files.items():
            write_hdf5(path, arrays, size, None if compression == "none" else compression)
        write_zarr(folder, arrays)
        precomputed = folder / "precomputed"
        write_precomputed(precomputed, arrays, size)
        labels = np.ascontiguousarray(arrays["labels"][: SIZE[0], : SIZE[1], : SIZE[2]])
        del arrays
        for compression, path in files.items():
            yield from hdf5_lines(compression, path, turns)
        opened = {k: sg.open_volume(folder / k, voxel_size=size) for k in ("raw", "labels")}
        specs = {k: zarr_spec(folder, k) for k in opened}
        yield from cached_lines("zarr zstd", opened, specs, turns)
        opened = {k: sg.open_volume(precomputed / k) for k in ("raw", "labels")}
        specs = {k: precomputed_spec(precomputed, k) for k in opened}
        yield from cached_lines("precomputed", opened, specs, turns)
        yield from target_lines(labels, 15, cpu=turns.cpu)
        yield memory_line(files["none"], 300)


def hdf5_lines(compression: str, path: Path, turns: Turns) -> Iterator[Line]:
    volumes = {k: sg.open_volume(path, key=k) for k in ("raw", "labels")}
    for kind in TARGETS:
        for workers in turns.threads:
            makers = [ours(volumes, kind, workers)]
            makers.append(lambda kind=kind: bare_h5py(path, kind))
            peer = torch_em_loader(path, kind, workers)
            if not isinstance(peer, str):
                makers.append(peer)
            took = turns.rates(*makers)
            job = f"{kind}, HDF5 {compression}, {workers} threads"
            if isinstance(peer, str):
                yield Line(job, took[0], goal=10, note=f"torch_em is missing: {peer}")
            else:
                yield Line(job, took[0], f"torch_em, {workers} workers", took[2], goal=10)
            yield Line(job, took[0], "h5py loop", took[1])


def cached_lines(
    what: str, volumes: dict[str, sg.Volume], specs: dict[str, Any], turns: Turns
) -> Iterator[Line]:
    for kind in TARGETS:
        for threads in turns.threads:
            makers = (ours(volumes, kind, threads), lambda kind=kind: warm_tensorstore(specs, kind))
            took = turns.rates(*makers)
            job = f"{kind}, {what}, {threads} threads"
            yield Line(job, took[0], "tensorstore, warm cache", took[1])


def target_lines(labels: np.ndarray, repeat: int, *, cpu: bool) -> Iterator[Line]:
    truth = Truth(dense(labels).labels, np.ones(SIZE, np.uint8), None, (10.0, 10.0, 10.0))
    made = TARGETS.values()
    peers = (numpy_affinities, find_boundaries)
    for target, peer in zip(made, peers, strict=True):
        took = timed(repeat, lambda t=target: t.of(truth), lambda p=peer: p(labels), cpu=cpu)
        yield Line(f"{target.name} alone, uint8 with masks", took[0], peer.__name__, took[1])
    peer = partial(np.unique, labels, return_inverse=True)
    took = timed(repeat, lambda: dense(labels), peer, cpu=cpu)
    yield Line("dense relabelling, uint32", took[0], "numpy.unique", took[1])
    yield from shape_lines(np.ascontiguousarray(labels[:, :128, :128]), cpu=cpu)


def shape_lines(labels: np.ndarray, *, cpu: bool) -> Iterator[Line]:
    """A quarter of a patch once: the peer, which filters whole boxes label by label, takes long."""
    sigma, size = 50.0, (10.0, 10.0, 10.0)
    truth = Truth(dense(labels).labels, np.ones(labels.shape, np.uint8), None, size)

    def peer() -> Any:
        return get_lsds(labels, sigma=(sigma,) * 3, voxel_size=tuple(map(int, size)))

    took = timed(1, lambda: sg.LocalShape(sigma).of(truth), peer, cpu=cpu)
    yield Line("local shape, (32, 128, 128), sigma 5 voxels", took[0], "lsd_lite", took[1])


def memory_line(path: Path, count: int) -> Line:
    """Resident memory early and late in an epoch of our patches with two threads."""
    volumes = {k: sg.open_volume(path, key=k) for k in ("raw", "labels")}
    coming, seen = ours(volumes, "affinities", 2)(), []
    start = time.perf_counter()
    for _ in range(count):
        next(coming)
        seen.append(resident_mb())
    each = 1000 * (time.perf_counter() - start) / count
    coming.close()
    early, late = (max(seen[k : k + 50]) for k in (0, count - 50))
    note = f"RSS at most {early:.0f} MB in the first 50 patches, {late:.0f} in the last 50"
    return Line(f"an epoch of {count} patches, 2 threads", each, note=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="fib25.h5")
    parser.add_argument("--count", type=int, default=12, help="patches a turn")
    parser.add_argument("--repeat", type=int, default=3, help="turns")
    parser.add_argument("--cpu", action="store_true", help="CPU time, best of the turns")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.cpu:
        torch.set_num_threads(1)
    show(lines(given.data, Turns(given.count, given.repeat, given.cpu)), as_json=given.json)


if __name__ == "__main__":
    main()
