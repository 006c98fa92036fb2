"""Overlap by blocks gives the whole volume's answer, whatever the blocks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segmend.core.errors import ReadFailedError
from segmend.core.grid import VoxelGrid
from segmend.edits.block_survey import Compared
from segmend.edits.operation import EditOp, Identity
from segmend.edits.overlap import OverlapRules, overlap_edits
from segmend.edits.overlap_blocks import overlap_edits_by_blocks
from segmend.segments.contacts import find_contacts

IDENTITY = Identity("handmade", "1", "a")
LOW = OverlapRules(
    min_segment_voxels=2,
    min_purity=0.51,
    min_contact_faces=2,
    min_side_voxels=3,
    min_side_radius_nm=11,
)


def by_blocks(automatic, neurons, grid, block, rules):
    compared = Compared(
        lambda box: automatic[box.slices], lambda box: neurons[box.slices], grid, block
    )
    found = list(overlap_edits_by_blocks(compared, rules=rules, identity=IDENTITY))
    ops = [one for one in found if isinstance(one, EditOp)]
    return ops, Counter(one.reason for one in found if not isinstance(one, EditOp))


def whole(automatic, neurons, grid, rules):
    contacts = find_contacts(automatic, grid)
    return overlap_edits(automatic, neurons, contacts, grid, rules=rules, identity=IDENTITY)


def bare(op):
    return replace(op, source_points_nm=(), sink_points_nm=())


def check(automatic, neurons, grid, block, rules):
    expected = whole(automatic, neurons, grid, rules)
    ops, excluded = by_blocks(automatic, neurons, grid, block, rules)
    assert [bare(op) for op in ops] == list(expected.ops)
    assert excluded == expected.excluded
    for op in ops:
        sides = [neurons if op.kind == "split" else automatic for _ in range(2)]
        clicks = [*op.source_points_nm, *op.sink_points_nm]
        at = {int(s[grid.voxel_at(c)]) for s, c in zip(sides, clicks, strict=True)}
        assert len(at) == 2
        assert at <= set(op.before_ids if op.kind == "merge" else op.after_ids)


SHAPE = (6, 7, 8)


@settings(max_examples=60, deadline=None)
@given(
    automatic=hnp.arrays(np.uint64, SHAPE, elements=st.integers(0, 3)),
    neurons=hnp.arrays(np.uint64, SHAPE, elements=st.integers(0, 2)),
    coarse=st.tuples(*[st.integers(1, 3)] * 3),
    block=st.tuples(*[st.integers(1, 8)] * 3),
    size=st.tuples(*[st.sampled_from([10, 25])] * 3),
)
def test_any_blocks_give_the_answer_of_the_whole(automatic, neurons, coarse, block, size):
    # Voxels in lumps, so that sides are thick and contacts curved.
    for axis, step in enumerate(coarse):
        take = np.arange(SHAPE[axis]) // step
        automatic = np.take(automatic, take, axis)
        neurons = np.take(neurons, take, axis)
    automatic = automatic * np.uint64(2**62)
    check(automatic, neurons, VoxelGrid(size, (0, 30, 0), SHAPE), block, LOW)


@pytest.mark.parametrize("block", [(48, 128, 128), (20, 50, 33), (7, 128, 64)])
def test_tissue_by_blocks_is_tissue_as_a_whole(tissue, block):
    grid = tissue.labels["neurons"].grid
    automatic, neurons = tissue.segments("automatic"), tissue.segments("neurons")
    rules = OverlapRules(min_segment_voxels=100, min_side_voxels=200)
    assert whole(automatic, neurons, grid, rules).of_kind("split")
    check(automatic, neurons, grid, block, rules)


def test_a_block_that_cannot_be_read_fails_the_whole():
    def broken(box):
        raise ReadFailedError("gone", found="", reason="missing", url="x")

    grid = VoxelGrid((1, 1, 1), (0, 0, 0), (4, 4, 4))
    with pytest.raises(ReadFailedError, match="gone"):
        list(
            overlap_edits_by_blocks(
                Compared(broken, broken, grid, (2, 2, 2)), rules=LOW, identity=IDENTITY
            )
        )
