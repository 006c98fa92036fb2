"""Edits from overlap: by blocks beside the whole volume at once, time and memory.

    python benchmarks/bench_overlap.py [--edge 512] [--json]

The segmentation is generated: bars of neurons cut into segments, so edits grow with the volume.
Every job runs in a process of its own, so that peaks are its own. There is no peer: nobody else
derives edits from an overlap. The goal is that memory does not grow with the volume.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np
from table import Line, peak_mb, show

from segmend.core.box import VoxelBox
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.edits.block_survey import Compared
from segmend.edits.operation import EditOp, Identity
from segmend.edits.overlap import OverlapRules, overlap_edits
from segmend.edits.overlap_blocks import overlap_edits_by_blocks
from segmend.segments.contacts import find_contacts

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--json", action="store_true", help="print lines as JSON")
    parser.add_argument("--job", choices=["whole", "blocks"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
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
    show(iter(lines), as_json=arguments.json)


if __name__ == "__main__":
    main()
