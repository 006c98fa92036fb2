"""Filters and samples a benchmark of many rows by its sidecars; run by `bench_loader.py`.

    python benchmarks/large_metadata.py BENCHMARK TASK

Alone in its process, so that the peak of memory is its own. Prints JSON: time on the clock and of
all cores from opening to the last sample, and the peak with and without what is imported, MiB.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import segmend as sg
from segmend.shards import reader, selection


def main(place: str, task: str) -> None:
    loaded = [reader, selection]  # imports are not measured
    imports, wall, cpu = peak_mb(), time.perf_counter(), time.process_time()
    chosen = sg.benchmark(place).select().where(species=["fly", "mouse"], task=task)
    few = chosen.per_class(1_000, by=("species", "sample_type"))
    subset = chosen.subset(chosen.n_bytes // 100)
    facts = {
        "ms": 1000 * (time.perf_counter() - wall),
        "cpu_ms": 1000 * (time.process_time() - cpu),
        "peak_mb": peak_mb(),
        "imports_mb": imports,
    }
    assert len(few) >= 2_000
    assert len(subset)
    assert loaded
    print(json.dumps(facts))


def peak_mb() -> float:
    """Largest resident memory since the program was loaded (``man 5 proc``, VmHWM).

    What `getrusage` says is inherited from the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return round(int(kib) / 1024, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
