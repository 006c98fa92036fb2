"""Splits along supervoxels, on a block by hand."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.edits.operation import Identity
from segmend.edits.overlap import OverlapRules, overlap_edits
from segmend.edits.supervoxel_cut import Agglomerated, cut_by_supervoxels
from segmend.segments.contacts import find_contacts

BIG = 2**60
GRID = VoxelGrid((20, 10, 10), (0, 0, 0), (20, 20, 60))
RULES = OverlapRules(min_segment_voxels=100, min_side_voxels=500, min_side_radius_nm=0)
SEGMENT = BIG + 1


def block(borders, neurons_meet):
    """One segment of neurons 8 and 9, beside a segment of neuron 9 alone.

    Args:
        borders: Where along x one supervoxel ends and the next begins.
        neurons_meet: Where along x neuron 8 ends and 9 begins.
    """
    x = np.indices(GRID.shape)[2]
    automatic = np.where(x < 50, np.uint64(SEGMENT), np.uint64(BIG + 2))
    supervoxels = np.digitize(x, borders).astype(np.uint64) + np.uint64(BIG + 100)
    neurons = np.where(x < neurons_meet, np.uint64(8), np.uint64(9))
    return Agglomerated(automatic, supervoxels, neurons, GRID)


def edits_of(volume, rules=RULES):
    contacts = find_contacts(volume.automatic, GRID)
    identity = Identity("d", "1", "a")
    return overlap_edits(
        volume.automatic, volume.neurons, contacts, GRID, rules=rules, identity=identity
    )


def test_a_supervoxel_goes_with_the_side_that_holds_most_of_it():
    volume = block(borders=(10, 30, 50), neurons_meet=18)
    edits = edits_of(volume)
    cut = cut_by_supervoxels(edits, volume, rules=RULES)
    (op,) = cut.of_kind("split")
    # Of the supervoxel from 10 to 30 neuron 8 holds 8 columns and neuron 9 the other 12.
    assert op.after_ids == (8, 9)
    assert op.sides_in == "supervoxels"
    assert op.cut == ((BIG + 100,), (BIG + 101, BIG + 102))
    assert op.side_ids == op.cut
    # The sides touch at x = 100 nm, no longer where the neurons do.
    assert abs(op.point_nm[2] - 100) <= 10
    assert op.facts["contact_faces"] == 20 * 20
    assert cut.of_kind("merge") == edits.of_kind("merge")
    assert cut.excluded == edits.excluded


def test_a_false_merge_inside_one_supervoxel_cannot_be_cut():
    volume = block(borders=(50,), neurons_meet=25)
    edits = edits_of(volume)
    cut = cut_by_supervoxels(edits, volume, rules=RULES)
    assert len(edits.of_kind("split")) == 1
    assert cut.of_kind("split") == ()
    reason = "split: second side below 500 voxels of whole supervoxels"
    assert cut.excluded == edits.excluded + Counter([reason])


def test_a_side_whose_own_supervoxels_are_too_small_is_dropped():
    volume = block(borders=(1, 50), neurons_meet=4)
    cut = cut_by_supervoxels(edits_of(volume), volume, rules=RULES)
    assert cut.of_kind("split") == ()


def test_a_supervoxel_without_ground_truth_is_on_neither_side():
    volume = block(borders=(10, 20, 30, 50), neurons_meet=20)
    volume.neurons[:, :, 10:20] = 0
    # Then the sides do not touch: let neuron 9 reach neuron 8 beside the gap.
    volume.supervoxels[:, :5, 10:20] = BIG + 102
    volume.neurons[:, :5, 10:20] = 9
    (op,) = cut_by_supervoxels(edits_of(volume), volume, rules=RULES).of_kind("split")
    assert op.cut == ((BIG + 100,), (BIG + 102, BIG + 103))


@pytest.mark.parametrize(
    ("sides_in", "cut", "message"),
    [
        ("neurons", ((1,), (2,)), "the sides are in 'neurons'"),
        ("after", ((1,), (2,)), "the sides are in 'after'"),
        ("supervoxels", (), "that many sets"),
        ("supervoxels", ((1,), (2,), (3,)), "that many sets"),
        ("supervoxels", ((1,), ()), "none of them empty"),
        ("supervoxels", ((1, 2), (2,)), "2 is named more than once"),
        ("supervoxels", ((0,), (2,)), "0 is none"),
        ("supervoxels", ((1.0,), (2,)), "whole number"),
    ],
)
def test_an_edit_with_a_cut_that_is_none_is_refused(sides_in, cut, message):
    (op,) = edits_of(block(borders=(50,), neurons_meet=25)).of_kind("split")
    with pytest.raises(BadInputError, match=message):
        replace(op, sides_in=sides_in, cut=cut)
