"""CREMI's offset encoding, and mitochondria as instances."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from segmend.catalog.labels import class_values
from segmend.catalog.offset_codes import (
    OFFSET_CODES,
    OffsetLayers,
    decode_offsets,
    encode_offsets,
    mito_instances,
)
from segmend.core.errors import BadInputError, SchemaError
from segmend.core.ids import relabel_dense


def layers(neurons, clefts, mitochondria):
    return OffsetLayers(*(np.array(v, np.uint64) for v in (neurons, clefts, mitochondria)))


def test_codes_are_those_of_the_first_documents():
    codes = encode_offsets(
        layers([0, 1, 999_999, 5, 5, 5], [0, 0, 0, 1, 999_999, 7], [0, 0, 0, 0, 0, 3])
    )
    assert codes.tolist() == [0, 1, 999_999, 1_000_001, 1_999_999, 2_000_003]
    classes = class_values(codes, OFFSET_CODES, source="codes")
    assert classes.tolist() == [0, 1, 1, 2, 2, 3]


SMALL = st.integers(0, 999_999)


@given(st.data())
def test_only_what_lies_beneath_another_layer_is_lost(data):
    shape = data.draw(array_shapes(max_dims=3, max_side=4))
    neurons, clefts = (data.draw(arrays(np.uint64, shape, elements=SMALL)) for _ in range(2))
    largest = 2**64 - 1 - 2_000_000
    mitochondria = data.draw(arrays(np.uint64, shape, elements=st.integers(0, largest)))
    found = decode_offsets(encode_offsets(OffsetLayers(neurons, clefts, mitochondria)))
    np.testing.assert_array_equal(found.mitochondria, mitochondria)
    np.testing.assert_array_equal(found.clefts, np.where(mitochondria > 0, 0, clefts))
    hidden = (mitochondria > 0) | (clefts > 0)
    np.testing.assert_array_equal(found.neurons, np.where(hidden, 0, neurons))


@pytest.mark.parametrize(("place", "largest"), [(0, 999_999), (1, 999_999), (2, 2**64 - 2_000_001)])
def test_ids_that_do_not_fit_are_refused_until_they_are_dense(place, largest):
    ids = [np.zeros(2, np.uint64) for _ in range(3)]
    ids[place] = np.array([largest, 0], np.uint64)
    encode_offsets(OffsetLayers(*ids))
    ids[place][0] += 1
    with pytest.raises(BadInputError, match="relabel_dense"):
        encode_offsets(OffsetLayers(*ids))
    dense, table = relabel_dense(ids[place])
    ids[place] = dense.astype(np.uint64)
    back = decode_offsets(encode_offsets(OffsetLayers(*ids)))
    found = (back.neurons, back.clefts, back.mitochondria)[place]
    assert table[found.astype(np.int64)].tolist() == [largest + 1, 0]


def test_what_is_no_such_volume_is_refused():
    with pytest.raises(BadInputError, match="one shape"):
        encode_offsets(layers([1], [1, 2], [1]))
    for offset in (1_000_000, 2_000_000):
        with pytest.raises(SchemaError, match=f"{offset} is an offset"):
            decode_offsets(np.array([offset]))
    with pytest.raises(BadInputError, match="must be integers"):
        decode_offsets(np.array([1.5]))


def test_the_boundary_keeps_touching_mitochondria_apart():
    classes = np.zeros((3, 4, 7), np.uint8)
    classes[1, 1:3, 1:6] = 3
    assert mito_instances(classes).max() == 1
    classes[1, 1:3, 3] = 4
    ids = mito_instances(classes)
    assert ids.dtype == np.uint64
    assert ids[1, 1].tolist() == [0, 1, 1, 0, 2, 2, 0]
    assert not ids[classes != 3].any()


@given(arrays(np.uint8, (4, 5, 6), elements=st.integers(0, 4)))
def test_instances_are_the_parts_that_hang_together_through_faces(classes):
    ids = mito_instances(classes)
    expected, count = scipy.ndimage.label(classes == 3)
    assert np.unique(ids[ids > 0]).tolist() == list(range(1, count + 1))
    pairs = np.unique(np.stack([ids.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(ids))  # one part, one id


def test_instances_need_a_volume_of_classes():
    with pytest.raises(BadInputError, match="float64"):
        mito_instances(np.zeros((2, 2, 2)))
    with pytest.raises(BadInputError, match=r"shape \(2, 2\)"):
        mito_instances(np.zeros((2, 2), np.uint8))
