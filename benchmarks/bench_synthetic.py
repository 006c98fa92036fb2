"""Synthetic tissue: time and peak memory of the default volume on one core.

    python benchmarks/bench_synthetic.py [--json] [--seed 1]

There is no peer that draws EM together with its segmentation and its history: the goal is the one
the project states, 256^3 voxels in under 20 s on one core with less than 2 GiB. Every job runs in
a process of its own, after a warm-up that leaves the compilation of the kernels out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from table import Line, show

from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.tissue import generate
from segmend.synthetic.write import write_tissue

WARM_UP = TissueSpec(seed=0, shape=(32, 48, 48))
JOBS = {"generate 256^3 in memory": 20_000.0, "write 256^3 to HDF5 by blocks": 20_000.0}
"""Jobs and their goals, ms."""


def run(job: str, seed: int, answer: Connection) -> None:
    spec = TissueSpec(seed=seed)
    generate(WARM_UP)
    wall, cpu = time.perf_counter(), time.process_time()
    if job.startswith("generate"):
        generate(spec)
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_tissue(spec, Path(folder) / "tissue.h5")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer.send((1000 * wall, 1000 * cpu, peak))


def measure(job: str, seed: int) -> Line:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    worker = context.Process(target=run, args=(job, seed, theirs))
    worker.start()
    theirs.close()
    wall, cpu, peak = mine.recv()
    worker.join()
    note = f"{cpu:.0f} ms of CPU; goal {JOBS[job]:.0f} ms and 2048 MB"
    return Line(job, wall, peak_mb=round(peak), note=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print lines as JSON")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    show((measure(job, options.seed) for job in JOBS), as_json=options.json)


if __name__ == "__main__":
    main()
