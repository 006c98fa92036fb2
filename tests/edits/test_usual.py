"""The quick way for usual operations against the slow one for all."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.grid import VoxelGrid
from segmend.edits.cave_record import Rules, read_cave_record
from segmend.edits.cave_server import Manners, open_cave
from segmend.edits.frozen import Outcome
from segmend.edits.harvest import harvest
from segmend.edits.join import Joined
from segmend.edits.ledger import OK, Ledger
from segmend.edits.sources import Answers, all_answers, joined, joined_slowly, joiner_of
from segmend.edits.usual import usual
from segmend.store.retry import RetryPolicy, TimeLimits
from segmend.testing.fake_cave import fake_cave
from segmend.testing.fake_cave_defects import Defects, every_defect

GRID = VoxelGrid((40, 8, 8), (0, 0, 0), (1000, 1000, 1000))
UNTIL = datetime.fromtimestamp(1_700_000_000, UTC)
T_MS = 1_650_000_000_123
BIG = 2**64 - 9

few = st.lists(st.sampled_from([0, 1, 2, 3, BIG, 2**64]), max_size=3)
ids = few | few.map(lambda one: [str(v) for v in one]) | st.none() | st.just([1.5])
clicks = st.lists(
    st.lists(st.integers(0, 500) | st.just(0.5) | st.none(), min_size=2, max_size=3), max_size=2
)
one_click = st.just([[10, 20, 30]])
times = st.sampled_from([T_MS, T_MS + 1999, T_MS + 2000, T_MS // 1000, -1000, 0, 10**15, "soon"])
texts = st.sampled_from(
    ["2022-04-15 05:22:03.123000+00:00", "2022-04-15 05:22:04", "1969-12-31 23:59:59", "x", None, 3]
)
ends = st.sampled_from([1, 2, 3, BIG])


@st.composite
def answers(draw: st.DrawFn) -> Answers:
    """Answers that are usual more often than not, with anything wrong in any field."""
    merge = draw(st.booleans())
    before, after = ([1, 2], [3]) if merge else ([1], [2, BIG])

    def mostly(value, odd):
        return draw(odd) if draw(st.integers(0, 15)) == 0 else value

    rows = [
        {
            "operation_id": 5,
            "timestamp": mostly(T_MS, times),
            "user_id": mostly(3, st.sampled_from([None, "a", 2.5])),
            "before_root_ids": mostly(before, ids),
            "after_root_ids": mostly(after[nth : nth + 1] or after[:1], ids),
            "is_merge": mostly(merge, st.booleans() | st.just(1)),
        }
        for nth in range(draw(st.integers(1, 2)))
    ]
    odd_edges = [[], None, [["11", "12"]], [[1]], [[11, 12, 13]], [[2**64, 1]]]
    edges = mostly([[11, 12]], st.sampled_from(odd_edges))
    details = {
        "added_edges" if mostly(merge, st.booleans()) else "removed_edges": edges,
        "roots": mostly(after, ids),
        "source_coords": mostly([[10, 20, 30]], clicks),
        "sink_coords": mostly([[12, 20, 30]], clicks),
        "timestamp": mostly("2022-04-15 05:20:00.123000+00:00", texts),
        "user": "3",
    }
    for table in (details, rows[0]):
        if draw(st.integers(0, 15)) == 0:
            table.pop(draw(st.sampled_from(sorted(table))))
    evidence = {
        "before": mostly(before, st.lists(ends, max_size=3)),
        "after": mostly(after, st.lists(ends, max_size=3)),
        "final": mostly(7, st.just(0)),
        "created_ms": float(mostly(0, st.just(T_MS))),
        "lineage": mostly([], st.lists(ends, max_size=3)),
    }
    log = [(100 + nth, json.dumps(row)) for nth, row in enumerate(rows)]
    return Answers(5, OK, OK, "", log, json.dumps(details), json.dumps(evidence))


@settings(max_examples=300, deadline=None)
@given(answers(), st.booleans())
def test_a_usual_operation_is_what_the_slow_way_makes_of_it(one, check):
    joiner = joiner_of(GRID, UNTIL, Rules(check=check))
    quick = usual(5, one.log, one.details, one.evidence, joiner)
    slow = joined_slowly(one, joiner)
    assert quick in (None, slow)
    assert joined(one, joiner) == slow
    if isinstance(slow, Joined):  # what a frozen history can hold
        for roots in (slow.before, slow.after):
            assert roots == tuple(sorted(set(roots)))
            assert 0 < roots[0] <= roots[-1] < 2**64


def test_most_of_a_history_is_usual_and_the_same_with_every_defect(
    history, until, tmp_path, token_home
):
    quick = Manners(policy=RetryPolicy(attempts=2, base_s=0.01), limits=TimeLimits(total_s=5))
    shares = {}
    for name, defects in {"none": Defects(), "all": every_defect(0.3, seed=2)}.items():
        with fake_cave(history, defects=defects) as cave:
            ledger = Ledger(tmp_path / name, create=True)
            record = read_cave_record(cave.record(), where="the test's")
            harvest(ledger, open_cave(record, manners=quick), record, until=until)
        joiner = joiner_of(history.grid, until, record.rules)
        had = [one for one in all_answers(ledger) if one.outcome == one.checked == OK]
        ledger.close()
        made = [usual(o.operation, o.log, o.details, o.evidence, joiner) for o in had]
        for one, found in zip(had, made, strict=True):
            slow = joined_slowly(one, joiner)
            assert found in (None, slow)
            assert isinstance(slow, Joined | Outcome)
        shares[name] = sum(found is not None for found in made) / len(made)
    assert shares["none"] == 1
    assert shares["all"] < 1


def test_what_pandas_has_no_value_for_is_a_value_that_cannot_be(tmp_path):
    """NaN, which is no JSON, is in the ledger where a log lacks a time."""
    row = {
        "timestamp": float("nan"),
        "user_id": float("nan"),
        "before_root_ids": [1, 2],
        "after_root_ids": [3],
        "is_merge": True,
    }
    details = {
        "added_edges": [[11, 12]],
        "roots": [3],
        "source_coords": [[1, 2, 3]],
        "sink_coords": [[2, 2, 3]],
        "timestamp": "2022-04-15 05:20:00.123000+00:00",
    }
    evidence = msgspec.json.encode({"before": [1, 2], "after": [3], "final": 3}).decode()
    one = Answers(5, OK, OK, "", [(3, json.dumps(row))], json.dumps(details), evidence)
    found = joined(one, joiner_of(GRID, UNTIL, Rules()))
    assert isinstance(found, Joined)
    assert found.time_ms == T_MS
    assert found.time_from == "operation_details"


@pytest.mark.parametrize("broken", ["", "[]", "{", "null"])
def test_answers_that_cannot_be_read_are_not_usual(broken):
    joiner = joiner_of(GRID, UNTIL, Rules())
    assert usual(5, [(3, broken)], "{}", "{}", joiner) is None
