"""A run that is killed, again and again, sees what it would have seen undisturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segmend.loaders.dataset import TaskDataset
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS

TRAINING = """
import json, sys
from segmend.loaders.dataset import TaskDataset
from segmend.loaders.stream import BatchStream
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS

folder, log = sys.argv[1:]
data = TaskDataset(Benchmark.open(folder), TASKS["false_split_correction"], "train")
schedule = data.schedule(batch_size=2, seed=3, balance=("label",))
lines = open(log).read().splitlines(keepends=True)
if lines:
    schedule.resume(json.loads(lines[-1])["state"])
with open(log, "a") as file:
    while schedule.epoch < 4:
        for batch in BatchStream(data, schedule, threads=2):
            state = schedule.state(batch["epoch"], batch["seen"])
            file.write(json.dumps({"hash": batch["hash"], "state": state}) + "\\n")
            file.flush()
            print("step", flush=True)
            sys.stdin.readline()
"""


def run(folder: Path, log: Path, steps: int | None) -> int:
    """Train for some steps and be killed, or to the end; the exit status."""
    command = [sys.executable, "-c", TRAINING, str(folder), str(log)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        for number, _ in enumerate(process.stdout, 1):
            if number == steps:
                os.kill(process.pid, signal.SIGKILL)
                break
            process.stdin.write("\n")
            process.stdin.flush()
        return process.wait()


@pytest.mark.slow
def test_no_row_is_lost_or_repeated_after_kills(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    for steps in (3, 5):  # in the middle of an epoch, and at its end
        assert run(folder, log, steps) == -signal.SIGKILL
    assert run(folder, log, None) == 0
    data = TaskDataset(Benchmark.open(folder), TASKS["false_split_correction"], "train")
    schedule = data.schedule(batch_size=2, seed=3, balance=("label",))
    expected = [
        [data.examples.hashes[row] for row in step.rows] for _ in range(4) for step in schedule
    ]
    assert [json.loads(line)["hash"] for line in log.read_text().splitlines()] == expected
