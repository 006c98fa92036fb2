"""Processes that train together, started by the real torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from segmend.models.checkpoint import CHECKPOINT

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("ranks_script.py")


def started(out: Path, processes: int, batch_size: int = 6) -> list[dict[str, torch.Tensor]]:
    """What each of the processes ended with."""
    out.mkdir()
    run = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, "-m", *run, str(SCRIPT), str(out), str(batch_size)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [load_file(path) for path in sorted(out.glob("rank-*.safetensors"))]


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    (alone,) = started(tmp_path / "one", 1)
    first, second = started(tmp_path / "two", 2)
    assert alone["losses"].shape == (2, 2)
    assert not torch.allclose(alone["losses"][0], alone["losses"][1]), "it learns"
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-6)
    assert (tmp_path / "two" / "place" / CHECKPOINT).is_file()


def test_a_batch_smaller_than_the_number_of_processes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="fewer rows than there are processes"):
        started(tmp_path / "many", 2, batch_size=1)
