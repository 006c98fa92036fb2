"""Each sample type keeps the contract and asks what the design says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segmend.core.box import Box
from segmend.core.errors import BadInputError
from segmend.edits.overlap import OverlapRules
from segmend.edits.supervoxel_cut import Agglomerated, cut_by_supervoxels
from segmend.samples.context import SampleContext, SampleRules
from segmend.samples.draw import SOURCES, draw_candidates
from segmend.samples.metadata import candidate_metadata
from segmend.testing.sample_types import SampleTypeContract

BIG = 2**60
WEST, EAST, NEIGHBOUR, TRIPLE, FORKED = (BIG + i for i in range(1, 6))
GRID_STEP = (20, 10, 10)
LOOSE = OverlapRules(1, 0.51, 1, 1, 0.0)


class Handmade(SampleTypeContract):
    @pytest.fixture
    def context(self, handmade) -> SampleContext:
        return handmade


class TestMergeEdit(Handmade):
    kind = "merge_edit"

    def test_the_two_halves_of_a_neuron_are_asked_about_at_their_contact(self, candidates):
        (candidate,) = candidates
        assert sorted(candidate.segments) == [WEST, EAST]
        assert candidate.anchor_nm[2] == 3000 + 40 * 10
        assert candidate.cluster_id == BIG + 11
        metadata = candidate_metadata(candidate)
        assert metadata["before_root_ids"] == [str(WEST), str(EAST)]
        assert metadata["after_root_ids"] == [str(BIG + 11)]
        assert metadata["edit_point_nm"][0] == 3400
        assert metadata["is_merge"] is True


class TestSplitEdit(Handmade):
    kind = "split_edit"

    def test_sides_are_the_two_largest_in_view_in_an_order_the_flag_tells(self, handmade):
        for seed in range(20):
            (candidate,) = SOURCES[self.kind](replace(handmade, seed=seed)).candidates
            voxels = handmade.grid.to_voxels(candidate.view_cube).intersect(handmade.grid.voxels)
            shown = handmade.neurons[voxels.slices][handmade.automatic[voxels.slices] == TRIPLE]
            sizes = {n: int((shown == n).sum()) for n in (BIG + 13, BIG + 14, BIG + 15)}
            largest = sorted(sizes, key=lambda n: (-sizes[n], n))[:2]
            natural = candidate.sides[::-1] if candidate.swapped else candidate.sides
            assert list(natural) == largest
            assert candidate.facts["side_voxels_in_view"] == [sizes[n] for n in largest]

    def test_a_view_that_shows_one_side_only_is_left_out_by_name(self, handmade):
        far = replace(handmade.rules, half_extent_nm=(20, 20), jitter_nm=0.0)
        op = handmade.edits.of_kind("split")[0]
        aside = replace(op, point_nm=(1400.0, 2250.0, 3050.0))
        edits = replace(handmade.edits, ops=(aside,))
        drawn = SOURCES[self.kind](replace(handmade, rules=far, edits=edits))
        assert drawn.candidates == ()
        assert drawn.excluded == {"split_edit: fewer than two sides in view": 1}


class TestSplitEditOfAfterIds(Handmade):
    """Sides that an edit log names by the ids of the segmentation after the edit."""

    kind = "split_edit"

    @pytest.fixture
    def context(self, handmade):
        after = np.where(handmade.automatic == TRIPLE, handmade.neurons + np.uint64(100), 0)
        (op,) = handmade.edits.of_kind("split")
        renamed = tuple(i + 100 for i in op.after_ids)
        logged = replace(op, after_ids=renamed, sides_in="after", cluster_id=op.cluster_id)
        edits = replace(handmade.edits, ops=(*handmade.edits.of_kind("merge"), logged))
        return replace(handmade, edits=edits, after=after.astype(np.uint64))

    def test_the_same_question_as_from_neurons_with_other_names(self, handmade, candidates):
        (plain,) = SOURCES[self.kind](handmade).candidates
        (logged,) = candidates
        assert logged.sides == tuple(i + 100 for i in plain.sides)
        assert (logged.sides_in, logged.cut) == ("after", ())
        assert logged.facts["side_voxels_in_view"] == plain.facts["side_voxels_in_view"]
        assert logged.combined_hash == plain.combined_hash

    def test_a_context_without_the_layer_is_refused(self, context):
        with pytest.raises(BadInputError, match=r"Give SampleContext\(after="):
            SOURCES[self.kind](replace(context, after=None))


class TestSplitEditOfACut(Handmade):
    """Sides that are sets of supervoxels, each five voxels long."""

    kind = "split_edit"

    @pytest.fixture
    def context(self, handmade):
        columns = np.indices(handmade.grid.shape)[2] // 5
        supervoxels = handmade.automatic * np.uint64(2) + columns.astype(np.uint64)
        volume = Agglomerated(handmade.automatic, supervoxels, handmade.neurons, handmade.grid)
        edits = cut_by_supervoxels(handmade.edits, volume, rules=handmade.rules.size)
        return replace(handmade, edits=edits, supervoxels=supervoxels)

    def test_the_sides_are_those_of_the_neurons_in_one_order_with_their_supervoxels(
        self, handmade, context, candidates
    ):
        (plain,) = SOURCES[self.kind](handmade).candidates
        (cut,) = candidates
        assert cut.sides == plain.sides
        assert cut.facts["side_voxels_in_view"] == plain.facts["side_voxels_in_view"]
        inside = context.automatic == TRIPLE
        for side, ids in zip(cut.sides, cut.cut, strict=True):
            held = inside & np.isin(context.supervoxels, np.array(ids, np.uint64))
            assert np.array_equal(held, inside & (context.neurons == side))


class TestAdjacentControl(Handmade):
    kind = "adjacent_control"

    def test_neighbour_of_the_merge_at_its_own_contact_with_the_parents_position(
        self, handmade, candidates
    ):
        (parent,) = handmade.edits.of_kind("merge")
        assert {tuple(sorted(c.segments)) for c in candidates} == {
            (WEST, NEIGHBOUR),
            (EAST, NEIGHBOUR),
        }
        for candidate in candidates:
            assert candidate.operation_id == parent.operation_id
            assert candidate.anchor_nm[1] == 2000 + 10 * 10
            assert candidate.position_nm == parent.point_nm
            metadata = candidate_metadata(candidate)
            assert metadata["adjacent_root"] == str(NEIGHBOUR)
            assert metadata["root_ids"] == [metadata["base_root"], str(NEIGHBOUR)]
            assert metadata["is_merge"] is True
            assert metadata["before_root_ids"] is metadata["after_root_ids"] is None

    def test_the_segmentation_just_before_the_merge_is_the_one_that_counts(self, handmade):
        (parent,) = handmade.edits.of_kind("merge")
        dated = replace(handmade.edits, ops=(replace(parent, timestamp=1_650_000_000),))
        for candidate in SOURCES[self.kind](replace(handmade, edits=dated)).candidates:
            assert candidate.facts["cutout_timestamp"] == 1_649_999_999
            assert candidate.facts["timestamp"] == 1_650_000_000

    def test_no_more_than_asked_for_and_the_rest_is_counted(self, handmade):
        for most, left in ((0, 2), (1, 1)):
            few = replace(handmade, rules=replace(handmade.rules, adjacent_per_merge=most))
            drawn = SOURCES[self.kind](few)
            assert len(drawn.candidates) == most
            assert drawn.excluded[f"adjacent_control: more than {most} for one merge"] == left

    def test_a_merge_whose_cube_holds_no_neighbour_is_named(self, handmade):
        small = replace(handmade, rules=replace(handmade.rules, adjacent_cube_nm=20))
        drawn = SOURCES[self.kind](small)
        assert drawn.candidates == ()
        assert drawn.excluded == {"adjacent_control: no neighbour within 20 nm": 1}

    @pytest.mark.parametrize("cube_nm", [120, 200, 500])
    def test_pairs_are_those_that_a_look_at_every_face_in_the_cube_finds(self, handmade, cube_nm):
        """The oracle: every pair of face-adjacent voxels of the cube, one by one."""
        (op,) = handmade.edits.of_kind("merge")
        rules = replace(handmade.rules, adjacent_cube_nm=cube_nm, adjacent_per_merge=99, size=LOOSE)
        drawn = SOURCES[self.kind](replace(handmade, rules=rules)).candidates
        centres = [
            handmade.grid.offset[a] + GRID_STEP[a] * (np.arange(n) + 0.5)
            for a, n in enumerate(handmade.grid.shape)
        ]
        near = [
            np.flatnonzero(abs(c - p) < (cube_nm + s) / 2)
            for c, p, s in zip(centres, op.point_nm, GRID_STEP, strict=True)
        ]
        cube = handmade.automatic[np.ix_(*near)]
        expected = set()
        for axis in range(3):
            one, two = (np.delete(cube, end, axis).ravel() for end in (-1, 0))
            for pair in set(zip(one.tolist(), two.tolist(), strict=True)):
                if (
                    0 not in pair
                    and len(set(pair)) == 2
                    and len(set(pair) & set(op.before_ids)) == 1
                ):
                    expected.add(tuple(sorted(pair)))
        assert {tuple(sorted(c.segments)) for c in drawn} == expected

    def test_a_pair_is_asked_about_once_though_two_merges_offer_it(self, fib25):
        candidates = SOURCES[self.kind](fib25).candidates
        pairs = [tuple(sorted(c.segments)) for c in candidates]
        assert len(set(pairs)) == len(pairs) > 1000
        per_merge = [c.operation_id for c in candidates]
        assert max(map(per_merge.count, set(per_merge))) == 3


class TestJunctionControl(Handmade):
    kind = "junction_control"

    def test_the_fork_is_found_where_it_is(self, handmade, candidates):
        (candidate,) = candidates
        assert candidate.segments == (FORKED,)
        z, y, x = handmade.grid.voxel_at(candidate.anchor_nm)
        assert abs(z - 20) <= 1
        assert abs(y - 45) <= 2
        # Between the crossing of the centre lines and the crotch, where the arms part.
        half_angle = np.arctan2(11, 26)
        assert 39 <= x <= 40 + 3.5 / np.sin(half_angle)
        assert candidate.facts["degree"] == 3

    def test_a_segment_that_holds_a_false_merge_is_never_a_junction(self, handmade):
        neurons = handmade.neurons.copy()
        fork = handmade.automatic == FORKED
        fork[..., :60] = False
        neurons[fork] = BIG + 17
        size = replace(handmade.rules.size, min_side_voxels=100, min_purity=0.6)
        rules = replace(handmade.rules, size=size, junction_min_purity=0.6)
        drawn = SOURCES[self.kind](replace(handmade, neurons=neurons, rules=rules))
        assert drawn.candidates == ()
        assert drawn.excluded["junction_control: segment holds a false merge"] == 1

    def test_a_branch_of_another_neuron_in_view_is_left_out(self, handmade):
        neurons = handmade.neurons.copy()
        arm = handmade.automatic == FORKED
        arm[:, :46] = arm[..., :46] = False
        neurons[arm] = BIG + 17
        overall = (neurons == BIG + 16).sum() / (handmade.automatic == FORKED).sum()
        size = replace(handmade.rules.size, min_purity=0.6)
        # The arm is a smaller share of the segment than of a close view of the fork.
        rules = replace(handmade.rules, size=size, junction_min_purity=overall - 0.01)
        for extent, kept in ((400, 1), (100, 0)):
            view = replace(rules, half_extent_nm=(extent, extent), jitter_nm=0.0)
            drawn = SOURCES[self.kind](replace(handmade, neurons=neurons, rules=view))
            assert len(drawn.candidates) == kept
            named = [
                reason for reason in drawn.excluded if reason.startswith("junction_control: view")
            ]
            assert len(named) == 1 - kept


class TestSynapseControl(Handmade):
    kind = "synapse_control"

    def test_partners_are_asked_about_at_the_cleft(self, candidates):
        assert len(candidates) == 2
        metadata = candidate_metadata(candidates[0])
        assert metadata["pre_pt_root_id"] == str(WEST)
        assert metadata["post_pt_root_id"] == str(NEIGHBOUR)
        assert metadata["synapse_ctr_pt_nm"] in ([3200, 2100, 1400], [3300, 2100, 1600])

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"pre_segment": 5}, "segment absent"),
            ({"center_nm": (0.0, 0.0, 0.0)}, "cleft outside the volume"),
            ({"post_segment": WEST}, "one segment on both sides"),
            ({"post_segment": EAST}, "same neuron"),
            ({"post_segment": TRIPLE}, "segment below 80% pure"),
            ({"pre_neuron": 5}, "segment belongs to a neuron that is not the partner"),
        ],
    )
    def test_what_cannot_be_asked_is_named(self, handmade, change, reason):
        synapse = replace(handmade.synapses[0], **change)
        drawn = SOURCES[self.kind](replace(handmade, synapses=(synapse,)))
        assert drawn.candidates == ()
        assert drawn.excluded == {f"synapse_control: {reason}": 1}


def test_a_and_b_are_exchanged_in_about_half_of_the_pairs(fib25):
    candidates = SOURCES["merge_edit"](fib25).candidates
    share = sum(c.swapped for c in candidates) / len(candidates)
    assert 0.45 < share < 0.55  # 3.5 standard deviations of 1,270 fair coins
    for candidate in candidates[:100]:
        natural = [int(i) for i in candidate.facts["root_ids"]]
        drawn = natural[::-1] if candidate.swapped else natural
        assert list(candidate.segments) == drawn


def test_views_follow_the_rules_extent_uniform_and_centre_normal(fib25):
    wide = replace(fib25, rules=SampleRules((400, 600), 50.0))
    candidates = SOURCES["merge_edit"](wide).candidates
    extents = [c.view_extent_nm for c in candidates]
    assert 400 <= min(extents) < 405
    assert 595 < max(extents) <= 600
    offsets = [
        c.render_center_nm[axis] - c.anchor_nm[axis] for c in candidates for axis in range(3)
    ]
    mean = sum(offsets) / len(offsets)
    spread = (sum(o * o for o in offsets) / len(offsets)) ** 0.5
    assert abs(mean) < 3 * 50 / len(offsets) ** 0.5
    assert 48 < spread < 52


@pytest.mark.slow
def test_fib25_gives_the_real_questions_that_the_design_expects(fib25):
    drawn = draw_candidates(fib25)
    # Design, section 3: "FIB-25 gives about 1,270 merges and 55 segments to split".
    assert 1200 <= drawn.counts["merge_edit"] <= 1340
    # 55 have two sides of 1,000 voxels; some of those are shells along a membrane.
    assert 40 <= drawn.counts["split_edit"] <= 55
    assert 1000 <= drawn.counts["adjacent_control"] <= 3 * drawn.counts["merge_edit"]
    assert 20 <= drawn.counts["junction_control"] <= 200
    assert drawn.counts["synapse_control"] == 0
    inside = fib25.grid.box
    assert all(inside.contains(Box.around(c.anchor_nm, 1)) for c in drawn.candidates)
