"""A whole build on real tissue, step by step: survey, draw, encode, write, verify, audit.

    python benchmarks/bench_build.py [--data ../shared/data] [--rows 200] [--json]

FIB-25 with the example plan, shards of 50 rows. Nobody publishes a builder that runs without
servers: there is no peer for whole rows. The goal of the project is 20 rows a second on one core,
50 ms a row, everything included. The peers here are ourselves: the same rows written without lease,
reading back, checksums, ledger and sidecars (which may cost 5 %, in CPU time, by turns: what other
programs take does not count), and one process against two, by the clock.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from table import Line, resident_mb, show

from segmend.apps.auditing import audit_benchmark
from segmend.apps.progress import Progress
from segmend.apps.verifying import verify_benchmark
from segmend.build.engines.processes import Processes
from segmend.build.pipeline import build
from segmend.build.plan import Plan, make_plan
from segmend.build.settings import load_settings
from segmend.build.units import draw_row
from segmend.render.site import render_candidate
from segmend.shards.reader import Benchmark
from segmend.shards.writer import write_rows

ROOT = Path(__file__).parents[1]
GOAL = "goal 50 ms"
TURNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rows", type=int, default=200, help="rows of each sample type at most")
    parser.add_argument("--json", action="store_true", help="print lines as JSON")
    arguments = parser.parse_args()
    show(measure(arguments.data.absolute(), arguments.rows), as_json=arguments.json)


def measure(data: Path, rows: int) -> Iterator[Line]:
    kinds = ("merge_edit", "split_edit", "adjacent_control", "junction_control")
    limits = ", ".join(f"{kind} = {rows}" for kind in kinds)
    overrides = [
        f'sources.0.path="{data / "fib25" / "fib25.h5"}"',
        f"samples.max_rows={{ {limits} }}",
        "shards.rows=50",
    ]
    settings = load_settings(ROOT / "examples" / "fib25.toml", overrides)
    warm(make_plan(settings, ROOT))
    plan, spent = clock(lambda: make_plan(settings, ROOT))
    yield Line(f"survey of the volume, {plan.n_rows} rows planned", spent)
    candidates = [c for unit in plan.units for c in unit.candidates]
    layers, style = plan.units[0].layers, plan.units[0].style
    _, spent = clock(lambda: [render_candidate(c, layers[c.volume], style) for c in candidates])
    yield Line("draw, per row", spent / plan.n_rows)
    with tempfile.TemporaryDirectory() as folder:
        yield from builds(plan, Path(folder))


def builds(plan: Plan, folder: Path) -> Iterator[Line]:
    """Whole builds, and what is done with them."""
    resident: list[float] = []
    bare, whole = [], []
    for turn in range(TURNS):
        bare.append(clock(lambda: write_bare(plan, folder / "bare.parquet"), process_time)[1])
        place = folder / f"bench-{turn}"
        built, spent = clock(
            lambda place=place: build(plan, place, done=lambda _: resident.append(resident_mb())),
            process_time,
        )
        whole.append(spent)
    done = built.closure.committed
    yield Line("draw, encode, write, read back, CPU per row", median(whole) / done, note=GOAL)
    yield Line(
        "the same against writing alone, CPU per row",
        median(whole) / done,
        "no lease, reading back, ledger, sidecars",
        median(bare) / done,
        0.95,
    )
    note = f"{resident[0]:.0f} MiB resident after the first shard, {max(resident):.0f} MiB at most"
    yield Line("memory", 0.0, note=note)
    _, one = clock(lambda: build(plan, folder / "one"))
    _, both = clock(lambda: build(plan, folder / "two", engine=Processes(2)))
    yield Line("two processes, per row", both / done, "one process", one / done, 1.8)
    checked, spent = clock(lambda: verify_benchmark(built.folder, Progress(quiet=True)))
    assert not checked.problems
    yield Line("verify, per row", spent / done)
    benchmark = Benchmark.open(built.folder)
    _, spent = clock(lambda: audit_benchmark(benchmark, progress=Progress(quiet=True)))
    yield Line("audit, per row", spent / done)


def write_bare(plan: Plan, path: Path) -> None:
    """Draw and write every row, and check nothing."""
    for unit in plan.units:
        write_rows(path, (draw_row(c, unit) for c in unit.candidates), row_group=unit.row_group)


def warm(plan: Plan) -> None:
    """Compile every kernel and fill the caches of the volumes."""
    unit = plan.units[0]
    few = dataclasses.replace(unit, candidates=unit.candidates[:8])
    for candidate in few.candidates:
        render_candidate(candidate, few.layers[candidate.volume], few.style)


def clock(job: Callable[[], Any], of: Callable[[], float] = perf_counter) -> tuple[Any, float]:
    """The result of a job and its time by some clock, ms."""
    start = of()
    result = job()
    return result, 1000 * (of() - start)


if __name__ == "__main__":
    main()
