"""Processes that train together, started by the real torchrun."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from segmend.core.errors import BadInputError
from segmend.models.checkpoint import CHECKPOINT
from segmend.models.lessons import check_sizes

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("ranks_script.py")


def ended(out: Path, processes: int) -> list[dict[str, torch.Tensor]]:
    """What each of the processes ended with; one alone is this one."""
    out.mkdir()
    if processes == 1:
        runpy.run_path(str(SCRIPT))["main"](out)
    else:
        torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        done = subprocess.run(
            [sys.executable, "-m", *torchrun, str(SCRIPT), str(out)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
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


def test_a_batch_smaller_than_the_number_of_processes_is_refused() -> None:
    """Before anything is learnt, by every process: none waits for another for ever."""
    orders = {"pairs": np.array_split(np.arange(17), 3), "singles": np.array_split(np.arange(5), 3)}
    check_sizes(orders, 1)
    with pytest.raises(BadInputError, match=r"fewer rows.*1 rows of 'singles', 2 processes"):
        check_sizes(orders, 2)
