"""First numbers about a box, against slow references and cases that are known."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.catalog.exploration import (
    FITTING_VOXELS,
    Sizes,
    anisotropy,
    class_voxels,
    explored_box,
    explored_voxels,
    intensities,
    segment_sizes,
    size_histogram,
)
from segmend.catalog.labels import IGNORED
from segmend.core.box import Box, VoxelBox
from segmend.core.grid import VoxelGrid
from segmend.volumes.volume import Block, Coverage

SHAPES = st.tuples(*[st.integers(1, 200_000)] * 3)


def block(data, *absent):
    return Block(data, Coverage(data.shape, absent), VoxelGrid((1, 1, 1), (0, 0, 0), data.shape))


@given(SHAPES, st.integers(1, FITTING_VOXELS))
def test_the_explored_box_fits_lies_inside_and_is_as_large_as_one_length_allows(shape, most):
    box = explored_voxels(VoxelGrid((1, 1, 1), (0, 0, 0), shape), most)
    assert 0 < box.size <= most
    assert VoxelBox((0, 0, 0), shape).contains(box)
    for start, stop, n in zip(box.start, box.stop, shape, strict=True):
        assert abs(start - (n - stop)) <= 1, "it is in the middle"
    if math.prod(shape) <= most:
        assert box.shape == shape, "a volume that fits is taken whole"
    else:
        # One voxel more along every axis that was cut would be too many.
        grown = [min(m + 1, n) for m, n in zip(box.shape, shape, strict=True)]
        assert math.prod(grown) > most


def test_few_wide_sections_are_all_kept():
    grid = VoxelGrid((30, 6, 6), (0, 0, 0), (100, 1024, 1024))
    assert explored_voxels(grid).shape[0] == 100


def test_the_explored_box_lies_in_the_middle_of_the_part_that_is_meant():
    grid = VoxelGrid((40, 8, 8), (1000, 80, 80), (1000, 5000, 5000))
    part = Box((21_000, 8080, 8080), (25_000, 16_080, 16_080))
    box = explored_box(grid, part)
    assert part.contains(box)
    np.testing.assert_allclose(box.center, part.center, atol=20, err_msg="to half a voxel")
    assert grid.to_voxels(box, "exact").size <= FITTING_VOXELS


def test_anisotropy_is_z_over_the_mean_of_the_others():
    assert anisotropy(VoxelGrid((30, 8, 4), (0, 0, 0), (1, 1, 1))) == 5


@settings(max_examples=50)
@given(st.data())
def test_counts_leave_absent_voxels_out(data):
    shape = data.draw(st.tuples(*[st.integers(1, 6)] * 3))
    values = data.draw(st.lists(st.integers(0, 3), min_size=math.prod(shape), max_size=216))
    array = np.array(values[: math.prod(shape)]).reshape(shape)
    cut = data.draw(st.integers(0, shape[0]))
    absent = [VoxelBox((0, 0, 0), (cut, *shape[1:]))] if cut else []
    left = array[cut:].ravel().tolist()

    grey = intensities(block(array.astype(np.uint8), *absent))
    assert grey.tolist() == [left.count(v) for v in range(256)]
    ids = np.array([0, 7, 2**63, 2**64 - 1], np.uint64)[array]
    sizes = segment_sizes(ids, block(ids, *absent))
    assert sizes.nothing == left.count(0)
    expected = {int(i): left.count(v) for v, i in ((1, 7), (2, 2**63), (3, 2**64 - 1))}
    found = dict(zip(sizes.ids.tolist(), sizes.voxels.tolist(), strict=True))
    assert found == {i: n for i, n in expected.items() if n}
    assert sizes.largest(2) == sorted(found.items(), key=lambda item: (-item[1], item[0]))[:2]


def test_classes_are_named_and_ignored_voxels_are_no_background():
    classes = np.array([[[0, 1, 1, 4, IGNORED]]], np.uint8)
    assert class_voxels(block(classes)) == {
        "background": 1, "neuron": 2, "cleft": 0, "mitochondria": 0, "mito_boundary": 1,
        "vesicle": 0, "synapse": 0,
        "ignored": 1,
    }  # fmt: skip
    assert "ignored" not in class_voxels(block(classes[..., :4]))


@given(st.lists(st.integers(1, 10**6), max_size=30))
def test_the_size_distribution_holds_every_segment_once(voxels):
    ids = np.arange(1, len(voxels) + 1, dtype=np.uint64)
    edges, counts = size_histogram(Sizes(ids, np.array(voxels, np.int64), 0))
    assert counts.sum() == len(voxels)
    assert edges[0] == 1
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        assert count == sum(low <= v < high for v in voxels)
    np.testing.assert_allclose(edges[1:] / edges[:-1], 10**0.25)
