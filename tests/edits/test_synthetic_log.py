"""Edits from a true history obey the same rules as edits from overlap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.edits.operation import Identity
from segmend.edits.overlap import OverlapRules
from segmend.edits.overlap_table import overlap_table
from segmend.edits.synthetic_log import synthetic_log_edits
from segmend.segments.contacts import find_contacts
from segmend.synthetic.history import TrueEdit

BIG = 2**60
LEFT, RIGHT, MIXED, SPECK, FAR = (BIG + i for i in range(1, 6))
ONE, TWO, THREE = BIG + 11, BIG + 12, BIG + 13
RULES = OverlapRules(50, 0.8, 20, 30)

MERGE = TrueEdit(
    kind="merge",
    segments=(RIGHT, LEFT),
    before_roots=(BIG + 21, BIG + 22),
    after_roots=(BIG + 23,),
    neurons=(ONE,),
    point_nm=(20.0, 20.0, 40.0),
    timestamp=100,
    cause="thin neck",
)
SPLIT = TrueEdit(
    kind="split",
    segments=(MIXED,),
    before_roots=(BIG + 31,),
    after_roots=(BIG + 32, BIG + 33),
    neurons=(THREE, TWO),
    point_nm=(20.0, 80.0, 40.0),
    timestamp=50,
    cause="touching membranes",
)


def edits(*history: TrueEdit):
    automatic = np.zeros((5, 12, 12), np.uint64)
    neurons = np.zeros_like(automatic)
    automatic[:, :5, :4], automatic[:, :5, 4:8], neurons[:, :5, :8] = LEFT, RIGHT, ONE
    automatic[:, 6:11, :8] = MIXED
    neurons[:, 6:11, :4], neurons[:, 6:11, 4:8] = TWO, THREE
    automatic[:, :5, 8:9], neurons[:, :5, 8:9] = SPECK, ONE
    automatic[:, :, 10:], neurons[:, :, 10:] = FAR, ONE
    grid = VoxelGrid((10, 10, 10), (0, 0, 0), automatic.shape)
    table = overlap_table(automatic, neurons, grid)
    contacts = find_contacts(automatic, grid)
    return synthetic_log_edits(
        history, table, contacts, rules=RULES, identity=Identity("synthetic", "1", "a")
    )


def test_a_merge_keeps_its_segments_neuron_roots_time_and_point():
    (op,) = edits(MERGE).ops
    assert (op.kind, op.before_ids, op.after_ids) == ("merge", (LEFT, RIGHT), (ONE,))
    assert (op.point_nm, op.timestamp, op.cluster_id) == (MERGE.point_nm, 100, ONE)
    assert op.facts["before_roots"] == [str(BIG + 21), str(BIG + 22)]
    assert op.facts["after_roots"] == [str(BIG + 23)]
    assert op.facts["cause"] == "thin neck"
    assert op.facts["contact_faces"] == 25


def test_a_split_names_its_sides_by_true_neuron():
    (op,) = edits(SPLIT).ops
    assert (op.kind, op.before_ids, op.after_ids) == ("split", (MIXED,), (TWO, THREE))
    assert op.facts["before_roots"] == [str(BIG + 31)]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (replace(MERGE, segments=(LEFT, LEFT)), "merge: does not act on two segments"),
        (replace(MERGE, segments=(LEFT, 7)), "merge: segment absent"),
        (replace(MERGE, segments=(LEFT, FAR)), "merge: segments do not touch"),
        (replace(MERGE, segments=(RIGHT, SPECK)), "merge: segment below 50 voxels"),
        (replace(MERGE, neurons=(TWO,)), "merge: different neurons"),
        (replace(SPLIT, segments=(LEFT, MIXED)), "split: does not act on one segment"),
        (replace(SPLIT, segments=(7,)), "split: segment absent"),
        (replace(SPLIT, neurons=(ONE, TWO)), "split: second side below 30 voxels"),
    ],
)
def test_what_is_left_out_is_counted_under_its_reason(edit, reason):
    found = edits(edit)
    assert found.ops == ()
    assert found.excluded == {reason: 1}


def test_the_order_of_the_history_does_not_matter_and_repeats_are_named():
    again = replace(MERGE, timestamp=200, before_roots=(BIG + 41,), after_roots=(BIG + 42,))
    forwards, backwards = edits(MERGE, SPLIT, again), edits(again, SPLIT, MERGE)
    assert forwards == backwards
    assert [op.timestamp for op in forwards.ops] == [100, 50]
    assert forwards.excluded == {"merge: same question as an earlier edit": 1}


def test_two_records_with_the_same_roots_are_refused():
    twice = replace(SPLIT, segments=(MIXED,), neurons=(TWO, THREE, ONE), timestamp=60)
    with pytest.raises(BadInputError, match="operation id"):
        edits(SPLIT, twice)
