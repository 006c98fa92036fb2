"""Every rule of the normaliser, on hand-made sources."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.grid import VoxelGrid
from segmend.edits.cave_record import Rules
from segmend.edits.cave_server import click_nm
from segmend.edits.chains import Chains
from segmend.edits.frozen import Outcome
from segmend.edits.join import Evidence, Joiner, iso_ms
from segmend.edits.normalise import root_fault

GRID = VoxelGrid((40, 8, 8), (0, 0, 0), (1000, 1000, 1000))
BIG = 2**63
T_MS = 1_650_000_000_123
JOINER = Joiner(lambda voxel: click_nm(GRID, voxel), 1.7e12)


def row(**changes):
    return {
        "operation_id": 5,
        "timestamp": T_MS,
        "user_id": 3,
        "before_root_ids": [BIG + 1],
        "after_root_ids": [BIG + 2],
        "is_merge": False,
    } | changes


def details(**changes):
    return {
        "removed_edges": [[11, 12]],
        "roots": [BIG + 2, BIG + 3],
        "source_coords": [[10, 20, 30]],
        "sink_coords": [[12, 20, 30]],
        "timestamp": "2022-04-15 05:20:00.123000+00:00",
        "user": "3",
    } | changes


MERGED = details(added_edges=[[11, 12]], removed_edges=[], roots=[])
SEEN = Evidence(before=(BIG + 1,), after=(BIG + 2, BIG + 3), final=BIG + 9)


def joined(*rows, known=None, seen=SEEN):
    return JOINER.join(
        5, [(100 + i, r) for i, r in enumerate(rows or [row()])], known or details(), seen
    )


def failed(found):
    assert isinstance(found, Outcome)
    return found.reason


def test_sources_are_joined_each_field_from_its_own():
    one = joined()
    assert (one.kind, one.before, one.after) == ("split", (BIG + 1,), (BIG + 2, BIG + 3))
    assert one.time_ms == T_MS
    assert one.sources == ((1220.0, 164.0, 84.0),)
    assert one.point == (1220.0, 164.0, 92.0)
    assert one.cluster == BIG + 9
    assert one.provenance["after_ids"] == "operation_details"
    assert one.applied == ("new roots from the details",)


def test_a_merge():
    one = joined(
        row(is_merge=True, before_root_ids=[BIG + 2, BIG + 1], after_root_ids=[BIG + 3]),
        known=details(added_edges=[[11, 12]], removed_edges=[], roots=[BIG + 3]),
        seen=Evidence(before=(BIG + 1, BIG + 2), after=(BIG + 3,)),
    )
    assert (one.kind, one.before, one.after) == ("merge", (BIG + 1, BIG + 2), (BIG + 3,))
    assert one.cluster == 100  # a root whose log names it, where nothing better is known


@pytest.mark.parametrize(
    ("known", "seen", "rule"),
    [
        (details(), SEEN, "new roots from the details"),
        (details(roots=[BIG + 2]), SEEN, "new roots from supervoxels"),
        (
            details(roots=[]),
            Evidence(before=(BIG + 1,), lineage=(BIG + 2, BIG + 3)),
            "new roots from the lineage",
        ),
    ],
)
def test_the_new_roots_that_a_log_lacks_are_found(known, seen, rule):
    one = joined(known=known, seen=seen)
    assert one.after == (BIG + 2, BIG + 3)
    assert rule in one.applied


def test_strings_and_integers_are_the_same_ids_up_to_the_largest():
    text = [[str(2**64 - 1), "12"]]
    one = joined(row(before_root_ids=[str(BIG + 1)]), known=details(removed_edges=text))
    assert one.edges == ((2**64 - 1, 12),)
    assert one.before == (BIG + 1,)
    assert "ids from strings" in one.applied


def test_several_logs_that_agree_are_one_operation():
    one = joined(row(), row(after_root_ids=[BIG + 3]))
    assert one.listed_by == (100, 101)
    assert "listed by several roots" in one.applied


def test_seconds_are_told_from_milliseconds():
    known = details(timestamp=None)
    one = joined(row(timestamp=1_650_000_000), known=known)
    assert one.time_ms == 1_650_000_000_000
    assert "seconds read as milliseconds" in one.applied
    assert joined(row(timestamp=T_MS), known=known).time_ms == T_MS


@pytest.mark.parametrize("bad", [-1000, 0, 10**15])
def test_without_a_credible_time_that_of_its_new_roots_counts(bad):
    known = details(timestamp="1969-12-31 23:59:59")
    late = Evidence(before=(BIG + 1,), after=(BIG + 2, BIG + 3), created_ms=float(T_MS))
    one = joined(row(timestamp=bad), known=known, seen=late)
    assert one.time_ms == T_MS
    assert one.provenance["timestamp"] == "root_timestamps"
    assert failed(joined(row(timestamp=bad), known=known)) == "inconsistent: no time"


@pytest.mark.parametrize(
    ("rows", "known", "seen", "reason"),
    [
        ([row(is_merge=True)], details(), SEEN, "kind"),
        ([row(), row(is_merge=True)], details(), SEEN, "kind"),
        ([row(), row(before_root_ids=[BIG + 8])], details(), SEEN, "roots before"),
        ([row(before_root_ids=[BIG + 1, BIG + 8])], details(), SEEN, "roots before"),
        ([row()], details(roots=[]), Evidence(before=(BIG + 1,)), "one new root"),
        ([row()], details(timestamp="2022-04-15 06:20:00"), SEEN, "times"),
        ([row()], details(source_coords=[]), SEEN, "no clicks"),
        ([row()], details(source_coords=[[float("nan"), 1, 1]]), SEEN, "no clicks"),
        ([row()], details(source_coords=None), SEEN, "unreadable"),
        ([row()], details(source_coords=[[1, 2]]), SEEN, "unreadable"),
        ([row()], details(removed_edges=[[1.5, 2]]), SEEN, "unreadable"),
        ([row(before_root_ids=[])], details(), SEEN, "roots before"),
        ([row(before_root_ids=[0])], details(), SEEN, "roots before"),
        ([row(after_root_ids=[0, BIG + 2])], details(), SEEN, "new roots"),
        ([row(is_merge=True, before_root_ids=[0, BIG + 1])], MERGED, SEEN, "roots before"),
        ([row(is_merge=True, after_root_ids=[0])], MERGED, SEEN, "new roots"),
        ([row(before_root_ids=[2**64])], details(), SEEN, "unreadable"),
        ([row(before_root_ids=[float(BIG)])], details(), SEEN, "unreadable"),
        ([row(timestamp="soon")], details(), SEEN, "unreadable"),
        ([{"operation_id": 5}], details(), SEEN, "unreadable"),
        ([row()], details(), Evidence(before=(7,)), "clicked roots before"),
        ([row()], details(), Evidence(before=(BIG + 1,), after=(7,)), "clicked roots after"),
        ([row()], details(), Evidence(), "nothing to check against"),
        (
            [row(is_merge=True, before_root_ids=[1, 2])],
            details(removed_edges=[]),
            SEEN,
            "new roots",
        ),
    ],
)
def test_what_contradicts_itself_fails_by_name(rows, known, seen, reason):
    assert failed(joined(*rows, known=known, seen=seen)) == f"inconsistent: {reason}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2022-04-15 05:20:00.123000+00:00", T_MS),
        ("2022-04-15 05:20:00.123", T_MS),
        ("2022-04-15T07:20:00.123+02:00", T_MS),
        ("yesterday", None),
        (12, None),
    ],
)
def test_times_of_details(text, expected):
    assert iso_ms(text) == expected


def naive(operations, hops, within):
    """The rule as it is written: walk forward through the root ids, operation by operation."""
    surely, perhaps = [], []
    for merge, point, _, after, _ in operations:
        sure, may, front = False, False, set(after)
        for _ in range(hops):
            reached = [o for o in operations if front & set(o[2])]
            for other, p, _, _, failed in reached:
                far = p and point and np.linalg.norm(np.subtract(p, point)) > within
                if other != merge and not far:
                    sure, may = sure or not failed, may or failed
            front = {root for o in reached for root in o[3]}
        surely.append(sure)
        perhaps.append(may)
    return surely, perhaps


roots = st.lists(st.integers(1, 12), min_size=1, max_size=2, unique=True)
points = st.tuples(*[st.integers(0, 3)] * 3)
known = st.tuples(st.booleans(), points, roots, roots, st.just(False))
failing = st.tuples(
    st.none() | st.booleans(), st.none() | points, roots, st.just([]) | roots, st.just(True)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(known | failing, max_size=10), st.integers(0, 3), st.floats(0, 6))
def test_undone_operations_are_those_of_the_slow_rule(operations, hops, within):
    chains = Chains()
    for n, (merge, point, before, after, failed) in enumerate(operations):
        chains.add(
            n + 1,
            merge=merge,
            point_nm=point,
            before=tuple(before),
            after=tuple(after),
            failed=failed,
        )
    found = chains.undone(hops=hops, within_nm=within)
    surely, perhaps = naive(operations, hops, within)
    fine = [n for n, one in enumerate(operations) if not one[-1]]
    assert found.surely[fine].tolist() == [surely[n] for n in fine]
    assert (found.perhaps[fine] > 0).tolist() == [perhaps[n] for n in fine]
    assert all(operations[n - 1][-1] for n in found.perhaps[fine].tolist() if n)


def test_roots_that_are_hardly_edited_or_short_are_named():
    rules = Rules(um_per_chunk=10, min_edits_per_mm=20, min_path_um=100)
    assert root_fault(rules, 2, 10) is None
    assert root_fault(rules, 1, 10)[0] == "root rarely edited"
    assert root_fault(rules, 2, 9)[0] == "root too short"
    assert root_fault(rules, None, 9)[0] == "root too short"
