"""Every engine does what one process does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from distributed import LocalCluster

from segmend.build.engines.dask import Dask
from segmend.build.engines.engine import Engine, engine_of
from segmend.build.engines.processes import Processes
from segmend.build.engines.serial import Serial
from segmend.core.errors import BadInputError
from segmend.core.random import keyed_unit
from segmend.testing.engines import EngineContract, SeparateEngineContract


class TestSerial(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return Serial()


class TestProcesses(SeparateEngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return Processes(2)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with two workers, which are started again when they die."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0", silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address.removeprefix("tcp://")


class TestDask(SeparateEngineContract):
    @pytest.fixture
    def engine(self, scheduler: str) -> Engine:
        return engine_of(f"dask://{scheduler}", 1)


def test_without_a_scheduler_dask_starts_one_here() -> None:
    assert Dask(2).run(keyed_unit, range(3)) == [keyed_unit(i) for i in range(3)]


def test_engines_by_name() -> None:
    assert engine_of("auto", 1) == engine_of("serial", 4) == Serial()
    assert engine_of("auto", 2) == engine_of("processes", 2) == Processes(2)
    assert engine_of("dask", 2) == Dask(2)
    with pytest.raises(BadInputError, match="there is no engine 'ray'"):
        engine_of("ray", 2)
    with pytest.raises(BadInputError, match="at least one process"):
        Processes(0)
