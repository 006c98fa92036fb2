"""Clefts, partners, instances and run lengths against slow definitions and cases worked by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from segmend.core.errors import BadInputError
from segmend.metrics.segmentation.clefts import cleft_scores, cleft_voxels, merged
from segmend.metrics.segmentation.contingency import contingency
from segmend.metrics.segmentation.instances import instance_scores
from segmend.metrics.segmentation.partners import PartnerPairs, partner_scores
from segmend.metrics.segmentation.run_length import LabelledSkeleton, expected_run_length

VOXEL = (40.0, 4.0, 4.0)
MASK = hnp.arrays(np.bool_, (3, 6, 7))


def scored(found, truth, threshold=200.0, known=None):
    return cleft_scores(
        cleft_voxels(found, truth, known=known), voxel_size=VOXEL, threshold_nm=threshold
    )


@given(MASK.filter(np.any), MASK.filter(np.any), st.floats(1, 60))
def test_cleft_distances_equal_scipy(found, truth, threshold) -> None:
    to_truth = ndimage.distance_transform_edt(~truth, sampling=VOXEL)[found]
    to_found = ndimage.distance_transform_edt(~found, sampling=VOXEL)[truth]
    threshold = float(threshold) + 0.123  # never exactly a distance
    ours = scored(found, truth, threshold)
    assert (ours.false_positives, ours.false_negatives) == (
        (to_truth > threshold).sum(),
        (to_found > threshold).sum(),
    )
    np.testing.assert_allclose((ours.adgt, ours.adf), (to_truth.mean(), to_found.mean()), rtol=1e-6)
    assert ours.cremi == pytest.approx((ours.adgt + ours.adf) / 2)


@given(MASK, MASK, MASK, st.integers(1, 5))
def test_clefts_by_blocks_are_those_of_the_whole_volume(found, truth, known, step) -> None:
    blocks = [
        cleft_voxels(
            found[:, low : low + step],
            truth[:, low : low + step],
            start=(0, low, 0),
            known=known[:, low : low + step],
        )
        for low in range(0, found.shape[1], step)
    ]
    whole = scored(found, truth, known=known)
    ours = asdict(cleft_scores(merged(blocks), voxel_size=VOXEL))
    assert ours == pytest.approx(asdict(whole), nan_ok=True)


def test_clefts_that_are_missing_on_one_side() -> None:
    some, none = np.zeros((2, 3, 4), bool), np.zeros((2, 3, 4), bool)
    some[0, 1, 2] = True
    missed = scored(none, some)
    assert (missed.false_negatives, missed.adf, missed.f_score) == (1, math.inf, 0)
    assert math.isnan(missed.adgt)
    assert missed.cremi == math.inf
    invented = scored(some, none)
    assert (invented.false_positives, invented.adgt, invented.f_score) == (1, math.inf, 0)
    nothing = scored(none, none)
    assert (nothing.cremi, nothing.f_score) == (0, 1)
    perfect = scored(some, some)
    assert (perfect.cremi, perfect.f_score) == (0, 1)


def test_clefts_outside_the_ground_truth_do_not_count() -> None:
    truth, found = np.zeros((1, 1, 100), bool), np.zeros((1, 1, 100), bool)
    truth[..., :2] = found[..., :2] = found[..., 90:] = True
    known = np.arange(100).reshape(1, 1, 100) < 80
    assert scored(found, truth).false_positives == 10
    ours = scored(found, truth, known=known)
    assert (ours.false_positives, ours.found, ours.adgt) == (0, 2, 0)
    with pytest.raises(BadInputError, match="known must have shape"):
        cleft_voxels(found, truth, known=known[0])
    with pytest.raises(BadInputError, match="of their own shape"):
        cleft_voxels(found[0], truth[0])


def pairs(points: np.ndarray, ids: np.ndarray) -> PartnerPairs:
    """Pairs from points ``(n, 2, 3)`` and ids ``(n, 2)``."""
    ids = np.asarray(ids, np.uint64).reshape(-1, 2)
    points = np.asarray(points, float).reshape(-1, 2, 3)
    return PartnerPairs(points[:, 0], points[:, 1], ids[:, 0], ids[:, 1])


@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(1, 5))
def test_partners_match_as_the_best_of_all_assignments(seed, n_found, n_true) -> None:
    rng = np.random.default_rng(seed)
    found = pairs(rng.uniform(0, 700, (n_found, 2, 3)), rng.integers(1, 3, (n_found, 2)))
    truth = pairs(rng.uniform(0, 700, (n_true, 2, 3)), rng.integers(1, 3, (n_true, 2)))
    n = max(n_found, n_true)
    cost = np.full((n, n), 800.0)
    for i, j in itertools.product(range(n_found), range(n_true)):
        pre = math.dist(found.pre_nm[i], truth.pre_nm[j])
        post = math.dist(found.post_nm[i], truth.post_nm[j])
        same = (found.pre_ids[i], found.post_ids[i]) == (truth.pre_ids[j], truth.post_ids[j])
        if same and pre <= 400 and post <= 400:
            cost[i, j] = (pre + post) / 2
    best = min(
        itertools.permutations(range(n)), key=lambda p: sum(cost[i, j] for i, j in enumerate(p))
    )
    hits = sum(cost[i, j] < 800 for i, j in enumerate(best))
    ours = partner_scores(found, truth)
    assert ours.true_positives == hits
    assert (ours.false_positives, ours.false_negatives) == (n_found - hits, n_true - hits)
    total = sum(cost[i, j] for i, j in enumerate(best) if cost[i, j] < 800)
    assert sum(distance for *_, distance in ours.matches) == pytest.approx(total)


def test_partners_keep_their_direction_their_neurons_and_large_ids() -> None:
    root = 864_691_136_617_970_907
    here = [[[0, 0, 0], [0, 0, 90]]]
    truth = pairs(here, [[root, root + 1]])
    assert partner_scores(pairs(here, [[root, root + 1]]), truth).f_score == 1
    # One apart: a float would not see it.
    assert partner_scores(pairs(here, [[root, root + 2]]), truth).f_score == 0
    assert partner_scores(pairs(np.array(here)[:, ::-1], [[root + 1, root]]), truth).f_score == 0
    with pytest.raises(BadInputError, match="nothing to score"):
        partner_scores(pairs([], []), pairs([], []))
    with pytest.raises(BadInputError, match="must be finite"):
        pairs([[[0, 0, np.nan], [0, 0, 0]]], [[1, 2]])
    with pytest.raises(BadInputError, match="two points"):
        PartnerPairs(truth.pre_nm, truth.post_nm[:0], truth.pre_ids, truth.post_ids)


def slow_average_precision(found, truth, low, high, iou=0.75) -> float:
    """The challenge's rules, segment by segment on arrays."""
    ids, sizes = np.unique(found[found > 0], return_counts=True)
    order = sorted(range(len(ids)), key=lambda k: (-sizes[k], ids[k]))
    true_sizes = {int(t): int((truth == t).sum()) for t in np.unique(truth[truth > 0])}
    inside = {t for t, size in true_sizes.items() if low < size <= high}
    if not inside:
        return math.nan
    verdicts = []
    for k in order:
        mask = found == ids[k]
        overlap = {
            int(t): (mask & (truth == t)).sum() / (mask | (truth == t)).sum()
            for t in np.unique(truth[mask & (truth > 0)])
        }
        wanted = {t: v for t, v in overlap.items() if t in inside} or overlap
        best = max(wanted, key=lambda t: (wanted[t], -t), default=0)
        if best and wanted[best] >= iou:
            verdicts.append("right" if best in inside else "ignored")
        else:
            verdicts.append("wrong" if low < sizes[k] <= high else "ignored")
    curve, right, wrong = [], 0, 0
    for verdict in verdicts:
        right, wrong = right + (verdict == "right"), wrong + (verdict == "wrong")
        curve.append((right / len(inside), right / (right + wrong) if right + wrong else 0.0))
    levels = [0.01 * k for k in range(101)]
    return sum(max((p for r, p in curve if r >= level), default=0.0) for level in levels) / 101


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_equals_the_challenges_rules(seed) -> None:
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 12, (2, 3, 5)), np.ones((4, 5, 3), int))
    found = np.where(rng.random(truth.shape) < 0.04, 0, truth + 7 * (truth > 0))
    found[:, :5] = np.where(found[:, :5] == 9, 10, found[:, :5])  # joins some, cuts some
    found[0] = np.where(found[0] == 12, 30, found[0])
    sizes = {"all": (0, math.inf), "small": (0, 60), "medium": (60, 160), "large": (160, math.inf)}
    ours = instance_scores(contingency(found, truth), sizes=sizes)
    for name, (low, high) in sizes.items():
        wanted = slow_average_precision(found, truth, low, high)
        np.testing.assert_allclose(ours[name].average_precision, wanted, err_msg=name)


