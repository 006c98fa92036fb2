"""Edits from overlap: hand-made volumes whose answer is known, one per named reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segmend.core.errors import BadInputError, GridMismatchError, SegmentNotFoundError
from segmend.core.grid import VoxelGrid
from segmend.edits.operation import Identity, operation_hash
from segmend.edits.overlap import OverlapRules, overlap_edits
from segmend.edits.overlap_table import overlap_of, overlap_table
from segmend.segments.contacts import find_contacts

BIG = 2**60
IDENTITY = Identity("handmade", "1", "a")
RULES = OverlapRules(
    min_segment_voxels=50,
    min_purity=0.8,
    min_contact_faces=20,
    min_side_voxels=30,
    min_side_radius_nm=10,
)


def bars(*rows: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, VoxelGrid]:
    """Volume ``(5, 5, x)`` of bars along x: each (segment, neuron, width); rows stack along y."""
    width = max(sum(bar[2] for bar in row) for row in rows)
    automatic = np.zeros((5, 5 * len(rows), width), np.uint64)
    neurons = np.zeros_like(automatic)
    for i, row in enumerate(rows):
        start = 0
        for segment, neuron, size in row:
            where = (slice(None), slice(5 * i, 5 * i + 5), slice(start, start + size))
            automatic[where], neurons[where] = segment, neuron
            start += size
    return automatic, neurons, VoxelGrid((10, 10, 10), (0, 0, 0), automatic.shape)


def edits_of(automatic, neurons, grid, rules=RULES):
    contacts = find_contacts(automatic, grid)
    return overlap_edits(automatic, neurons, contacts, grid, rules=rules, identity=IDENTITY)


def test_two_segments_of_one_neuron_are_a_merge_at_their_contact():
    found = edits_of(*bars([(BIG + 2, 9, 6), (BIG + 1, 9, 4)]))
    (op,) = found.ops
    assert (op.kind, op.before_ids, op.after_ids) == ("merge", (BIG + 1, BIG + 2), (9,))
    assert op.point_nm == (25.0, 25.0, 60.0)
    assert op.cluster_id == 9
    assert op.facts["contact_faces"] == 25
    assert (op.dataset, op.version, op.volume) == ("handmade", "1", "a")
    ids = [BIG + 2, BIG + 1]
    assert op.operation_id == operation_hash("handmade", "1", "a", kind="merge", ids=ids)
    assert not found.excluded


def test_one_segment_of_two_neurons_is_a_split_at_the_contact_of_its_sides():
    found = edits_of(*bars([(BIG + 1, 9, 6), (BIG + 1, 8, 4)]))
    (op,) = found.ops
    assert (op.kind, op.before_ids, op.after_ids) == ("split", (BIG + 1,), (8, 9))
    assert op.point_nm == (25.0, 25.0, 60.0)
    assert op.cluster_id == 9
    assert not found.excluded


def test_the_point_of_a_split_is_where_its_largest_pair_of_sides_touches():
    automatic, neurons, grid = bars([(1, 7, 4), (1, 8, 4)], [(1, 9, 8)])
    (op,) = edits_of(automatic, neurons, grid).ops
    assert op.after_ids == (7, 8, 9)
    assert op.point_nm[2] == 40.0  # 7 to 8 over 25 faces; 9 touches each over 20


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([[(1, 9, 6), (2, 9, 1)]], "merge: segment below 50 voxels"),
        ([[(1, 9, 6), (2, 8, 6)]], "merge: different neurons"),
        ([[(1, 0, 6), (2, 9, 6)]], "merge: segment without ground truth"),
        ([[(1, 0, 2), (1, 9, 6), (2, 9, 6)]], "merge: segment below 80% pure"),
        ([[(1, 9, 6), (1, 8, 1)]], "split: second side below 30 voxels"),
        ([[(1, 9, 4), (1, 0, 1), (1, 8, 4)]], "split: sides do not touch"),
    ],
)
def test_what_is_left_out_is_counted_under_its_reason(rows, reason):
    found = edits_of(*bars(*rows))
    assert found.ops == ()
    assert found.excluded == {reason: 1}


def test_a_small_contact_is_left_out_by_name():
    automatic, neurons, grid = bars([(1, 9, 4), (0, 0, 4)], [(0, 0, 3), (2, 9, 5)])
    found = edits_of(automatic, neurons, grid)
    assert found.ops == ()
    assert found.excluded == {"merge: contact below 20 faces": 1}


def test_thresholds_are_met_by_equality():
    automatic, neurons, grid = bars([(1, 9, 2), (2, 9, 2)])
    rules = OverlapRules(50, 1.0, 25, 50, 10)
    assert len(edits_of(automatic, neurons, grid, rules).ops) == 1
    neurons[:, :, :2] = 8
    automatic[:] = 1
    assert len(edits_of(automatic, neurons, grid, rules).ops) == 1


def test_a_shell_along_the_border_is_no_side_however_many_voxels_it_has():
    grid = VoxelGrid((10, 10, 10), (0, 0, 0), (30, 30, 30))
    automatic, neurons = np.ones(grid.shape, np.uint64), np.full(grid.shape, 9, np.uint64)
    neurons[:, :, :2] = 8  # 1,800 voxels, nowhere more than 10 nm deep
    found = edits_of(automatic, neurons, grid, OverlapRules())
    assert not found.ops
    assert found.excluded == {"split: second side nowhere 25 nm from its border": 1}
    neurons[:, :, :5] = 8  # the middle of five voxels of 10 nm lies 30 nm from the border
    assert [op.after_ids for op in edits_of(automatic, neurons, grid, OverlapRules()).ops] == [
        (8, 9)
    ]


small = hnp.array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=6)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_every_contact_and_every_mixed_segment_is_an_edit_or_counted(data):
    shape = data.draw(small)
    ids = st.sampled_from([0, 1, 2, 3])
    automatic = data.draw(hnp.arrays(np.uint64, shape, elements=ids))
    neurons = data.draw(hnp.arrays(np.uint64, shape, elements=ids))
    grid = VoxelGrid((10, 10, 10), (0, 0, 0), shape)
    found = edits_of(automatic, neurons, grid, OverlapRules(5, 0.6, 2, 3))
    counted = {
        kind: sum(n for reason, n in found.excluded.items() if reason.startswith(f"{kind}: "))
        for kind in ("merge", "split")
    }
    mixed = [
        i
        for i in np.unique(automatic)
        if i and len(np.unique(neurons[automatic == i][neurons[automatic == i] > 0])) > 1
    ]
    assert len(found.of_kind("merge")) + counted["merge"] == len(find_contacts(automatic, grid))
    assert len(found.of_kind("split")) + counted["split"] == len(mixed)
    for op in found.of_kind("merge"):
        for segment in op.before_ids:
            inside = neurons[automatic == np.uint64(segment)]
            assert inside.size >= 5
            assert (inside == op.after_ids[0]).mean() >= 0.6
    for op in found.of_kind("split"):
        inside = neurons[automatic == np.uint64(op.before_ids[0])]
        assert all((inside == side).sum() >= 3 for side in op.after_ids)
        sizes = [(inside == n).sum() for n in range(1, 4)]
        assert (inside == op.cluster_id).sum() == max(sizes)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_overlap_table_equals_counting_by_hand(data):
    shape = data.draw(small)
    ids = st.sampled_from([0, 1, 2**53 + 1, 2**53 + 2])
    automatic = data.draw(hnp.arrays(np.uint64, shape, elements=ids))
    neurons = data.draw(hnp.arrays(np.uint64, shape, elements=ids))
    table = overlap_table(automatic, neurons, VoxelGrid((1, 1, 1), (0, 0, 0), shape))
    assert list(table) == [int(i) for i in np.unique(automatic) if i]
    for segment, overlap in table.items():
        inside = neurons[automatic == np.uint64(segment)]
        assert overlap.voxels == inside.size
        shares = {int(n): int((inside == n).sum()) for n in np.unique(inside) if n}
        assert dict(overlap.neurons) == shares
        assert overlap.dominant == min(shares, key=lambda n: (-shares[n], n), default=0)
        assert overlap.purity == max(shares.values(), default=0) / inside.size
        assert overlap.sides(3) == tuple(s for s in overlap.neurons if s[1] >= 3)


def test_arrays_and_contacts_that_do_not_belong_together_are_refused():
    automatic, neurons, grid = bars([(1, 9, 6), (2, 9, 6)])
    contacts = find_contacts(automatic, grid)
    kwargs = {"rules": RULES, "identity": IDENTITY}
    with pytest.raises(GridMismatchError, match="'neurons' does not fit"):
        overlap_edits(automatic, neurons[1:], contacts, grid, **kwargs)
    with pytest.raises(BadInputError, match="'automatic' must be a uint64"):
        overlap_edits(automatic.astype(float), neurons, contacts, grid, **kwargs)
    with pytest.raises(SegmentNotFoundError, match="no automatic segment 1"):
        overlap_edits(automatic + np.uint64(5), neurons, contacts, grid, **kwargs)
    with pytest.raises(SegmentNotFoundError, match="no automatic segment 3"):
        overlap_of(overlap_table(automatic, neurons, grid), 3)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("min_segment_voxels", 0),
        ("min_contact_faces", 0),
        ("min_side_voxels", 0),
        ("min_side_radius_nm", -1),
        ("min_purity", 0.5),
        ("min_purity", 1.1),
        ("min_purity", float("nan")),
    ],
)
def test_impossible_rules_are_refused_by_name(rule, value):
    with pytest.raises(BadInputError, match=rule):
        OverlapRules(**{rule: value})
