"""A whole build on real tissue, step by step: survey, draw, encode, write and verify.

    python benchmarks/bench_build.py [--data ../shared/data] [--rows 200] [--json]

One process, FIB-25 with the example plan. Nobody publishes a builder that runs without servers:
there is no peer for whole rows. The goal of the project is 20 rows a second on one core, 50 ms a
row, everything included.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from table import Line, show

from segmend.apps.progress import Progress
from segmend.apps.verifying import verify_benchmark
from segmend.build.pipeline import build
from segmend.build.plan import Plan, make_plan
from segmend.build.settings import load_settings
from segmend.render.site import render_candidate

ROOT = Path(__file__).parents[1]
GOAL = "goal 50 ms"


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
        built, spent = clock(lambda: build(plan, Path(folder) / "bench"))
        done = built.closure.committed
        yield Line("draw, encode, write, read back, per row", spent / done, note=GOAL)
        checked, spent = clock(lambda: verify_benchmark(built.folder, Progress(quiet=True)))
        assert not checked.problems
        yield Line("verify, per row", spent / done)


def warm(plan: Plan) -> None:
    """Compile every kernel and fill the caches of the volumes."""
    unit = plan.units[0]
    few = dataclasses.replace(unit, candidates=unit.candidates[:8])
    for candidate in few.candidates:
        render_candidate(candidate, few.layers[candidate.volume], few.style)


def clock(job: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a job and its time, ms."""
    start = time.perf_counter()
    result = job()
    return result, 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
