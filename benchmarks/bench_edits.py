"""Edit histories: normalising and freezing a harvest of any size, and harvesting at a latency.

    python benchmarks/bench_edits.py [--sizes 10000 100000 1000000] [--json]

The ledger is made by rule (`edit_ledger.py` says of what shape). Every job runs in a process of its
own, so that peaks are its own; times of freezing are CPU seconds, as other work shares the machine.

The peer is what a user would write with pandas and the answers of caveclient: one frame of all log
rows, operations taken row by row, the published rules (two hops and 2,500 nm, L2 chunks of both
sides), a Parquet file. It checks nothing: where sources contradict each other it takes the log's
word. Its memory grows with the history. It is run up to 100,000 operations.

A harvest asks a fake CAVE with 200 edits that waits before every answer. It cannot take less than
requests x latency / workers: the goal is at most twice that.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from edit_ledger import record
from table import Line, peak_mb, show

from segmend.core.grid import VoxelGrid
from segmend.edits.cave_record import read_cave_record
from segmend.edits.cave_server import Manners, open_cave
from segmend.edits.harvest import harvest
from segmend.edits.ledger import Ledger
from segmend.edits.normalise import freeze_harvest

MOST_OF_PEER = 100_000
GOAL_PER_S = 16_700
"""A million operations a minute."""


def ours(folder: Path) -> int:
    """Freeze a harvest; how many edits are kept."""
    with Ledger(folder) as ledger:
        return freeze_harvest(ledger, folder / "frozen").closure.kept


def peer(folder: Path) -> int:
    """The same with pandas, row by row."""
    import pandas as pd

    rules, size_nm = record().rules, (8, 8, 40)
    with Ledger(folder) as ledger:
        log = pd.DataFrame([json.loads(row) for (row,) in ledger.rows("SELECT row FROM log")])
        query = "SELECT operation, details FROM operations WHERE details IS NOT NULL"
        details = {number: json.loads(text) for number, text in ledger.rows(query)}
        sizes = {int(root): n for root, n in ledger.rows("SELECT root, size FROM sizes")}
    found = []
    for _, row in log.drop_duplicates("operation_id").sort_values("operation_id").iterrows():
        known = details.get(row["operation_id"])
        if known is None:
            continue
        source = np.mean(known["source_coords"], axis=0) * size_nm
        sink = np.mean(known["sink_coords"], axis=0) * size_nm
        found.append(
            {
                "operation_id": row["operation_id"],
                "is_merge": row["is_merge"],
                "timestamp": row["timestamp"] // 1000,
                "before": [int(root) for root in row["before_root_ids"]],
                "after": [int(root) for root in known["roots"]],
                "point": (source + sink) / 2,
            }
        )
    acting: dict[int, list[dict]] = {}
    for one in found:
        for root in one["before"]:
            acting.setdefault(root, []).append(one)
    kept = [
        one
        for one in found
        if not _undone(one, acting, rules.chain_hops, rules.chain_nm)
        and _large(one, sizes, rules.min_smaller_chunks, rules.min_larger_chunks)
    ]
    pd.DataFrame(kept).to_parquet(folder / "peer.parquet")
    return len(kept)


def _undone(one: dict, acting: dict[int, list[dict]], hops: int, within: float) -> bool:
    front = set(one["after"])
    for _ in range(hops):
        reached = [other for root in front for other in acting.get(root, ())]
        for other in reached:
            far = np.linalg.norm(other["point"] - one["point"]) > within
            if other["is_merge"] != one["is_merge"] and not far:
                return True
        front = {root for other in reached for root in other["after"]}
    return False


def _large(one: dict, sizes: dict[int, int], smaller: int, larger: int) -> bool:
    sides = one["before"] if one["is_merge"] else one["after"]
    found = sorted((sizes.get(root, 0) for root in sides), reverse=True)
    return len(found) > 1 and found[1] >= smaller and found[0] >= larger


def frozen(job: str, operations: int) -> tuple[float, int]:
    """CPU milliseconds and edits of one job, on a ledger that is made first."""
    folder = Path(tempfile.mkdtemp())
    try:
        # In a process of its own: what making it takes is not counted.
        code = "import sys; from pathlib import Path; from edit_ledger import write_ledger\n"
        code += "write_ledger(Path(sys.argv[1]), int(sys.argv[2])).close()"
        command = [sys.executable, "-c", code, str(folder), str(operations)]
        subprocess.run(command, check=True, cwd=Path(__file__).parent)
        start = time.process_time()
        kept = {"ours": ours, "peer": peer}[job](folder)
        return 1000 * (time.process_time() - start), kept
    finally:
        shutil.rmtree(folder)


def harvested(latency_s: float) -> tuple[float, int, int]:
    """Milliseconds, requests, and most of them at once, of a harvest of 200 edits."""
    from segmend.synthetic.history import TrueEdit
    from segmend.testing.fake_cave import fake_cave, write_token
    from segmend.testing.fake_cave_history import record_history

    bars = np.arange(200, dtype=np.uint64).reshape(1, 10, 20) + np.uint64(1)
    automatic = np.ascontiguousarray(bars.repeat(8, 0).repeat(8, 1).repeat(8, 2))
    neurons = (automatic - np.uint64(1)) // np.uint64(5) + np.uint64(1001)
    edits, now = [], {}
    for nth in range(160):
        neuron, step = divmod(nth, 4)
        segment, time_s = 5 * neuron + step + 1, 1_600_000_000 + 60 * nth
        before, after = (now.get(neuron, segment), segment + 1), 10_000 + nth
        x, y = (8 * ((segment - 1) % 20) + 8, 8 * ((segment - 1) // 20) + 4)
        point = (80.0, 10.0 * y, 10.0 * x)
        pair = (segment, segment + 1)
        edits.append(
            TrueEdit("merge", pair, before, (after,), (neuron + 1001,), point, time_s, "thin neck")
        )
        now[neuron] = after
    grid = VoxelGrid((20, 10, 10), (0, 0, 0), automatic.shape)
    history = record_history(automatic, neurons, grid, edits, chunk=(8, 32, 32), redone=20)
    with tempfile.TemporaryDirectory() as home, fake_cave(history, latency_s=latency_s) as cave:
        os.environ["HOME"] = home
        write_token(Path(home))
        made = read_cave_record(cave.record(rules="min_smaller_chunks = 1"), where="benchmark")
        server = open_cave(made, manners=Manners(workers=8))
        until = datetime.fromtimestamp(1_600_100_000, UTC)
        with Ledger(Path(home) / "h", create=True) as ledger:
            asked, start = len(cave.server.log), time.perf_counter()
            harvest(ledger, server, made, until=until, workers=8)
            taken = 1000 * (time.perf_counter() - start)
        return taken, len(cave.server.log) - asked, cave.server.most_at_once


def _alone(*arguments: str) -> list[float]:
    command = [sys.executable, __file__, *arguments]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(number) for number in answer.split()]


def lines(sizes: list[int], latencies: list[float]):
    """One line a job."""
    for operations in sizes:
        taken, kept, peak = _alone("--job", "ours", "--operations", str(operations))
        name = theirs = None
        if operations <= MOST_OF_PEER:
            theirs, their_kept, their_peak = _alone(
                "--job", "peer", "--operations", str(operations)
            )
            name = f"pandas, row by row ({their_kept:.0f} edits, {their_peak:.0f} MB)"
        rate = 1000 * operations / taken
        note = f"{kept:.0f} edits, {rate:,.0f} operations per CPU s, goal {GOAL_PER_S:,}"
        job = f"freeze {operations:,} operations"
        yield Line(job, taken, name, theirs, peak_mb=peak, note=note)
    for latency_s in latencies:
        taken, requests, most, peak = _alone("--job", "harvest", "--latency", str(latency_s))
        bound = 1000 * requests * latency_s / 8
        note = f"{requests:.0f} requests, {most:.0f} at once, bound {bound:.0f} ms"
        yield Line(f"harvest at {1000 * latency_s:g} ms", taken, peak_mb=peak, note=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--latencies", type=float, nargs="*", default=[0.02, 0.1, 0.3])
    parser.add_argument("--json", action="store_true", help="print lines as JSON")
    parser.add_argument("--job", choices=["ours", "peer", "harvest"], help=argparse.SUPPRESS)
    parser.add_argument("--operations", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--latency", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job == "harvest":
        print(*harvested(arguments.latency), peak_mb())
    elif arguments.job:
        print(*frozen(arguments.job, arguments.operations), peak_mb())
    else:
        show(lines(arguments.sizes, arguments.latencies), as_json=arguments.json)


if __name__ == "__main__":
    main()
