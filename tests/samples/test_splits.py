"""Splits are a pure function of position and rule; guards drop, never move."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.box import Box
from segmend.core.errors import BadInputError
from segmend.samples.draw import draw_candidates
from segmend.samples.splits import LEAKS, NAMED_RULES, SplitRule, assign_splits, split_of

CUBES = SplitRule("cubes", cube_nm=1000, origin_nm=(5, 7, 11))
GUARDED = replace(CUBES, kind="cubes-guarded")
points = st.tuples(*[st.floats(-20_000, 20_000, allow_nan=False)] * 3)


def rows_at(candidate, positions, **changes):
    return [
        replace(
            candidate,
            operation_id=f"op{i}",
            anchor_nm=tuple(p),
            render_center_nm=tuple(p),
            segments=(2 * i + 1, 2 * i + 2),
            cluster_id=1000 + i,
            neurons=(1000 + i,),
            **changes,
        )
        for i, p in enumerate(positions)
    ]


@given(positions=st.lists(points, min_size=1, max_size=30), keep=st.integers(0, 29), data=st.data())
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("rule", [CUBES, GUARDED])
def test_adding_rows_never_moves_a_row(candidate, rule, positions, keep, data):
    rows = rows_at(candidate, positions)
    few = rows[: keep + 1]
    before = assign_splits(few, rule)
    after = assign_splits(data.draw(st.permutations(rows)), rule)
    for row in few:
        key = row.combined_hash
        assert (key in after.splits) != (key in after.dropped)
        if key in after.splits and key in before.splits:
            assert after.splits[key] == before.splits[key]
        if key in after.splits:
            assert key in before.splits, "adding rows may drop a row, never bring one back"


def centres(n):
    """Middle of each of n**3 cubes of the rule."""
    cubes = np.array(list(itertools.product(range(-(n // 2), n - n // 2), repeat=3)))
    return cubes * 1000.0 + 500 + np.array(CUBES.origin_nm)


def test_cubes_are_half_open_and_start_at_the_origin_of_the_record(candidate):
    inside = [(5.0, 7.0, 11.0), (1004.9, 1006.9, 1010.9), (500.0, 500.0, 500.0)]
    assert len({split_of(row, CUBES) for row in rows_at(candidate, inside)}) == 1
    # Across many faces the split changes about as often as two draws differ: 1 - sum of squares.
    below = rows_at(candidate, centres(12) + np.array([499.9, 0, 0]))
    above = rows_at(candidate, centres(12) + np.array([500.1, 0, 0]))
    changed = np.mean(
        [split_of(a, CUBES) != split_of(b, CUBES) for a, b in zip(below, above, strict=True)]
    )
    assert abs(changed - (1 - 0.75**2 - 2 * 0.125**2)) < 0.04


def test_shares_of_many_cubes_are_about_the_fractions(candidate):
    splits = assign_splits(rows_at(candidate, centres(15)), CUBES).splits
    shares = [
        sum(s == name for s in splits.values()) / 15**3 for name in ("train", "validation", "test")
    ]
    # Three standard deviations of a share of 3,375 draws.
    np.testing.assert_allclose(shares, CUBES.fractions, atol=3 * (0.25 * 0.75 / 15**3) ** 0.5)


def test_volumes_salts_and_data_sets_draw_independently(candidate):
    rows = rows_at(candidate, centres(10))
    first = [split_of(row, CUBES) for row in rows]
    for other in (
        [split_of(replace(row, volume="b"), CUBES) for row in rows],
        [split_of(replace(row, dataset="other"), CUBES) for row in rows],
        [split_of(row, replace(CUBES, salt="other")) for row in rows],
    ):
        agree = np.mean([a == b for a, b in zip(first, other, strict=True)])
        assert 0.5 < agree < 0.7  # 0.59 by chance


def test_derived_rows_take_their_parents_split(candidate):
    parents = rows_at(candidate, centres(8))
    derived = [
        replace(row, kind="adjacent_control", anchor_nm=(0.0, 0.0, 0.0), parent_nm=row.anchor_nm)
        for row in parents
    ]
    assert [split_of(r, CUBES) for r in derived] == [split_of(r, CUBES) for r in parents]


@pytest.mark.parametrize("guard_nm", [0.0, 300.0])
def test_guarded_rows_show_no_cube_of_another_split(candidate, guard_nm):
    rng = np.random.default_rng(0)
    rows = rows_at(candidate, rng.uniform(-5000, 5000, (400, 3)))
    rule = replace(GUARDED, guard_nm=guard_nm)
    assignment = assign_splits(rows, rule)
    assert assignment.dropped
    assert set(assignment.splits) | set(assignment.dropped) == {r.combined_hash for r in rows}
    half = max(120.0, guard_nm)
    for row in rows:
        seen = Box.around(row.render_center_nm, 2 * half)
        corners = itertools.product(*zip(seen.start, np.subtract(seen.stop, 0.001), strict=True))
        # The box is narrower than a cube: it lies in the cubes of its corners.
        splits = {split_of(replace(row, anchor_nm=corner), CUBES) for corner in corners}
        own = split_of(row, CUBES)
        if row.combined_hash in assignment.splits:
            assert splits == {own} == {assignment.splits[row.combined_hash]}
        else:
            assert splits != {own}
            reason = assignment.dropped[row.combined_hash]
            assert reason == "view reaches a cube of another split"


@pytest.mark.parametrize(
    "shared", [{"segments": (7, 8)}, {"cluster_id": 7}, {"neurons": (7,)}, {"sides": (7, 8)}]
)
def test_training_rows_whose_lineage_is_tested_are_dropped(candidate, shared):
    rows = rows_at(candidate, centres(6))
    by_split = {split_of(row, CUBES): row for row in rows}
    for other in ("train", "validation"):
        pair = [replace(by_split[split], **shared) for split in (other, "test")]
        assignment = assign_splits(pair, GUARDED)
        dropped = {pair[0].combined_hash: "lineage occurs in test"} if other == "train" else {}
        assert assignment.dropped == dropped
        assert assign_splits(pair, CUBES).dropped == {}


def test_lineage_counts_within_one_volume_only_and_from_kept_rows_only(candidate):
    rows = rows_at(candidate, centres(6))
    by_split = {split_of(row, CUBES): row for row in rows}
    train, test = (replace(by_split[s], cluster_id=7) for s in ("train", "test"))
    elsewhere = next(
        row for row in rows_at(candidate, centres(6), volume="b") if split_of(row, CUBES) == "test"
    )
    assert not assign_splits([train, replace(elsewhere, cluster_id=7)], GUARDED).dropped
    wide = replace(test, view_extent_nm=5000.0)
    assert set(assign_splits([train, wide], GUARDED).dropped) == {wide.combined_hash}


def test_split_by_volume_takes_the_named_split(candidate):
    rule = SplitRule("volume", volume_splits={"a": "train", "b": "test"})
    rows = [candidate, replace(candidate, volume="b", operation_id="op2")]
    splits = assign_splits(rows, rule).splits
    assert [splits[row.combined_hash] for row in rows] == ["train", "test"]
    with pytest.raises(BadInputError, match="volume 'c' has no split"):
        assign_splits([replace(candidate, volume="c")], rule)


def test_each_rule_says_which_leaks_it_leaves_open():
    assert LEAKS[CUBES.kind] == ("view", "lineage")
    assert LEAKS[GUARDED.kind] == ()
    assert LEAKS["volume"] == ()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"kind": "blocks"}, "no split rule 'blocks'"),
        ({"kind": "cubes"}, "cube_nm"),
        ({"kind": "cubes", "cube_nm": float("nan")}, "cube_nm"),
        ({"kind": "cubes", "cube_nm": 10, "fractions": (0.5, 0.5, 0.5)}, "fractions"),
        ({"kind": "cubes", "cube_nm": 10, "fractions": (1.5, -0.25, -0.25)}, "fractions"),
        ({"kind": "cubes", "cube_nm": 10, "guard_nm": -1}, "guard_nm"),
        ({"kind": "cubes", "cube_nm": 10, "origin_nm": (0, 0, float("inf"))}, "finite"),
        ({"kind": "volume"}, "no volume is named"),
        ({"kind": "volume", "volume_splits": {"a": "val"}}, "not splits"),
    ],
)
def test_impossible_rules_are_refused(arguments, match):
    with pytest.raises(BadInputError, match=match):
        SplitRule(**arguments)


def test_fib25_in_cubes_of_600_nm_has_every_type_in_training_and_both_edits_in_test(fib25):
    kinds = ("merge_edit", "split_edit", "adjacent_control")
    candidates = draw_candidates(fib25, kinds).candidates
    splits = assign_splits(candidates, SplitRule("cubes", cube_nm=600)).splits
    found = {(c.kind, splits[c.combined_hash]) for c in candidates}
    assert found == set(itertools.product(kinds, ("train", "validation", "test")))
    # Design, section 3: a block as small as FIB-25 cannot be guarded.
    guarded = assign_splits(candidates, SplitRule("cubes-guarded", cube_nm=600))
    assert guarded.splits == {}


def test_dropped_rows_are_counted_by_the_split_they_leave(candidate):
    rows = rows_at(candidate, np.random.default_rng(0).uniform(-5000, 5000, (200, 3)))
    guarded, before = assign_splits(rows, GUARDED), assign_splits(rows, CUBES).splits
    for split in ("train", "validation", "test"):
        lost = sum(n for r, n in guarded.reasons.items() if r.startswith(f"{split}: "))
        kept = sum(s == split for s in guarded.splits.values())
        assert lost + kept == sum(s == split for s in before.values())


@pytest.mark.parametrize(
    ("name", "kind", "cube_nm", "fractions"),
    [
        ("cubes-50um", "cubes", 50_000, (0.8, 0.1, 0.1)),
        ("cubes-80um", "cubes", 80_000, (0.75, 0.125, 0.125)),
        ("cubes-80um-guarded", "cubes-guarded", 80_000, (0.75, 0.125, 0.125)),
    ],
)
def test_named_rules_are_those_of_the_cards(name, kind, cube_nm, fractions):
    rule = NAMED_RULES[name]
    assert (rule.kind, rule.cube_nm, rule.fractions) == (kind, cube_nm, fractions)
