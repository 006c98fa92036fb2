"""A run that is killed, again and again, sees what it would have seen undisturbed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from segmend.loaders.dataset import TaskDataset
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS

# Batches made in threads (0 workers) or by the spawned workers of a stock `DataLoader`, over a
# data set or a stream. What was learnt from is written down after each step, as weights would be.
TRAINING = """
import json, multiprocessing, sys
from torch.utils.data import DataLoader
from segmend.loaders.dataset import TaskDataset
from segmend.loaders.stream import BatchStream
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS

folder, log, kind, workers, epochs = sys.argv[1:]
data = TaskDataset(Benchmark.open(folder), TASKS["false_split_correction"], "train", swap_ab=True)
schedule = data.schedule(batch_size=2, seed=3, balance=("label",))
lines = open(log).read().splitlines(keepends=True)
if lines:
    schedule.resume(json.loads(lines[-1])["state"])
spawned = dict(batch_size=None, num_workers=int(workers), multiprocessing_context="spawn")
if kind == "threads":
    loader = BatchStream(data, schedule, threads=2)
elif kind == "stream":
    loader = DataLoader(BatchStream(data, schedule), **spawned)
else:
    loader = DataLoader(data, sampler=schedule, **spawned)
with open(log, "a") as file:
    epoch = schedule.epoch
    while epoch < int(epochs):
        for batch in loader:
            state = schedule.state(batch["epoch"], batch["seen"])
            seen = float(batch["geometry"].float().sum()), batch["hash"]
            file.write(json.dumps({"hash": seen, "state": state}) + "\\n")
            file.flush()
            pids = [child.pid for child in multiprocessing.active_children()]
            print(json.dumps(pids), flush=True)
            sys.stdin.readline()
        epoch += 1
        schedule.set_epoch(epoch)
"""


@dataclass(frozen=True)
class Training:
    """What is run, and where it writes what it saw."""

    folder: Path
    log: Path
    kind: str = "threads"
    workers: int = 0
    epochs: int = 4

    def start(self) -> subprocess.Popen[str]:
        told = (self.folder, self.log, self.kind, self.workers, self.epochs)
        command = [sys.executable, "-c", TRAINING, *map(str, told)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(command, text=True, **pipes)

    def run(self, steps: int | None = None) -> list[int]:
        """Train for some steps and be killed, or to the end; the workers there were."""
        with self.start() as process:
            number, workers = 0, []
            for line in process.stdout:
                number, workers = number + 1, json.loads(line)
                if number == steps:
                    os.kill(process.pid, signal.SIGKILL)
                    break
                process.stdin.write("\n")
                process.stdin.flush()
            status = process.wait()
            assert status == (0 if steps is None else -signal.SIGKILL), process.stderr.read()
        return workers

    def seen(self) -> list:
        return [json.loads(line)["hash"] for line in self.log.read_text().splitlines()]

    def undisturbed(self) -> list:
        """What it must have seen."""
        data = TaskDataset(
            Benchmark.open(self.folder), TASKS["false_split_correction"], "train", swap_ab=True
        )
        schedule = data.schedule(batch_size=2, seed=3, balance=("label",))
        batches = [data[step] for _ in range(self.epochs) for step in schedule]
        return [[float(b["geometry"].float().sum()), b["hash"]] for b in batches]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.mark.slow
def test_no_row_is_lost_or_repeated_after_kills(folder: Path, log: Path) -> None:
    training = Training(folder, log)
    for steps in (3, 5):  # in the middle of an epoch, and at its end
        training.run(steps)
    training.run()
    assert training.seen() == training.undisturbed()


def gone(pids: list[int], seconds: float) -> bool:
    """Whether processes end within some time."""
    end = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.long
@pytest.mark.parametrize("kind", ["map", "stream"])
def test_nor_with_the_workers_of_a_stock_loader(folder: Path, log: Path, kind: str) -> None:
    """Killed in the middle of epochs and at their ends; each run has other workers."""
    for number, steps in enumerate((1, 3, 5, 7, 2)):
        training = Training(folder, log, kind, workers=1 + number % 3)
        workers = training.run(steps)
        assert len(workers) == training.workers
        assert gone(workers, 60), "workers outlived their training"
    Training(folder, log, kind, workers=2).run()
    assert Training(folder, log).seen() == Training(folder, log).undisturbed()


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error_and_no_row_is_lost(folder: Path, log: Path) -> None:
    training = Training(folder, log, "map", workers=1, epochs=2)
    with training.start() as process:
        process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        (worker,) = json.loads(process.stdout.readline())
        os.kill(worker, signal.SIGKILL)
        _, error = process.communicate("\n" * 20, timeout=120)  # it must not hang
        assert process.returncode == 1
    assert re.search(rf"DataLoader worker \(pid(\(s\))? {worker}\)", error)
    assert len(training.seen()) < len(training.undisturbed())
    Training(folder, log, epochs=2).run()
    assert training.seen() == training.undisturbed()
