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


def run(out: Path, processes: int, *, batch_size: int = 6) -> subprocess.CompletedProcess[str]:
    out.mkdir()
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [sys.executable, "-m", *torchrun, str(SCRIPT), str(out), str(batch_size)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def ended(out: Path, processes: int) -> list[dict[str, torch.Tensor]]:
    """What each of the processes ended with."""
    done = run(out, processes)
    assert done.returncode == 0, done.stderr
    return [load_file(path) for path in sorted(out.glob("rank-*.safetensors"))]


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    (alone,) = ended(tmp_path / "one", 1)
    first, second = ended(tmp_path / "two", 2)
    assert alone["losses"].shape == (2, 2)
    assert not torch.allclose(alone["losses"][0], alone["losses"][1]), "it learns"
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-6)
    assert (tmp_path / "two" / "place" / CHECKPOINT).is_file()


def test_a_batch_smaller_than_the_number_of_processes_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path / "many", 2, batch_size=1)
    assert done.returncode != 0
    assert "a batch has fewer rows than there are processes" in done.stderr
    assert not list((tmp_path / "many").glob("*.safetensors"))
