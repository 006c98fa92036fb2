"""What every engine of a build must do; subclass `EngineContract` to test one.

`SeparateEngineContract` is for those whose work is done in other processes, which may die.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segmend.build.engines.engine import ATTEMPTS, Engine
from segmend.core.errors import BadInputError, WorkerLostError
from segmend.core.ids import as_id
from segmend.core.random import keyed_unit


class EngineContract:
    """Same results, same order, same errors as one process; give a fixture ``engine``."""

    def test_results_come_in_the_order_of_the_items(self, engine: Engine) -> None:
        """Whatever the order of completion."""
        seen: list[float] = []
        results = engine.run(keyed_unit, range(20), done=seen.append)
        assert results == [keyed_unit(i) for i in range(20)]
        assert sorted(seen) == sorted(results)

    def test_nothing_to_do_is_done(self, engine: Engine) -> None:
        """No items, no results."""
        assert engine.run(keyed_unit, []) == []

    def test_items_are_taken_when_their_turn_comes(self, engine: Engine) -> None:
        """A plan of a million rows is never in memory at once."""
        taken = 0

        def items() -> Iterator[int]:
            nonlocal taken
            for i in range(200):
                taken += 1
                yield i

        ahead: list[int] = []
        engine.run(keyed_unit, items(), done=lambda _: ahead.append(taken - len(ahead)))
        assert max(ahead) < 50

    def test_an_error_arrives_with_everything_it_says(self, engine: Engine) -> None:
        """The first error of the work is raised here."""
        with pytest.raises(BadInputError, match=r"got 2\.5: its type is float") as caught:
            engine.run(as_id, [1, 2, 2.5, 3])
        assert caught.value.fix


class SeparateEngineContract(EngineContract):
    """A lost worker costs the work in its hands and nothing else."""

    def test_a_killed_worker_costs_the_work_in_its_hands_once(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        """Every other item is done exactly once."""
        work = functools.partial(_killed_once, str(tmp_path))
        assert engine.run(work, range(8)) == [i * i for i in range(8)]
        begun = sorted(path.name.partition("-")[0] for path in tmp_path.glob("[0-9]-*"))
        assert begun == sorted([*map(str, range(8)), "3"])

    def test_work_that_kills_every_worker_is_an_error(self, engine: Engine) -> None:
        """Not an endless loop."""
        with pytest.raises(WorkerLostError, match=f"{ATTEMPTS} times over one piece of work"):
            engine.run(_dies, [1, 1])


def _killed_once(folder: str, item: int) -> int:
    """Work that, like a shard, is not done again where it is recorded as done."""
    done = Path(folder) / f"done-{item}"
    if not done.exists():
        before = len(list(Path(folder).glob(f"{item}-*")))
        (Path(folder) / f"{item}-{before}").touch()
        if item == 3 and not before:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        done.touch()
    return item * item


def _dies(item: Any) -> None:
    del item
    os.kill(os.getpid(), signal.SIGKILL)
