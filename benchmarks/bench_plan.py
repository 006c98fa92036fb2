"""A plan of the published size: 716,485 rows in 903 shards, from generated edits.

    python benchmarks/bench_plan.py [--rows 716485] [--json]

The edits are generated, everything behind them is real: cap, split, order, packing, content hash,
and the frozen plan on disk. Rows by species and type follow the published counts (reference 1.11).
Goal: two minutes and 2 GiB. Nobody else plans rows before they are drawn, so there is no peer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from table import Line, peak_mb, show

from segmend.build.frozen import ROWS_FILE
from segmend.build.pipeline import freeze
from segmend.build.plan import assemble
from segmend.build.settings import PlanSettings
from segmend.build.survey import Survey
from segmend.samples.candidate import Candidate

ROWS = {"fly": 333_905, "mouse": 301_162, "human": 43_138, "zebrafish": 38_280}
"""Rows of ConnectomeBench2 v2 by species (reference 1.11)."""

SHARES = {
    "split_edit": 0.203,
    "merge_edit": 0.25,
    "adjacent_control": 0.30,
    "junction_control": 0.17,
    "synapse_control": 0.077,
}
SETTINGS = {
    "name": "published-size",
    "seed": 0,
    "sources": [{"dataset": name} for name in ROWS],
    "view": {"half_extent_nm": [2000, 10_000], "jitter_nm": 300},
    "em": {"pixel_size_nm": 11},
    "splits": {"rule": "cubes", "cube_nm": 80_000, "accepted_leaks": ["view", "lineage"]},
    "shards": {"rows": 794},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=sum(ROWS.values()))
    parser.add_argument("--json", action="store_true", help="print lines as JSON")
    arguments = parser.parse_args()
    show(measure(arguments.rows), as_json=arguments.json)


def measure(rows: int) -> Iterator[Line]:
    settings = msgspec.convert(SETTINGS, PlanSettings)
    start = time.perf_counter()
    surveys = [_survey(name, round(n * rows / sum(ROWS.values()))) for name, n in ROWS.items()]
    total = sum(len(one.candidates) for one in surveys)
    yield Line(f"generate {total:,} edits and controls", _since(start), note="not ours to be fast")
    start = time.perf_counter()
    plan = assemble(surveys, settings)
    planned = _since(start)
    yield Line(f"cap, split, order, pack, hash: {len(plan.units)} shards", planned)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        frozen = freeze(plan, Path(folder) / "bench")
        written = _since(start)
        size = (frozen.folder / ROWS_FILE).stat().st_size
        yield Line("write the frozen plan", written, note=f"{size / 1e6:.0f} MB")
        start = time.perf_counter()
        frozen.check_unchanged()
        yield Line("read it back and check its hash", _since(start))
        start = time.perf_counter()
        frozen.candidates(0)
        yield Line("rows of one shard, as a worker gets them", _since(start))
    yield Line("plan in all", planned + written, note=f"goal 120,000 ms, 2,048 MB; {peak_mb()} MB")


def _survey(species: str, rows: int) -> Survey:
    return Survey(
        name=species,
        split=None,
        facts={"name": species, "dataset": species},
        grid_origin_nm=(0.0, 0.0, 0.0),
        layers=None,  # type: ignore[arg-type]  nothing is drawn here
        candidates=tuple(_candidates(species, rows)),
        excluded=Counter(),
    )


def _candidates(species: str, rows: int) -> Iterator[Candidate]:
    generator = np.random.default_rng(len(species))
    kinds = generator.choice(list(SHARES), rows, p=np.array(list(SHARES.values())))
    places = generator.uniform(0, 1.2e6, (rows, 3)).round(1)
    extents = generator.uniform(2000, 10_000, rows).round(3)
    for i in range(rows):
        place, first = tuple(places[i].tolist()), 864_691_135_000_000_000 + 2 * i
        ids = [str(first), str(first + 1)]
        yield Candidate(
            kind=str(kinds[i]),
            dataset=species,
            version="1",
            volume=species,
            species=species,
            operation_id=f"{i:x}",
            key="",
            anchor_nm=place,
            segments=(first, first + 1),
            sides=(),
            swapped=bool(i % 2),
            render_center_nm=place,
            view_extent_nm=float(extents[i]),
            cluster_id=first,
            facts={"before_root_ids": ids, "root_ids": ids, "edit_point_nm": list(place[::-1])},
            neurons=(first,),
        )


def _since(start: float) -> float:
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
