"""One meaning for the labels of every data set: classes computed on reading."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segmend.catalog.classes import class_volume, detected
from segmend.catalog.labels import IGNORED, UNION, VOCABULARY, LabelSpec, class_values
from segmend.core.box import VoxelBox
from segmend.core.errors import GridMismatchError, SchemaError, UnknownNameError
from segmend.volumes.drivers.memory import from_array

SENTINEL, UNLABELLED = 2**64 - 1, 2**64 - 2
NEURON, CLEFT, MITOCHONDRIA, BOUNDARY = 1, 2, 3, 4
CREMI = LabelSpec("coded", codes={"neuron": 1, "cleft": 1_000_000, "mitochondria": 2_000_000})
MITOEM = {"0": "background", "1": "mitochondria", "2": "mito_boundary"}


def volume(values, dtype=np.uint64, voxel=(10, 10, 10)):
    return from_array(np.array(values, dtype).reshape(1, 1, -1), voxel, source="labels")


def whole(classes):
    return classes.read(classes.box).data.ravel().tolist()


def test_offset_codes_are_told_apart_at_their_edges():
    values = np.array([0, 1, 999_999, 1_000_000, 1_999_999, 2_000_000, 2**40], np.uint64)
    assert class_values(values, CREMI, source="a").tolist() == [
        0, NEURON, NEURON, CLEFT, CLEFT, MITOCHONDRIA, MITOCHONDRIA
    ]  # fmt: skip


def test_layers_lie_over_each_other_as_in_the_offset_codes():
    neurons = volume([0, 7, 7, 2**60, 7])
    clefts = volume([SENTINEL, SENTINEL, 3, SENTINEL, UNLABELLED])
    layers = {
        "clefts": (
            clefts,
            LabelSpec("instance", background=SENTINEL, invalid=(UNLABELLED,), as_class="cleft"),
        ),
        "neurons": (neurons, LabelSpec("instance", as_class="neuron")),
        "automatic": (neurons, LabelSpec("instance")),
    }
    classes = class_volume("x", layers)
    assert classes.dtype == np.uint8
    assert whole(classes) == [0, NEURON, CLEFT, NEURON, IGNORED]


@pytest.mark.parametrize(("ignored_as", "value"), [("background", 0), ("ignored", IGNORED)])
def test_unwanted_classes_become_background_or_ignored_by_name(ignored_as, value):
    layers = {"labels": (volume([0, 1, 2], np.uint8), LabelSpec("semantic", classes=MITOEM))}
    assert whole(class_volume("x", layers)) == [0, MITOCHONDRIA, BOUNDARY]
    wanted = class_volume("x", layers, ignore={"mito_boundary"}, ignored_as=ignored_as)
    assert whole(wanted) == [0, MITOCHONDRIA, value]
    with pytest.raises(UnknownNameError, match="Did you mean 'mito_boundary'"):
        class_volume("x", layers, ignore={"mito_boundry"})


def test_a_release_of_unknown_kind_is_decided_by_its_values():
    spec = LabelSpec("detect", as_class="mitochondria", classes=MITOEM)
    assert detected(volume([0, 1, 2], np.uint8), spec).kind == "semantic"
    assert detected(volume([0, 1, 3], np.uint8), spec).kind == "instance"
    ids = volume([0, 1, 2**40])
    assert whole(class_volume("x", {"a": (ids, detected(ids, spec))})) == [0, 3, 3]


def test_a_stored_layer_without_classes_holds_the_union_label_map_and_no_later_class():
    stored = LabelSpec("semantic")
    everything = np.arange(len(UNION))
    assert class_values(everything, stored, source="a").tolist() == everything.tolist()
    with pytest.raises(SchemaError, match=r"\[5\]; known: \[0, 1, 2, 3, 4\]"):
        class_values(np.array([VOCABULARY.index("vesicle")]), stored, source="a")


def test_values_without_a_class_are_named():
    with pytest.raises(SchemaError, match=r"\[9\]; known: \[0, 1, 2\]"):
        class_values(np.array([0, 9]), LabelSpec("semantic", classes=MITOEM), source="a")


def test_what_cannot_be_a_class_volume_is_refused():
    plain = (volume([1]), LabelSpec("instance"))
    with pytest.raises(SchemaError, match="says anything of the common classes"):
        class_volume("x", {"automatic": plain})
    named = LabelSpec("instance", as_class="neuron")
    layers = {"a": (volume([1]), named), "b": (volume([1], voxel=(5, 5, 5)), named)}
    with pytest.raises(GridMismatchError):
        class_volume("x", layers)


@given(
    arrays(np.uint64, (3, 4, 5), elements=st.integers(0, 2**64 - 1)),
    arrays(np.uint64, (3, 4, 5), elements=st.sampled_from([SENTINEL, UNLABELLED, 0, 5])),
)
def test_classes_of_a_box_are_the_box_of_the_classes(neurons, clefts):
    spec = LabelSpec("instance", background=SENTINEL, invalid=(UNLABELLED,), as_class="cleft")
    layers = {
        "neurons": (from_array(neurons, (10, 10, 10)), LabelSpec("instance", as_class="neuron")),
        "clefts": (from_array(clefts, (10, 10, 10)), spec),
    }
    classes = class_volume("x", layers)
    expected = np.where(neurons > 0, NEURON, 0)
    expected = np.where((clefts != SENTINEL) & (clefts != UNLABELLED), CLEFT, expected)
    expected = np.where(clefts == UNLABELLED, IGNORED, expected)
    found = classes.read(classes.box).data
    np.testing.assert_array_equal(found, expected)
    part = VoxelBox((1, 0, 2), (3, 3, 4))
    np.testing.assert_array_equal(classes.read_voxels(part).data, found[part.slices])
