"""A training that `test_resume.py` kills: it writes down what it learnt from after each step.

Batches are made in threads, or by the spawned workers of a stock `DataLoader` over a data set
(``map``) or a stream.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from segmend.loaders.dataset import Item, TaskDataset
from segmend.loaders.stream import BatchStream
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS


def content(batch: Item) -> list[Any]:
    """What a batch holds, to the bit: sums of floats depend on who adds them up."""
    return [hashlib.sha256(batch["geometry"].numpy().tobytes()).hexdigest(), batch["hash"]]


def main(
    folder: str, log: str, kind: str, workers: str, epochs: str, after: Callable[[], object]
) -> None:
    data = TaskDataset(
        Benchmark.open(folder), TASKS["false_split_correction"], "train", swap_ab=True
    )
    schedule = data.schedule(batch_size=2, seed=3, balance=("label",))
    lines = Path(log).read_text().splitlines()
    if lines:
        schedule.resume(json.loads(lines[-1])["state"])
    spawned = {
        "batch_size": None,
        "num_workers": int(workers),
        "multiprocessing_context": "spawn",
    }
    if kind == "threads":
        loader = BatchStream(data, schedule, threads=2)
    elif kind == "stream":
        loader = DataLoader(BatchStream(data, schedule), **spawned)
    else:
        loader = DataLoader(data, sampler=schedule, **spawned)
    with Path(log).open("a") as file:
        for epoch in range(schedule.epoch, int(epochs)):
            for batch in loader:
                state = schedule.state(batch["epoch"], batch["seen"])
                file.write(json.dumps({"seen": content(batch), "state": state}) + "\n")
                file.flush()
                after()
            schedule.set_epoch(epoch + 1)


def ask() -> None:
    """Say which workers there are, and wait to be allowed on."""
    workers = [child.pid for child in multiprocessing.active_children()]
    sys.stdout.write(json.dumps(workers) + "\n")
    sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:], after=ask)
