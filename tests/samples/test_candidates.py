"""Candidates as values: keys, JSON, sets, limits, metadata."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmend.core.errors import BadInputError, UnknownNameError
from segmend.samples.candidate import Candidate, CandidateSet
from segmend.samples.cap import cap
from segmend.samples.context import SampleRules
from segmend.samples.draw import draw_candidates
from segmend.samples.metadata import PUBLISHED_KEYS, candidate_metadata


def rows_of(candidate, n):
    """Merges and as many adjacent controls."""
    kinds = ("merge_edit", "adjacent_control")
    return [replace(candidate, kind=k, operation_id=f"op{i}") for i in range(n) for k in kinds]


def test_keys_follow_the_published_recipe(candidate):
    inner = hashlib.md5(b"op:merge_edit:").hexdigest()[:12]
    assert candidate.sample_hash == inner
    outer = hashlib.md5(f"unified_handmade|{inner}".encode()).hexdigest()
    assert candidate.combined_hash == outer


ids = st.integers(0, 2**64 - 1)
point = st.tuples(*[st.floats(-1e9, 1e9, allow_nan=False)] * 3)


@given(st.tuples(ids, ids), st.lists(ids).map(tuple), ids, point, st.none() | point)
def test_ids_and_points_survive_json(segments, neurons, cluster_id, anchor, parent):
    original = Candidate(
        *("split_edit", "d", "1", "a", "fly", "op", ""),
        anchor_nm=anchor,
        segments=segments[:1],
        sides=segments,
        swapped=True,
        render_center_nm=anchor,
        view_extent_nm=500.0,
        cluster_id=cluster_id,
        facts={"root_ids": ["1"]},
        neurons=neurons,
        parent_nm=parent,
    )
    assert Candidate.from_json(json.loads(json.dumps(original.to_json()))) == original
    assert original.position_nm == (anchor if parent is None else parent)


def test_a_set_is_sorted_by_key_and_refuses_repeats(candidate):
    rows = rows_of(candidate, 20)
    drawn = CandidateSet(tuple(rows), {})
    assert drawn == CandidateSet(tuple(rows[::-1]), {})
    keys = [c.combined_hash for c in drawn.candidates]
    assert keys == sorted(keys)
    assert drawn.counts == {"merge_edit": 20, "adjacent_control": 20}
    with pytest.raises(BadInputError, match="1 primary keys occur more than once"):
        CandidateSet((*rows, rows[3]), {})


@given(few=st.integers(0, 40), many=st.integers(0, 40), seed=st.integers(0, 5))
def test_a_smaller_limit_keeps_a_subset_and_counts_what_it_leaves_out(candidate, few, many, seed):
    few, many = sorted((few, many))
    rows = rows_of(candidate, 30)
    small = cap(rows, {"merge_edit": few}, seed=seed)
    large = cap(rows[::-1], {"merge_edit": many}, seed=seed)
    kept, more = ({c.combined_hash for c in s.candidates} for s in (small, large))
    assert kept <= more
    assert small.counts["merge_edit"] == min(few, 30)
    assert small.counts["adjacent_control"] == 30
    assert small.excluded.total() == 30 - min(few, 30)


def test_another_seed_keeps_others_and_bad_limits_are_refused(candidate):
    rows = rows_of(candidate, 100)
    kept = [
        {
            c.operation_id
            for c in cap(rows, {"merge_edit": 50, "adjacent_control": 0}, seed=s).candidates
        }
        for s in (0, 1)
    ]
    assert kept[0] != kept[1]
    with pytest.raises(UnknownNameError, match="merge_edits"):
        cap(rows, {"merge_edits": 5}, seed=0)
    with pytest.raises(BadInputError, match="0 or more"):
        cap(rows, {"merge_edit": -1}, seed=0)


def test_drawing_all_types_puts_them_together_and_refuses_unknown_ones(handmade):
    drawn = draw_candidates(handmade)
    assert set(drawn.counts) == {
        "merge_edit",
        "split_edit",
        "adjacent_control",
        "junction_control",
        "synapse_control",
    }
    assert draw_candidates(handmade, ["merge_edit"]).counts == {"merge_edit": 1}
    with pytest.raises(UnknownNameError, match="no sample type named 'merge'"):
        draw_candidates(handmade, ["merge"])


def test_metadata_holds_every_published_key_null_where_it_does_not_apply(handmade):
    for candidate in draw_candidates(handmade).candidates:
        metadata = candidate_metadata(candidate)
        assert metadata.keys() >= set(PUBLISHED_KEYS)
        assert (metadata["degree"] is None) == (candidate.kind != "junction_control")
        assert (metadata["pre_pt_root_id"] is None) == (candidate.kind != "synapse_control")
        assert (metadata["before_root_ids"] is None) == (not candidate.kind.endswith("_edit"))
        assert metadata["split_position_nm"] == list(candidate.position_nm[::-1])


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("half_extent_nm", (0, 10)),
        ("half_extent_nm", (20, 10)),
        ("half_extent_nm", (10, float("inf"))),
        ("jitter_nm", -1),
        ("jitter_nm", float("nan")),
        ("adjacent_per_merge", -1),
        ("junction_min_purity", 0.5),
        ("junction_min_degree", 2),
    ],
)
def test_impossible_rules_are_refused_by_name(rule, value):
    with pytest.raises(BadInputError, match=rule):
        SampleRules(**{"half_extent_nm": (10, 20), "jitter_nm": 1.0, rule: value})
