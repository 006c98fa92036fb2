"""Whole rows, from volumes in memory to encoded bytes, with the time of each step.

Sites are places where two real segments touch. For mouse cortex, whose EM is not at hand, the EM is
made on the labels' grid: a grey for each segment, dark borders, noise.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

from segmend.build.units import ShardUnit, make_shard
from segmend.core.sample import VIEW_CUBE
from segmend.render import site
from segmend.render.site import Layers, ViewStyle, render_candidate
from segmend.samples.candidate import Candidate
from segmend.shards.codecs import encode_geometry, encode_png
from segmend.volumes.drivers.hdf5 import open_hdf5
from segmend.volumes.drivers.memory import from_array

STEPS = {
    "read labels": "_read",
    "mesh": "_mesh",
    "draw 3 views": "draw",
    "half precision": "encode_geometry",
    "contact point": "_em_center",
    "4 EM slices": "em_slices",
}
"""Steps of `render_candidate`, by the functions of `segmend.render.site` that do them."""


FLY = ("fib25/fib25.h5", "volumes/raw", "volumes/labels/automatic")
MOUSE = "mouse512/mouse512.h5"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one data set.

    Attributes:
        name: What they are.
        steps: Median ms of a row and of its steps, volumes in memory.
        peak_mb: Largest resident memory of a worker that makes a shard of them from HDF5.
    """

    name: str
    steps: dict[str, float]
    peak_mb: float


def fly_rows(data: Path, count: int) -> Rows:
    """FIB-25: 10 nm voxels, a half-extent of 500 nm."""
    file, image, labels = FLY
    path, size = data / file, (10.0,) * 3
    with h5py.File(path) as stored:
        volumes = [from_array(stored[key][:], size) for key in (image, labels)]
    style = ViewStyle(em_pixel_size_nm=5.0)
    pairs = touching_pairs(volumes[1].driver.array, size, 500.0, count)
    taken = steps(Layers(*volumes), pairs, style)
    peak = worker_peak_mb(((path, image), (path, labels)), pairs, style)
    return Rows("FIB-25, 1.2 um cubes", taken, peak)


def mouse_rows(data: Path, count: int) -> Rows:
    """Mouse cortex: 40 x 32 x 32 nm voxels, view cubes of 10 um."""
    with h5py.File(data / MOUSE) as stored:
        labels = stored["labels"][:]
        z, y, x = (float(v) for v in stored["labels"].attrs["resolution"])
    image = drawn_em(labels)
    layers = Layers(from_array(image, (z, y, x)), from_array(labels, (z, y, x)))
    extent = 10_000.0 / (2 * VIEW_CUBE)
    pairs = touching_pairs(labels, (z, y, x), extent, count)
    style = ViewStyle(em_pixel_size_nm=16.0)
    taken = steps(layers, pairs, style)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "em.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("em", data=image, chunks=(32, 128, 128))
            file["em"].attrs["resolution"] = (z, y, x)
        peak = worker_peak_mb(((path, "em"), (data / MOUSE, "labels")), pairs, style)
    return Rows("mouse cortex, 10 um cubes", taken, peak)


def worker_peak_mb(
    volumes: tuple[tuple[Path, str], ...], candidates: list[Candidate], style: ViewStyle
) -> float:
    """Largest resident memory, MiB, of a new process that makes one shard."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_shard_peak_mb, volumes, candidates, style).result()


def _shard_peak_mb(
    volumes: tuple[tuple[Path, str], ...], candidates: list[Candidate], style: ViewStyle
) -> float:
    layers = {candidates[0].volume: Layers(*(open_hdf5(*place) for place in volumes))}
    rows = tuple(replace(c, operation_id=str(i)) for i, c in enumerate(candidates))
    with TemporaryDirectory() as folder:
        outcome = make_shard(ShardUnit("train", 0, rows, layers, style, 10, "v2"), Path(folder))
    if outcome.failures:
        raise RuntimeError(f"rows failed: {outcome.failures}")
    # Not getrusage: its maximum also counts the process that this one was forked from.
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)


def drawn_em(labels: np.ndarray) -> np.ndarray:
    grey = (labels * np.uint32(2654435761) >> np.uint32(26)).astype(np.uint8) + np.uint8(120)
    for axis in range(3):
        first = [slice(None)] * 3
        first[axis] = slice(None, -1)
        grey[tuple(first)][np.diff(labels, axis=axis) != 0] = 40
    noise = np.random.default_rng(0).integers(0, 60, labels.shape, dtype=np.uint8)
    return grey + noise


def touching_pairs(
    labels: np.ndarray, size: tuple[float, float, float], extent: float, count: int
) -> list[Candidate]:
    """Pairs that share a face, at this face, far enough from the border to fill the view."""
    shape = np.array(labels.shape)
    wall = np.minimum(np.ceil(VIEW_CUBE * extent / np.array(size)).astype(int), shape // 2 - 20)
    inner = labels[tuple(slice(w, n - w) for w, n in zip(wall, shape, strict=True))]
    first, second = inner[:, :, :-1], inner[:, :, 1:]
    met = np.argwhere((first != second) & (first > 0) & (second > 0))
    rng = np.random.default_rng(0)
    found = []
    for place in rng.choice(met, count, replace=False):
        ids = (int(first[tuple(place)]), int(second[tuple(place)]))
        z, y, x = ((place + wall + 0.5) * size).tolist()
        names = ("merge_edit", "bench", "v1", "one", "none", "bench", "")
        found.append(Candidate(*names, (z, y, x), ids, (), False, (z, y, x), extent, 1))
    return found


def steps(layers: Layers, candidates: list[Candidate], style: ViewStyle) -> dict[str, float]:
    """Median ms of a row and of its steps."""
    totals: list[dict[str, float]] = []
    with watched() as took:
        for candidate in [candidates[0], *candidates]:
            took.clear()
            start = time.perf_counter()
            views = render_candidate(candidate, layers, style)
            drawn = time.perf_counter()
            encode_geometry(views.geometry)
            packed = time.perf_counter()
            for image in views.em.values():
                encode_png(image)
            end = time.perf_counter()
            took |= {"npz": packed - drawn, "4 PNG": end - packed, "whole row": end - start}
            totals.append(dict(took))
    # The first row compiles.
    names = (*STEPS, "npz", "4 PNG", "whole row")
    return {name: 1e3 * statistics.median(t[name] for t in totals[1:]) for name in names}


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Sum up the time in each of `STEPS`."""
    took: dict[str, float] = {}
    kept = {name: getattr(site, function) for name, function in STEPS.items()}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **keywords: Any) -> Any:
            start = time.perf_counter()
            out = function(*args, **keywords)
            took[name] = took.get(name, 0) + time.perf_counter() - start
            return out

        return run

    for name, function in STEPS.items():
        setattr(site, function, timed(name, kept[name]))
    try:
        yield took
    finally:
        for name, function in STEPS.items():
            setattr(site, function, kept[name])
