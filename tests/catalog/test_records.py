"""Every shipped record, and opening data sets by name."""

import h5py
import numpy as np
import pytest

import segmend as sg
from segmend.catalog.labels import VOCABULARY, LabelSpec, segment_ids
from segmend.catalog.record import load_record, record_names
from segmend.core.errors import BadInputError, ReadFailedError, SchemaError, UnknownNameError


@pytest.mark.parametrize("name", record_names())
def test_every_record_is_complete(name):
    record, _ = load_record(name)
    assert record.name == name
    assert record.title
    assert record.citation.strip()
    assert record.version
    assert record.licence.name or record.licence.state == "unstated"
    assert record.licence.source or record.licence.state == "unstated"
    for volume in record.volumes or {"": None}:
        layers = record.layers_of(record.version, volume)
        assert all(layer.doc for layer in layers.values())
        assert "image" in layers
    for overlap in record.overlaps:
        if overlap.dataset in record_names():  # a leak has two ends
            other, _ = load_record(overlap.dataset)
            assert name in {o.dataset for o in other.overlaps}
    assert all(d.endswith(".") for d in record.defects)


def test_real_tissue_opens_by_name(shared_data):
    fib25 = sg.open("fib25", path=shared_data / "fib25" / "fib25.h5")
    box = sg.Box.around((800, 1200, 1200), 100)
    assert fib25.image[box].shape == (10, 10, 10)
    assert fib25.labels["neurons"][box].dtype == np.uint64
    assert set(fib25.labels) == {"neurons", "automatic", "supervoxels"}
    assert fib25.fingerprint().startswith("sha256:")


def test_unknown_names_are_answered_with_the_nearest(shared_data):
    with pytest.raises(UnknownNameError, match="Did you mean 'fib25'"):
        sg.open("fib52")
    fib25 = sg.open("fib25", path=shared_data / "fib25" / "fib25.h5")
    with pytest.raises(UnknownNameError, match="Did you mean 'neurons'"):
        fib25.labels["neuron"]
    with pytest.raises(ReadFailedError, match="path="):
        sg.open("fib25").image  # noqa: B018  opening is what fails
    with pytest.raises(ReadFailedError, match="there is no file"):
        sg.open("fib25", path="nowhere.h5").image  # noqa: B018  opening is what fails
    with pytest.raises(BadInputError, match="no parameters"):
        sg.open("fib25", path="nowhere.h5", seed=1)


def test_synthetic_tissue_is_generated_once_and_carries_every_label_class(segmend_cache):
    shape = (40, 64, 64)
    tissue = sg.open("synthetic", shape=shape, false_merges=4)
    assert tissue.record.parameters == {"seed": 1}
    assert (
        tissue.fingerprint()
        == sg.open("synthetic", seed=1, shape=shape, false_merges=4).fingerprint()
    )
    assert tissue.fingerprint() != sg.open("synthetic", seed=2, shape=shape).fingerprint()
    assert tissue.image.grid.shape == shape
    assert set(tissue.labels) == {"neurons", "automatic", "clefts", "mitochondria", "classes"}
    for name in ("neurons", "automatic"):
        ids = tissue.segments(name)
        assert ids.dtype == np.uint64
        assert ids.min() > 2**53
    assert tissue.classes.read(tissue.classes.box).data.max() < len(VOCABULARY)
    assert all(isinstance(e.point_nm, tuple) for e in tissue.edits)
    neurons = set(np.unique(tissue.segments("neurons")).tolist())
    assert tissue.skeletons
    assert neurons & set(tissue.skeletons)
    for skeleton in tissue.skeletons.values():
        assert skeleton.nodes.shape == (len(skeleton.radius), 3)
    assert list(segmend_cache.glob("synthetic/*.h5"))


def test_unknown_parameters_of_synthetic_tissue_are_named():
    with pytest.raises(BadInputError, match="no parameter 'sede'"):
        sg.open("synthetic", sede=1)
    with pytest.raises(BadInputError, match="no path"):
        sg.open("synthetic", path="a.h5", seed=1)


OWN = """
name = "own"
title = "A volume of one's own"
species = "fly"
version = "1"
files.main.path = "own.h5"
citation = "None."
grid_origin_nm = [0, 0, 0]
licence = { state = "unstated" }
[layers.image]
key = "em"
doc = "EM"
[layers.automatic]
key = "labels"
doc = "Segmentation"
labels = { kind = "instance", background = 99, invalid = [18446744073709551614] }
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.toml").write_text(OWN)
    with h5py.File(tmp_path / "own.h5", "w") as file:
        labels = np.full((4, 4, 4), 99, np.uint64)
        labels[0], labels[1] = 2**64 - 2, 5
        for key, data in (("em", np.zeros((4, 4, 4), np.uint16)), ("labels", labels)):
            file[key] = data
            file[key].attrs["resolution"] = (10, 10, 10)
    return tmp_path / "own.toml"


def test_a_record_of_ones_own_opens_beside_its_file(own):
    dataset = sg.open(str(own))
    ids = dataset.segments("automatic")
    assert np.unique(ids).tolist() == [0, 5]  # background and invalid voxels are no ids
    assert dataset.edits == ()
    assert dataset.synapses == ()
    assert dataset.skeletons == {}


def test_an_image_that_is_not_uint8_is_refused(own):
    with pytest.raises(SchemaError, match="uint16"):
        sg.open(str(own)).image  # noqa: B018  opening is what fails


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "A volume of one\'s own"', "", "title"),
        ('species = "fly"', 'species = "fly"\nspeces = "fly"', "speces"),
        ('path = "own.h5"', 'pth = "own.h5"', "pth"),
        ("files.main", "files.other", "lies in the file 'main'"),
        ("[layers.image]", "[layers.picture]", "layer 'image'"),
        ('name = "own"', "name = ", "not a data set record"),
        ("background = 99", "background = -1", "-1 cannot be the value of a label"),
        ("18446744073709551614", "18446744073709551616", "not a data set record"),
        ('kind = "instance"', 'kind = "detect"', "largest of its classes"),
        ('kind = "instance"', 'kind = "semantic", classes = { one = "neuron" }', "'one' cannot be"),
        ('kind = "instance"', 'kind = "coded", codes = { neuron = -5 }', "-5 cannot be"),
        (
            'labels = { kind = "instance", background = 99, invalid = [18446744073709551614] }',
            'urls = ["https://a/b"]\nlabels = { kind = "semantic", names = { a = "neuron" } }',
            "looked up in a file",
        ),
    ],
)
def test_broken_records_are_named(own, old, new, message):
    own.write_text(OWN.replace(old, new))
    with pytest.raises(SchemaError, match=message):
        sg.open(str(own))
    with pytest.raises(SchemaError, match="there is no record"):
        sg.open("none.toml")


def test_label_meaning_is_applied_exactly():
    labels = np.array([0, 7, 2**64 - 1], np.uint64)
    spec = LabelSpec("instance", invalid=(2**64 - 1,))
    assert segment_ids(labels, spec, source="a").tolist() == [0, 7, 0]
    with pytest.raises(SchemaError, match="classes"):
        segment_ids(labels, LabelSpec("semantic"), source="a")
    with pytest.raises(SchemaError, match="uses 0 as a segment id"):
        segment_ids(labels, LabelSpec("instance", background=7), source="a")
