"""A run that is killed, again and again, sees what it would have seen undisturbed."""

from __future__ import annotations

import json
import os
import re
import runpy
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

SCRIPT = Path(__file__).with_name("resume_script.py")
_script = runpy.run_path(str(SCRIPT))
train, content = _script["main"], _script["content"]


@dataclass(frozen=True)
class Training:
    """What is run, and where it writes what it saw."""

    folder: Path
    log: Path
    kind: str = "threads"
    workers: int = 0
    epochs: int = 4

    @property
    def told(self) -> list[str]:
        return [str(v) for v in (self.folder, self.log, self.kind, self.workers, self.epochs)]

    def start(self) -> subprocess.Popen[str]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen([sys.executable, str(SCRIPT), *self.told], text=True, **pipes)

    def kill_after(self, steps: int) -> list[int]:
        """Train for some steps in a process and kill that; the workers there were."""
        with self.start() as process:
            for _ in range(steps - 1):
                process.stdout.readline()
                process.stdin.write("\n")
                process.stdin.flush()
            workers = json.loads(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, process.stderr.read()
        return workers

    def finish(self) -> None:
        """Train to the end, here."""
        train(*self.told, after=lambda: None)

    def seen(self) -> list:
        return [json.loads(line)["seen"] for line in self.log.read_text().splitlines()]

    def undisturbed(self) -> list:
        """What it must have seen."""
        data = TaskDataset(
            Benchmark.open(self.folder), TASKS["false_split_correction"], "train", swap_ab=True
        )
        schedule = data.schedule(batch_size=2, seed=3, balance=("label",))
        batches = [data[step] for _ in range(self.epochs) for step in schedule]
        return [content(batch) for batch in batches]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.mark.slow
def test_no_row_is_lost_or_repeated_after_kills(folder: Path, log: Path) -> None:
    training = Training(folder, log)
    for steps in (3, 5):  # in the middle of an epoch, and at its end
        training.kill_after(steps)
    training.finish()
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
        workers = training.kill_after(steps)
        assert len(workers) == training.workers
        assert gone(workers, 60), "workers outlived their training"
    Training(folder, log, kind, workers=2).finish()
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
    Training(folder, log, epochs=2).finish()
    assert training.seen() == training.undisturbed()
