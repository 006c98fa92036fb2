"""How a build scales to a thousand workers that share one source: a simulation, event by event.

    python benchmarks/simulate_workers.py [--row-ms 40] [--requests 12] [--mb 6] [--json]

Every worker draws rows one after the other. A row takes so much of a core and makes so many
requests of a source that answers at a bounded rate and with a latency, and whose line carries so
many bytes a second. Requests of one row go out together and queue with those of all workers, first
come, first served. Nothing here is measured: the costs of a row come from `bench_build.py`, those
of the source from its operator. docs/scale.md reads the table.
"""

from __future__ import annotations

import argparse
import heapq
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Costs:
    """What a row costs, and what the source gives.

    Attributes:
        row_s: Seconds of one core for a row.
        requests: Requests for a row.
        bytes: Bytes of them together.
        latency_s: From request to first byte when nobody waits.
        rate: Requests the source answers in a second, all workers together.
        line: Bytes a second of the line, all workers together.
    """

    row_s: float
    requests: int
    bytes: float
    latency_s: float
    rate: float
    line: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a number of workers achieve."""

    workers: int
    rows_a_second: float
    busy: float
    hours_for_a_million: float
    bound: str


def simulate(costs: Costs, workers: int, rows: int) -> Found:
    """Draw ``rows`` rows with ``workers`` workers."""
    # When each worker next asks; the source and the line are free from these times on.
    asking = [(i * costs.row_s / workers, i) for i in range(workers)]
    heapq.heapify(asking)
    source = line = 0.0
    end = 0.0
    for _ in range(rows):
        now, worker = heapq.heappop(asking)
        source = max(source, now) + costs.requests / costs.rate
        line = max(line, now) + costs.bytes / costs.line
        ready = max(source, line) + costs.latency_s
        end = max(end, ready + costs.row_s)
        heapq.heappush(asking, (ready + costs.row_s, worker))
    per_second = rows / end
    limits = {
        "cores": workers / (costs.row_s + costs.latency_s),
        "requests": costs.rate / costs.requests,
        "bytes": costs.line / costs.bytes,
    }
    bound = min(limits, key=lambda name: limits[name])
    busy = per_second * costs.row_s / workers
    return Found(workers, per_second, busy, 1e6 / per_second / 3600, bound)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row-ms", type=float, default=40, help="core time of a row")
    parser.add_argument("--requests", type=int, default=12, help="requests of a row")
    parser.add_argument("--mb", type=float, default=6, help="MB of a row")
    parser.add_argument("--latency-ms", type=float, default=60)
    parser.add_argument("--rate", type=float, default=5500, help="requests a second of the source")
    parser.add_argument("--gbit", type=float, default=25, help="Gbit/s of the line")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    costs = Costs(
        row_s=given.row_ms / 1000,
        requests=given.requests,
        bytes=given.mb * 1e6,
        latency_s=given.latency_ms / 1000,
        rate=given.rate,
        line=given.gbit * 1e9 / 8,
    )
    found = [simulate(costs, n, 300 * n) for n in (1, 10, 30, 50, 100, 300, 1000)]
    if given.json:
        print(json.dumps([asdict(one) for one in found], indent=1))
        return
    print(f"{'workers':>8}{'rows/s':>10}{'cores busy':>12}{'h per 10^6 rows':>17}  bound by")
    for one in found:
        print(
            f"{one.workers:>8}{one.rows_a_second:>10.1f}{one.busy:>12.0%}"
            f"{one.hours_for_a_million:>17.2f}  {one.bound}"
        )


if __name__ == "__main__":
    main()
