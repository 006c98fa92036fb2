"""Work in one process or several: same results, same order, same errors."""

from __future__ import annotations

import pytest

from segmend.build.engine import run
from segmend.core.errors import BadInputError
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
