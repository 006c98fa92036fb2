"""Work in one process or several: same results, same order, same errors."""

from __future__ import annotations

import os

import pytest

from segmend.build.engine import run
from segmend.core.errors import BadInputError, WorkerLostError
from segmend.core.ids import as_id
from segmend.core.random import keyed_unit


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    seen: list[float] = []
    results = run(keyed_unit, range(20), workers=workers, done=seen.append)
    assert results == [keyed_unit(i) for i in range(20)]
    assert sorted(seen) == sorted(results)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_arrives_with_everything_it_says(workers):
    with pytest.raises(BadInputError, match=r"got 2\.5: its type is float") as caught:
        run(as_id, [1, 2, 2.5, 3], workers=workers)
    assert caught.value.fix


def test_a_worker_that_dies_is_named_not_waited_for():
    with pytest.raises(WorkerLostError, match=r"a worker process died.*fewer --workers"):
        run(os._exit, [1, 1, 1], workers=2)