def test_confidence_decides_what_a_false_instance_costs() -> None:
    truth = np.repeat([1, 2, 0, 0], 10)
    found = np.repeat([1, 2, 3, 0], 10)
    table = contingency(found, truth)
    last = instance_scores(table, scores={1: 0.9, 2: 0.8, 3: 0.1})["all"]
    first = instance_scores(table, scores={1: 0.5, 2: 0.4, 3: 0.9})["all"]
    assert last.average_precision == 1
    assert first.average_precision == pytest.approx(2 / 3)
    assert (last.true_positives, last.false_positives, last.false_negatives) == (2, 1, 0)
    assert last.f_score == pytest.approx(0.8)
    assert math.isnan(instance_scores(table)["large"].average_precision)
    with pytest.raises(BadInputError, match=r"1 of 3 segments have no score: e\.g\. 3"):
        instance_scores(table, scores={1: 1, 2: 1})
    with pytest.raises(BadInputError, match=r"above 0\.5"):
        instance_scores(table, iou=0.5)


def slow_run_length(skeletons) -> float:
    """By graphs: drop what is wrong, sum over (skeleton, segment)."""
    touching: dict[int, set[int]] = {}
    for number, skeleton in enumerate(skeletons):
        for segment in skeleton.segments.tolist():
            touching.setdefault(segment, set()).add(number)
    total = runs = 0.0
    for skeleton in skeletons:
        graph = nx.Graph()
        for (a, b), length in zip(skeleton.edges.tolist(), skeleton.lengths, strict=True):
            graph.add_edge(a, b, length=length)
        total += graph.size("length")
        by_segment: dict[int, float] = {}
        for a, b, length in graph.edges(data="length"):
            one, other = (int(skeleton.segments[n]) for n in (a, b))
            if one == other != 0 and len(touching[one]) == 1:
                by_segment[one] = by_segment.get(one, 0) + length
        runs += sum(length**2 for length in by_segment.values())
    return runs / total


