"""Boxes per second out of every format, local and over HTTP, beside the peers.

    python benchmarks/bench_volumes.py [--data FOLDER] [--volumes FOLDER] [--only TEXT] [--json]

EM is FIB-25 mirrored to 512^3, labels are uint64 (mouse); chunks 64^3. Every reader opens the
volume anew, all in one process, and every result is compared with the source (JPEG: with
tensorstore's). *cold*: the files were dropped from the page cache. HTTP is nginx on loopback, with
0 and with 30 ms of latency in front, and without our cache on disk. *patches* are random boxes out
of a volume that stays open; ms are for all of them. The note of warm and HTTP rows of 512^3 is the
peak of memory during one of our reads in a fresh process, over the size of the array.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from loopback import delayed, nginx
from table import Line, show, timed
from volume_files import HDF5, PRECOMPUTED, SIDE, ZARR, evict, write_all
from volume_peers import ours, patch_readers, peers

from segmend.core.box import VoxelBox

DATA = Path(__file__).parents[2] / "shared" / "data"
LATENCY_S = 0.03
PATCHES = {(64, 64, 64): 200, (32, 256, 256): 40}

PEAK = """
import re, sys
sys.path[:0] = sys.argv[5:]
from volume_peers import ours
from segmend.core.box import VoxelBox
# Not ru_maxrss: a process starts with that of the one that started it.
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
volume = ours(sys.argv[1], sys.argv[2])()
low, high = int(sys.argv[3]), int(sys.argv[4])
volume.read_voxels(VoxelBox((0,) * 3, (1,) * 3))
before = peak()
data = volume.read_voxels(VoxelBox((low,) * 3, (high,) * 3)).data
print((peak() - before) / data.nbytes)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real volumes")
    parser.add_argument("--volumes", type=Path, help="folder to keep the written volumes in")
    parser.add_argument("--only", default="", help="rows whose job holds this text")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    os.environ["SEGMEND_CACHE_BYTES"] = "0"  # a second round would never ask the server
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = args.volumes or scratch / "volumes"
        if not folder.exists():
            write_all(args.data, folder)
        bench = Bench(folder, args.repeat, args.only)
        show(bench.lines(scratch), as_json=args.json)


@dataclass(frozen=True, slots=True)
class Bench:
    """All rows.

    Attributes:
        folder: The volumes.
        repeat: Rounds of each row.
        only: Rows whose job holds this text.
    """

    folder: Path
    repeat: int
    only: str

    def lines(self, scratch: Path) -> Iterator[Line]:
        """Every row, one beside each peer."""
        local = str(self.folder)
        for name in (*PRECOMPUTED, *ZARR, *HDF5):
            for side in (256, 512):
                yield from self.boxes(f"{name} {side}^3 warm", name, local, side)
                yield from self.boxes(f"{name} {side}^3 cold", name, local, side, cold=True)
            for shape, count in PATCHES.items():
                job = f"{name} {count} patches {'x'.join(map(str, shape))}"
                yield from self.patches(job, name, shape, count)
        with nginx(self.folder, scratch) as near, delayed(near, LATENCY_S) as far:
            for name in (*PRECOMPUTED, *ZARR):
                for side in (256, 512):
                    yield from self.boxes(f"{name} {side}^3 http 0 ms", name, near, side)
                    yield from self.boxes(f"{name} {side}^3 http 30 ms", name, far, side)

    def boxes(
        self, job: str, name: str, root: str, side: int, *, cold: bool = False
    ) -> Iterator[Line]:
        """One large box."""
        if self.only not in job:
            return
        box = VoxelBox((SIDE - side,) * 3, (SIDE,) * 3)
        readers, opened = peers(name, root), ours(name, root)
        self.check(name, box, [opened().read_voxels(box).data, *(r(box) for r in readers.values())])
        jobs: list[Callable[[], object]] = [lambda: opened().read_voxels(box)]
        jobs += [partial(read, box) for read in readers.values()]
        weighed = side == SIDE and job.endswith(("warm", "http 0 ms"))
        note = f"memory {peak(name, root, box):.2f} of the array" if weighed else ""
        times = self.cold(name, jobs) if cold else timed(self.repeat, *jobs)
        yield from compared(job, times, list(readers), goals(name, root), note)

    def cold(self, name: str, jobs: Sequence[Callable[[], object]]) -> tuple[float, ...]:
        """Median time of each job, ms, the volume's files dropped from the page cache before."""
        place = self.folder / (f"{name}.h5" if name in HDF5 else name)
        taken: list[list[float]] = [[] for _ in jobs]
        for _ in range(self.repeat):
            for one, job in zip(taken, jobs, strict=True):
                evict(place)
                one.append(timed_once(job))
        return tuple(median(one) for one in taken)

    def patches(self, job: str, name: str, shape: tuple[int, ...], count: int) -> Iterator[Line]:
        """Many small boxes out of a volume that stays open."""
        if self.only not in job:
            return
        starts = np.random.default_rng(0).integers(0, SIDE + 1 - np.array(shape), (count, 3))
        wanted = [VoxelBox(tuple(at), tuple(at + shape)) for at in starts]
        readers = patch_readers(name, str(self.folder))
        for box in wanted[:20]:
            self.check(name, box, [read(box) for read in readers.values()])
        jobs = [partial(read_each, read, wanted) for read in readers.values()]
        goal = dict.fromkeys(readers, 1.0)
        yield from compared(job, timed(1, *jobs), list(readers)[1:], goal, "")

    def check(self, name: str, box: VoxelBox, results: list[np.ndarray]) -> None:
        """Every result must be the source; a JPEG, what tensorstore makes of it."""
        if name == "em-jpeg":
            source, results = results[1], results[:2]  # cloud-volume's decoder rounds otherwise
        else:
            source = np.load(self.folder / f"{name.split('-')[0]}.npy", mmap_mode="r")[box.slices]
        for result in results:
            assert result.dtype == source.dtype
            assert (result == source).all()


def timed_once(job: Callable[[], object]) -> float:
    start = time.perf_counter()
    job()
    return 1000 * (time.perf_counter() - start)


def read_each(read: Callable[[VoxelBox], np.ndarray], boxes: Sequence[VoxelBox]) -> None:
    for box in boxes:
        read(box)


def compared(
    job: str, times: tuple[float, ...], names: list[str], goal: dict[str, float], note: str
) -> Iterator[Line]:
    for peer, ms in zip(names, times[1:], strict=True):
        yield Line(job, times[0], peer, ms, goal[peer], note=note)


def goals(name: str, root: str) -> dict[str, float]:
    """How many times faster than each peer we want to be."""
    least = 0.95 if name == "em-jpeg" else 1.0
    found = dict.fromkeys(peers(name, root), least)
    if name.startswith("labels"):
        found["tensorstore read()"] = 2.0
    if root.startswith("http") and "sharded" not in name:
        found["cloud-volume"] = 2.0
    return found


def peak(name: str, root: str, box: VoxelBox) -> float:
    """Peak of memory during a read in a fresh process, over the size of the array."""
    place = [name, root, str(box.start[0]), str(box.stop[0])]
    command = [sys.executable, "-c", PEAK, *place, str(Path(__file__).parent)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
