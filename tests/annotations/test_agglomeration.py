"""Mapping supervoxels to neurites equals a dictionary, the truth of the tissue, and numpy."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.annotations import agglomeration as module
from segmend.annotations.agglomeration import Agglomeration, stack
from segmend.annotations.columns import Categories, Lists
from segmend.annotations.neurites import read_axons, read_dendrites
from segmend.core.errors import BadInputError, SegmentNotFoundError


def made(lists, **more):
    return Agglomeration.of_lists(Lists.of_arrays([np.array(x, np.uint64) for x in lists]), **more)


ids = st.integers(1, 40) | st.integers(2**53, 2**64 - 1)


@st.composite
def agglomerates(draw):
    supervoxels = draw(st.lists(ids, unique=True, max_size=30))
    lists = [[] for _ in range(draw(st.integers(1, 5)))]
    for supervoxel in supervoxels:
        lists[draw(st.integers(0, len(lists) - 1))].append(supervoxel)
    return lists


@settings(deadline=None)  # the first example may compile
@given(agglomerates(), st.lists(ids | st.just(0), max_size=60))
def test_relabelling_equals_a_dictionary(lists, labels):
    table = {s: number for number, inside in enumerate(lists, 1) for s in inside}
    agglomeration = made(lists)
    array = np.array(labels, np.uint64)
    expected = [table.get(label, 0) for label in labels]
    assert agglomeration.relabel(array).tolist() == expected
    assert agglomeration.neurite_of(array).tolist() == expected
    lowest = agglomeration.with_lowest_supervoxels()
    kept = [min(lists[table[label] - 1]) if label in table else label for label in labels]
    assert lowest.relabel(array, keep_others=True).tolist() == kept


@pytest.mark.parametrize("dtype", ["u1", "u4", ">u4", "i8", "u8"])
def test_any_integer_labels_give_uint64_of_their_shape(dtype):
    labels = np.arange(24).reshape(2, 3, 4).astype(dtype)[::-1, :, ::2]
    mapped = made([[3, 4], [5, 20]]).relabel(labels)
    assert mapped.dtype == np.uint64
    expected = np.select([np.isin(labels, [3, 4]), np.isin(labels, [5, 20])], [1, 2], 0)
    np.testing.assert_array_equal(mapped, expected)


def test_ids_that_share_a_place_in_the_cache_are_told_apart():
    """Far more ids than the mapping keeps, in an order that returns to each."""
    rng = np.random.default_rng(2)
    every = np.unique(rng.integers(1, 2**63, 400_000, dtype=np.uint64))
    agglomeration = made([every[::3], every[1::3]])
    labels = np.concatenate([every, every[::-1], every])
    place = np.searchsorted(every, labels) % 3
    np.testing.assert_array_equal(agglomeration.relabel(labels), np.array([1, 2, 0])[place])


def test_mapping_on_the_fly_equals_the_published_mapped_segmentation(matlab):
    parts = [
        read_axons(matlab.folder / "axons.hdf5").agglomeration(),
        read_dendrites(matlab.folder / "dendrites.hdf5").agglomeration(),
    ]
    every = stack(parts).with_lowest_supervoxels()
    mapped = every.relabel(matlab.truth.supervoxels, keep_others=True)
    np.testing.assert_array_equal(mapped, matlab.truth.mapped)
    assert len(np.unique(mapped)) < len(np.unique(matlab.truth.supervoxels))


def test_stacked_neurites_follow_one_another():
    both = stack([made([[1, 2], []]), made([[9], [7]])])
    assert both.ids.tolist() == [1, 2, 3, 4]
    assert both.neurite_of([1, 7, 9]).tolist() == [1, 4, 3]


def test_classes_and_neurons_follow_their_neurites():
    classes = Categories(np.array([2, 1, 2], np.uint8), {1: "soma", 2: "smooth"})
    agglomeration = made([[30, 31], [10], [20]], classes=classes, neuron_ids=np.array([0, 7, 8]))
    assert [agglomeration.class_of(i) for i in (1, 2, 3)] == ["smooth", "soma", "smooth"]
    lowest = agglomeration.with_lowest_supervoxels()
    assert lowest.ids.tolist() == [10, 20, 30]
    assert [lowest.class_of(i) for i in (10, 20, 30)] == ["soma", "smooth", "smooth"]
    assert [lowest.neuron_of(i) for i in (10, 20, 30)] == [7, 8, 0]
    assert lowest.supervoxels_of(30).tolist() == [30, 31]


def test_a_neurite_that_does_not_exist_is_named():
    with pytest.raises(SegmentNotFoundError, match="no neurite 3"):
        made([[1], [2]]).supervoxels_of(3)


def test_a_supervoxel_that_would_look_like_a_neurite_may_not_stay():
    with pytest.raises(BadInputError, match="supervoxel 2 belongs to no neurite"):
        made([[5], [6]]).relabel(np.array([5, 2], np.uint8), keep_others=True)
    assert made([[5], [6]]).relabel(np.array([5, 9], np.uint8), keep_others=True).tolist() == [1, 9]


@pytest.mark.parametrize(
    ("lists", "more", "message"),
    [
        ([[1, 2], [2]], {}, "supervoxel 2 belongs to neurites 1 and 2"),
        ([[1], [0]], {}, "neurite 2 names supervoxel 0"),
        ([[1], [2]], {"ids": np.array([4, 4])}, "must ascend"),
        ([[1], [2]], {"ids": np.array([0, 4])}, "must ascend"),
        ([[1], [2]], {"neuron_ids": np.array([4])}, "differ in length"),
    ],
)
def test_what_is_no_agglomeration_is_refused(lists, more, message):
    with pytest.raises(BadInputError, match=message):
        made(lists, **more)


def test_float_labels_are_refused():
    with pytest.raises(BadInputError, match="must be integers"):
        made([[1]]).relabel(np.ones(3))


@settings(deadline=None)
@given(st.data())
def test_dense_and_far_ids_map_alike_in_any_number_of_parts(data):
    near = data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=60, unique=True))
    far = data.draw(st.booleans())
    ids = np.array(near, np.uint64) + (np.uint64(2**60) if far else np.uint64(0))
    cut = data.draw(st.integers(0, len(ids)))
    made = Agglomeration.of_lists(Lists.of_arrays([ids[:cut], ids[cut:]]))
    assert bool(len(made.table)) is not far
    labels = np.concatenate([ids, ids + np.uint64(1), np.zeros(3, np.uint64)])
    out = np.empty(labels.shape, np.uint64)
    with patch.object(module, "PART", data.draw(st.integers(1, 200))):
        assert made.relabel(labels, out=out) is out
    np.testing.assert_array_equal(out, made.neurite_of(labels))


def test_neurites_with_ids_beyond_uint32_keep_them_in_the_table():
    made = Agglomeration.of_lists(Lists.of_arrays([[1], [2]]), ids=np.array([5, 2**63], np.uint64))
    assert made.relabel(np.array([2, 1, 0, 9], np.uint32)).tolist() == [2**63, 5, 0, 0]


@pytest.mark.parametrize("wrong", [np.empty(2, np.uint64), np.empty(3, np.uint32)])
def test_labels_are_not_mapped_into_an_array_that_does_not_fit(wrong):
    made = Agglomeration.of_lists(Lists.of_arrays([[1], [2]]))
    with pytest.raises(BadInputError, match=r"labels of shape \(3,\) cannot be mapped"):
        made.relabel(np.array([1, 2, 3], np.uint32), out=wrong)
