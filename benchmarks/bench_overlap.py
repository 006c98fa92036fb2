"""Edits from overlap: by blocks beside the whole volume at once, time and memory.

    python benchmarks/bench_overlap.py [--edge 512] [--json]

The segmentation is generated: bars of neurons cut into segments, so edits grow with the volume.
Edits alone are found in arrays; a plan reads them from HDF5 in chunks of 64^3 and finds merges,
splits and adjacent controls, at once and with ``edits.block``; its content hashes must be equal.
Every job runs in a process of its own, so that peaks are its own. There is no peer: nobody else
derives edits from an overlap. The goal is that memory does not grow with the volume.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from table import Line, peak_mb, show

from segmend.build.plan import make_plan
from segmend.build.settings import load_settings
from segmend.core.box import VoxelBox
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.edits.block_survey import Compared
from segmend.edits.operation import EditOp, Identity
from segmend.edits.overlap import OverlapRules, overlap_edits
from segmend.edits.overlap_blocks import overlap_edits_by_blocks
from segmend.segments.contacts import find_contacts

BLOCK = "edits.block=[128, 128, 128]"
IDENTITY = Identity("bars", "1", "")
RULES = OverlapRules()
BAR, CUT, STUCK = 24, 200, 7
"""Voxels across a bar, length of its segments, and how many segments from one stuck pair to the
next."""


def bars(box: VoxelBox, *, automatic: bool) -> Ids:
    """Bars along x: neurons, or their segments, of which some hold the bar beside them too."""
    z, y, x = (np.arange(a, b, dtype=np.uint64) for a, b in zip(box.start, box.stop, strict=True))
    row, column = z[:, None, None] // BAR, y[None, :, None] // BAR
    piece = np.broadcast_to(x[None, None, :] // CUT, box.shape)
    if automatic:
        column = np.where(piece % STUCK == 3, column // 2 * 2, column)
    neuron = row * np.uint64(100_000) + column + np.uint64(1)
    if not automatic:
        return np.ascontiguousarray(np.broadcast_to(neuron, box.shape))
    return np.asarray(neuron * np.uint64(1000) + piece, np.uint64)


def run(job: str, edge: int) -> tuple[float, int]:
    """Milliseconds and edits of one job, kernels compiled beforehand."""
    for shape, measured in (((48, 48, 48), False), ((edge, edge, edge), True)):
        grid = VoxelGrid((8, 8, 8), (0, 0, 0), shape)
        start = time.perf_counter()
        if job == "whole":
            automatic, neurons = (bars(grid.voxels, automatic=a) for a in (True, False))
            contacts = find_contacts(automatic, grid)
            found = list(
                overlap_edits(
                    automatic, neurons, contacts, grid, rules=RULES, identity=IDENTITY
                ).ops
            )
        else:
            compared = Compared(
                lambda box: bars(box, automatic=True),
                lambda box: bars(box, automatic=False),
                grid,
                (128, 128, 128),
            )
            made = overlap_edits_by_blocks(compared, rules=RULES, identity=IDENTITY)
            found = [one for one in made if isinstance(one, EditOp)]
        if measured:
            return 1000 * (time.perf_counter() - start), len(found)
    raise AssertionError


RECORD = """
name = "bars"
title = "Bars"
species = "synthetic"
version = "1"
files.main.path = "bars.h5"
citation = "None."
grid_origin_nm = [0, 0, 0]
licence = { state = "unstated" }
layers.image = { key = "raw", doc = "EM" }
layers.automatic = { key = "automatic", doc = "Segmentation", labels = { kind = "instance" } }
layers.neurons = { key = "neurons", doc = "Truth", labels = { kind = "instance" } }
"""

PLAN = """
name = "bars"
seed = 1
[[sources]]
dataset = "bars.toml"
path = "bars.h5"
[samples]
types = ["merge_edit", "split_edit", "adjacent_control"]
[view]
half_extent_nm = [400, 400]
jitter_nm = 10
[em]
pixel_size_nm = 5
[splits]
rule = "cubes"
cube_nm = 300
fractions = [0.4, 0.3, 0.3]
accepted_leaks = ["view", "lineage"]
"""


def write_volume(folder: Path, edge: int) -> None:
    """Write the bars as a data set, a slab of chunks at a time."""
    shape, chunks = (edge, edge, edge), (64, 64, 64)
    with h5py.File(folder / "bars.h5", "w") as file:
        for name, kind in (("raw", "u1"), ("automatic", "u8"), ("neurons", "u8")):
            file.create_dataset(name, shape, kind, chunks=chunks, compression="lzf")
            file[name].attrs["resolution"] = (8, 8, 8)
        for z in range(0, edge, 64):
            box = VoxelBox((z, 0, 0), (z + 64, edge, edge))
            file["raw"][z : z + 64] = 0
            file["automatic"][z : z + 64] = bars(box, automatic=True)
            file["neurons"][z : z + 64] = bars(box, automatic=False)
    (folder / "bars.toml").write_text(RECORD)
    (folder / "plan.toml").write_text(PLAN)


def planned(folder: Path, *overrides: str) -> tuple[float, int, str]:
    """Milliseconds, rows and content hash of a plan."""
    start = time.perf_counter()
    plan = make_plan(load_settings(folder / "plan.toml", overrides), folder)
    return 1000 * (time.perf_counter() - start), plan.n_rows, plan.content_hash


def plan_lines(edge: int) -> Iterator[Line]:
    """A plan at once and by blocks."""
    hashes = set()
    with tempfile.TemporaryDirectory() as folder:
        write_volume(Path(folder), edge)
        for name, override in (("at once", []), ("by blocks of 128^3", [BLOCK])):
            command = [sys.executable, __file__, "--plan", folder, *override]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            taken, rows, found, peak = answer.split()
            hashes.add(found)
            note = f"{rows} rows, {peak} MB"
            yield Line(f"plan of {edge}^3, {name}", float(taken), note=note)
    if len(hashes) > 1:
        raise SystemExit(f"plans differ: {hashes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--json", action="store_true", help="print lines as JSON")
    parser.add_argument("--job", choices=["whole", "blocks"], help=argparse.SUPPRESS)
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("override", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plan:
        print(*planned(arguments.plan, *arguments.override), peak_mb())
        return
    if arguments.job:
        milliseconds, edits = run(arguments.job, arguments.edge)
        print(milliseconds, edits, peak_mb())
        return
    lines = []
    for edge in (arguments.edge // 2, arguments.edge):
        for job in ("whole", "blocks"):
            command = [sys.executable, __file__, "--job", job, "--edge", str(edge)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            milliseconds, edits, peak = answer.split()
            name = f"{edge}^3, {'at once' if job == 'whole' else 'by blocks of 128^3'}"
            lines.append(Line(name, float(milliseconds), note=f"{edits} edits, {peak} MB"))
        lines += plan_lines(edge)
    show(iter(lines), as_json=arguments.json)


if __name__ == "__main__":
    main()
