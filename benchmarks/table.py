"""The one form of a benchmark's result: a table for people, a list of rows with ``--json``."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median


def peak_mb() -> float:
    """Largest resident memory of this process so far, MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def resident_mb() -> float:
    """Resident memory of this process now, MiB (``man 5 proc``, statm)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@dataclass(frozen=True, slots=True)
class Line:
    """One job beside one peer.

    Attributes:
        job: What was done.
        ours_ms: Our time.
        peer: Who else did it in the same process; None if nobody does it.
        peer_ms: Their time.
        goal: How many times faster than the peer we want to be.
        peak_mb: Largest resident memory so far.
        note: What a number needs to be understood, for example a goal in ms where there is no peer.
    """

    job: str
    ours_ms: float
    peer: str | None = None
    peer_ms: float | None = None
    goal: float | None = None
    peak_mb: float = field(default_factory=peak_mb)
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times faster than the peer we are."""
        return None if self.peer_ms is None else self.peer_ms / self.ours_ms


def timed(repeat: int, *jobs: Callable[[], object], cpu: bool = False) -> tuple[float, ...]:
    """Time of each job, ms: they take turns, and a first round does not count.

    Args:
        repeat: Rounds that count.
        jobs: What is timed.
        cpu: The best CPU time of this process, all its threads together, as a machine that others
            use allows; else the median by the clock.
    """
    clock, of_rounds = (time.process_time, min) if cpu else (time.perf_counter, median)
    times: list[list[float]] = [[] for _ in jobs]
    for turn in range(repeat + 1):
        for taken, job in zip(times, jobs, strict=True):
            start = clock()
            job()
            if turn:
                taken.append(1000 * (clock() - start))
    return tuple(of_rounds(taken) for taken in times)


def show(lines: Iterable[Line], *, as_json: bool) -> None:
    """Print lines: each as it comes, or all as JSON."""
    if as_json:
        print(json.dumps([asdict(line) | {"ratio": line.ratio} for line in lines], indent=1))
        return
    print(_line("job", ("ours ms", "peer ms", "ratio", "goal", "peak MB"), "peer"))
    for line in lines:
        numbers = (line.ours_ms, line.peer_ms, line.ratio, line.goal, line.peak_mb)
        cells = tuple("" if n is None else f"{n:.3g}" if n < 1000 else f"{n:.0f}" for n in numbers)
        end = " ".join(filter(None, (line.peer, line.note and f"({line.note})")))
        print(_line(line.job, cells, end))


def _line(job: str, cells: tuple[str, ...], end: str) -> str:
    return f"{job:52}" + "".join(f"{cell:>9}" for cell in cells) + f"  {end}"
