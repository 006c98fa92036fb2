"""Boxes against a slow reference: sets of integer points."""

import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmend.core.box import Box, VoxelBox
from segmend.core.errors import BadInputError

corner = st.tuples(*[st.integers(-4, 4)] * 3)
pairs = st.tuples(corner, corner)


def voxel_box(pair):
    a, b = pair
    low = tuple(map(min, a, b))
    return VoxelBox(low, tuple(map(max, a, b)))


def points(box):
    return set(itertools.product(*(range(a, b) for a, b in zip(box.start, box.stop, strict=True))))


@given(pairs, pairs)
def test_voxel_boxes_behave_as_sets_of_voxels(p, q):
    a, b = voxel_box(p), voxel_box(q)
    common = a.intersect(b)
    assert (points(common) if common else set()) == points(a) & points(b)
    assert a.size == len(points(a))
    if points(b):
        assert a.contains(b) == (points(b) <= points(a))


@given(pairs, corner)
def test_shift_moves_every_voxel(p, by):
    box = voxel_box(p)
    moved = {tuple(c + d for c, d in zip(point, by, strict=True)) for point in points(box)}
    assert points(box.shift(by)) == moved


@given(pairs, pairs)
def test_boxes_in_nm_behave_as_their_voxels(p, q):
    a, b = voxel_box(p), voxel_box(q)
    if not a.size or not b.size:
        return
    box_a, box_b = Box(a.start, a.stop), Box(b.start, b.stop)
    common, expected = box_a.intersect(box_b), a.intersect(b)
    assert (common and (common.start, common.stop)) == (
        expected and (tuple(map(float, expected.start)), tuple(map(float, expected.stop)))
    )
    assert box_a.contains(box_b) == a.contains(b)
    for point in points(b):
        assert box_a.contains_point(point) == (point in points(a))


def test_faces_are_half_open():
    box = Box((0, 0, 0), (1, 1, 1))
    assert box.contains_point((0, 0, 0))
    assert not box.contains_point((1, 0, 0))


def test_around_is_centred_and_exact_to_the_picometre():
    box = Box.around((100, 200, 300.5), 50)
    assert box.center == (100, 200, 300.5)
    assert box.size == (50, 50, 50)
    assert Box((0, 0, 0), (11.24, 1, 1)) == Box((0, 0, 0), (11.2400001, 1, 1))


def test_growing_and_shifting_undo_themselves():
    box = Box((1.5, 2, 3), (10, 20, 30))
    assert box.grow(1.25).grow(-1.25) == box
    assert box.shift((1, -2, 3)).shift((-1, 2, -3)) == box
    assert pickle.loads(pickle.dumps(box)) == box


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        ((0, 0, 0), (0, 1, 1)),
        ((0, 0, 5), (1, 1, 4)),
        ((0, 0), (1, 1)),
        ((float("nan"), 0, 0), (1, 1, 1)),
        ((0, 0, 0), (float("inf"), 1, 1)),
    ],
)
def test_impossible_boxes_are_refused(start, stop):
    with pytest.raises(BadInputError):
        Box(start, stop)


def test_voxel_box_that_stops_before_it_starts_is_refused():
    with pytest.raises(BadInputError, match="stop before it starts"):
        VoxelBox((0, 0, 1), (1, 1, 0))