@given(st.integers(0, 10**6))
def test_run_length_equals_the_graph(seed) -> None:
    rng = np.random.default_rng(seed)
    skeletons = []
    for number in range(3):
        n = int(rng.integers(2, 9))
        edges = np.array([(k, int(rng.integers(0, k))) for k in range(1, n)])
        segments = rng.choice([0, 5, 6 + number, 10 + number], n, p=[0.1, 0.1, 0.5, 0.3])
        skeletons.append(
            LabelledSkeleton(rng.uniform(0, 100, (n, 3)), edges, segments.astype(np.uint64))
        )
    ours = expected_run_length(skeletons)
    assert ours.expected_nm == pytest.approx(slow_run_length(skeletons))
    assert ours.right + ours.split + ours.merged + ours.omitted == pytest.approx(1)


def line(length: int, segments: list[int], row: int = 0) -> LabelledSkeleton:
    """A straight skeleton with a node every nm."""
    nodes = np.array([(row, 0, x) for x in range(length + 1)], float)
    edges = np.stack([np.arange(length), np.arange(1, length + 1)], axis=1)
    return LabelledSkeleton(nodes, edges, np.array(segments, np.uint64))


def test_run_length_of_cases_worked_by_hand() -> None:
    whole = line(10, [1] * 11)
    assert expected_run_length([whole]).normalised == 1
    # Cut in the middle of an edge: 5 nm and 4 nm are left, and 1 nm is wrong.
    cut = line(10, [1] * 6 + [2] * 5)
    ours = expected_run_length([cut])
    assert (ours.expected_nm, ours.split) == pytest.approx(((25 + 16) / 10, 0.1))
    # A segment on two neurons is worth nothing on either.
    merged = expected_run_length([whole, line(30, [1] * 31, row=1)])
    assert (merged.expected_nm, merged.merged) == (0, 1)
    assert merged.best_nm == pytest.approx((100 + 900) / 40)
    # One node of it may be forgiven.
    grazed = [whole, line(30, [1] + [2] * 30, row=1)]
    assert expected_run_length(grazed).expected_nm < 22
    forgiven = expected_run_length(grazed, merge_tolerance=1)
    assert forgiven.expected_nm == pytest.approx((100 + 29**2) / 40)
    assert expected_run_length([line(2, [0, 0, 0])]).omitted == 1


def test_skeletons_that_cannot_be_scored_are_refused() -> None:
    with pytest.raises(BadInputError, match="no length"):
        expected_run_length([])
    with pytest.raises(BadInputError, match="not there"):
        LabelledSkeleton(np.zeros((2, 3)), np.array([[0, 2]]), np.ones(2, np.uint64))
    with pytest.raises(BadInputError, match="a segment for each"):
        LabelledSkeleton(np.zeros((2, 3)), np.array([[0, 1]]), np.ones(1, np.uint64))
    with pytest.raises(BadInputError, match="edges must be"):
        LabelledSkeleton(np.zeros((2, 3)), np.array([0, 1]), np.ones(2, np.uint64))
