from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.errors import BadInputError, NoSamplesError
from segmend.loaders.order import epoch_order
from segmend.loaders.schedule import Rank, Schedule

SIZES = st.integers(1, 300)


def keys(n: int) -> list[str]:
    return [f"{i:032x}" for i in range(n)]


def together(n: int, ranks: int, *, start=None, **settings) -> list[list[int]]:
    """Rows of every step, ranks joined in order."""
    schedules = [Schedule(keys(n), rank=Rank(i, ranks), **settings) for i in range(ranks)]
    for schedule in schedules:
        if start:
            schedule.resume(start)
    steps = [list(schedule) for schedule in schedules]
    assert len({len(of_rank) for of_rank in steps}) == 1
    return [[int(r) for s in at for r in s.rows] for at in zip(*steps, strict=True)]


@settings(deadline=None)
@given(n=SIZES, ranks=st.integers(1, 5), size=st.integers(1, 40), seed=st.integers(0, 99))
def test_ranks_divide_the_order_of_the_epoch(n: int, ranks: int, size: int, seed: int) -> None:
    if n < ranks:
        with pytest.raises(NoSamplesError):
            together(n, ranks, batch_size=size, seed=seed)
        return
    steps = together(n, ranks, batch_size=size, seed=seed)
    assert [row for step in steps for row in step] == epoch_order(n, seed, 0).tolist()
    assert max(map(len, steps)) <= size * ranks
    assert max(map(len, steps)) - min(map(len, steps)) <= 1


@settings(deadline=None)
@given(n=SIZES, ranks=st.integers(1, 4), size=st.integers(1, 40), data=st.data())
def test_resuming_anywhere_gives_the_steps_that_were_left(n, ranks, size, data) -> None:
    if n < ranks:
        return
    drop = data.draw(st.booleans()) and n >= ranks * size
    options = {"batch_size": size, "seed": 5, "drop_last": drop}
    whole = together(n, ranks, **options)
    schedule = Schedule(keys(n), **options | {"rank": Rank(0, ranks)})
    taken = data.draw(st.integers(1, len(whole)))
    step = list(schedule)[taken - 1]
    state = json.loads(json.dumps(schedule.state(step.epoch, step.seen)))
    left = together(n, ranks, start=state, **options)
    if taken < len(whole):
        assert left == whole[taken:]
    else:  # the epoch was over: the next one follows
        schedule.set_epoch(1)
        assert left[0][: len(next(iter(schedule)).rows)] == next(iter(schedule)).rows.tolist()


def test_a_run_may_go_on_with_other_ranks_and_batches() -> None:
    first = Schedule(keys(101), batch_size=10, seed=1)
    step = list(first)[3]
    before = epoch_order(101, 1, 0)[: step.seen].tolist()
    state = first.state(step.epoch, step.seen)
    after = together(101, 3, start=state, batch_size=7, seed=1)
    assert before + [row for s in after for row in s] == epoch_order(101, 1, 0).tolist()


def test_dropping_the_last_keeps_batches_whole() -> None:
    steps = together(23, 2, batch_size=5, drop_last=True)
    assert [len(step) for step in steps] == [10, 10]
    with pytest.raises(NoSamplesError, match="At least 50"):
        Schedule(keys(40), batch_size=25, drop_last=True, rank=Rank(0, 2))


def test_the_length_is_what_is_left_and_the_next_epoch_follows() -> None:
    schedule = Schedule(keys(10), batch_size=4)
    assert len(schedule) == len(list(schedule)) == 3
    assert (schedule.epoch, schedule.seen) == (1, 0)
    schedule.resume(schedule.state(1, 7))
    assert len(schedule) == len(list(schedule)) == 1
    assert schedule.epoch == 2


def test_without_shuffling_rows_come_as_they_lie() -> None:
    steps = list(Schedule(keys(5), batch_size=2, shuffle=False))
    assert [s.rows.tolist() for s in steps] == [[0, 1], [2, 3], [4]]


def test_a_state_of_another_schedule_is_refused() -> None:
    state = Schedule(keys(9), batch_size=2, seed=1).state(0, 4)
    others = (
        Schedule(keys(9), batch_size=2, seed=2),
        Schedule(keys(10), batch_size=2, seed=1),
        Schedule(keys(9), batch_size=2, seed=1, shuffle=False),
        Schedule(keys(9), batch_size=2, seed=1, classes=np.arange(9) % 2),
    )
    for other in others:
        with pytest.raises(BadInputError, match="belongs to another schedule"):
            other.resume(state)
    with pytest.raises(BadInputError, match="not the state"):
        others[0].resume({"epoch": 0})
    with pytest.raises(BadInputError, match="not the state"):
        others[0].resume(state | {"seen": 10})


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": 1, "classes": np.zeros(3)},
        {"batch_size": 1, "classes": np.zeros(4), "shuffle": False},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict) -> None:
    with pytest.raises(BadInputError):
        Schedule(keys(4), **wrong)
    with pytest.raises(BadInputError, match="no rank 2 of 2"):
        Rank(2, 2)


def test_the_order_is_the_same_forever() -> None:
    """A run resumed after an update must go on with the same rows."""
    text = json.dumps(together(1000, 2, batch_size=32, seed=7))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "dae43cec1cbaba94"
