"""The contract every sample type keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import ClassVar

import pytest

from segmend.core.box import Box
from segmend.core.ids import id_strings
from segmend.core.sample import sample_type
from segmend.edits.operation import EditSet
from segmend.samples.candidate import Candidate
from segmend.samples.context import SampleContext
from segmend.samples.draw import SOURCES, Source
from segmend.samples.metadata import candidate_metadata

ADDED_BY_RENDER = frozenset(
    {"view_extent_nm", "pixel_size_nm", "em_center_nm", "em_pixel_size_nm", "em_coverage"}
)
"""Keys that only drawing a sample can know; a candidate must not claim them."""


class SampleTypeContract:
    """Subclass it, name the type, write the fixture, inherit the tests.

    The fixture ``context`` is a volume in which the type has at least one candidate.
    """

    kind: ClassVar[str]

    @pytest.fixture
    def context(self) -> SampleContext:
        """The volume to draw from."""
        raise NotImplementedError

    @pytest.fixture
    def source(self) -> Source:
        """The function under test; override it for a type that is not built in."""
        return SOURCES[self.kind]

    @pytest.fixture
    def candidates(self, context: SampleContext, source: Source) -> tuple[Candidate, ...]:
        """What it draws from the context, which must be something."""
        candidates = source(context).candidates
        assert candidates, f"the context of the contract has no {self.kind}"
        return candidates

    def test_candidates_are_of_the_type_and_named_after_the_context(
        self, context: SampleContext, candidates: tuple[Candidate, ...]
    ) -> None:
        """Kind, data set, version, volume and species are those asked for."""
        expected = (self.kind, *_names(context))
        assert {(c.kind, c.dataset, c.version, c.volume, c.species) for c in candidates} == {
            expected
        }

    def test_segments_are_distinct_automatic_segments_one_or_two_as_the_type_says(
        self, context: SampleContext, candidates: tuple[Candidate, ...]
    ) -> None:
        """A dual type shows two segments, any other one."""
        wanted = 2 if sample_type(self.kind).dual else 1
        for candidate in candidates:
            assert len(set(candidate.segments)) == len(candidate.segments) == wanted
            assert all(segment in context.overlaps for segment in candidate.segments)

    def test_the_label_is_true_of_the_neurons_shown(
        self, context: SampleContext, candidates: tuple[Candidate, ...]
    ) -> None:
        """One neuron where the type says so, several where it does not."""
        same = sample_type(self.kind).same_neuron
        for candidate in candidates:
            dominant = {context.overlaps[segment].dominant for segment in candidate.segments}
            assert (len({*dominant, *candidate.sides}) == 1) == same
            assert dominant | set(candidate.sides) <= set(candidate.neurons)
            assert candidate.cluster_id in candidate.neurons

    def test_every_segment_is_in_view(
        self, context: SampleContext, candidates: tuple[Candidate, ...]
    ) -> None:
        """The view cube around the jittered centre holds voxels of every segment."""
        for candidate in candidates:
            voxels = context.grid.to_voxels(candidate.view_cube).intersect(context.grid.voxels)
            assert voxels is not None
            shown = set(context.automatic[voxels.slices].ravel().tolist())
            assert shown.issuperset(candidate.segments)

    def test_anchors_lie_in_the_volume_and_extents_in_their_range(
        self, context: SampleContext, candidates: tuple[Candidate, ...]
    ) -> None:
        """What is drawn follows the rules of the context."""
        low, high = context.rules.half_extent_nm
        for candidate in candidates:
            assert _touches(context.grid.box, candidate.anchor_nm)
            assert low <= candidate.view_extent_nm <= high

    def test_drawing_again_gives_the_same_candidates(
        self, context: SampleContext, source: Source, candidates: tuple[Candidate, ...]
    ) -> None:
        """Nothing depends on the state of the process."""
        assert source(context).candidates == candidates

    def test_the_order_of_edits_and_synapses_does_not_matter(
        self, context: SampleContext, source: Source, candidates: tuple[Candidate, ...]
    ) -> None:
        """Reversing the inputs changes nothing."""
        edits = EditSet(context.edits.ops[::-1], context.edits.excluded)
        turned = replace(context, edits=edits, synapses=context.synapses[::-1])
        assert source(turned).candidates == candidates

    def test_another_seed_draws_other_views_of_the_same_questions(
        self, context: SampleContext, source: Source, candidates: tuple[Candidate, ...]
    ) -> None:
        """The seed moves the view; it is part of no key of an edit or a site."""
        other = source(replace(context, seed=context.seed + 1)).candidates
        before = {c.combined_hash: c.render_center_nm for c in candidates}
        shared = [c for c in other if c.combined_hash in before]
        assert shared
        assert all(c.render_center_nm != before[c.combined_hash] for c in shared)

    def test_candidates_survive_json(self, candidates: tuple[Candidate, ...]) -> None:
        """Ids and coordinates come back exactly."""
        for candidate in candidates:
            assert Candidate.from_json(json.loads(json.dumps(candidate.to_json()))) == candidate

    def test_metadata_is_json_and_claims_nothing_that_rendering_adds(
        self, candidates: tuple[Candidate, ...]
    ) -> None:
        """Ids are decimal strings, coordinates ``[x, y, z]``."""
        for candidate in candidates:
            metadata = json.loads(json.dumps(candidate_metadata(candidate)))
            assert ADDED_BY_RENDER.isdisjoint(metadata)
            assert metadata["segment_ids"] == id_strings(candidate.segments)
            assert set(metadata["root_ids"]) == set(metadata["segment_ids"])
            assert metadata["render_center_nm"] == list(candidate.render_center_nm[::-1])
            points = [v for k, v in metadata.items() if k.endswith("_point_nm") and v]
            assert all(len(point) == 3 for point in points)

    def test_everything_left_out_is_counted_under_the_type(
        self, context: SampleContext, source: Source
    ) -> None:
        """Reasons say which type they belong to."""
        excluded = source(context).excluded
        assert all(reason.startswith(f"{self.kind}: ") for reason in excluded)
        assert all(count > 0 for count in excluded.values())


def _names(context: SampleContext) -> tuple[str, str, str, str]:
    return context.dataset, context.version, context.volume, context.species


def _touches(box: Box, point: tuple[float, float, float]) -> bool:
    return all(a <= p <= b for a, p, b in zip(box.start, point, box.stop, strict=True))
