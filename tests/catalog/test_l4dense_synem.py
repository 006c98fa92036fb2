"""SynEM's cubes as a semantic data set: what a code means is told by the file, or by the record."""

import h5py
import numpy as np
import pytest

import segmend as sg
from segmend.catalog.fetching import fetch_files
from segmend.catalog.labels import VOCABULARY
from segmend.catalog.record import load_record
from segmend.core.errors import SchemaError
from segmend.testing.standins import l4dense_synem, write_standin

CLASSES = {
    "background": "background",
    "synapse": "synapse",
    "vesicle": "vesicle",
    "mitochondrion": "mitochondria",
}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """The stand-in with cubes 1, 2 and 7 fetched, as a path."""
    file = write_standin("l4dense2019-synem", tmp_path_factory.mktemp("synem"))
    loaded, place = load_record(str(file))
    for volume in ("cube-1", "cube-2", "cube-7"):
        fetch_files(loaded, place, volume=volume)
    return file


def whole(volume):
    return volume.read(volume.box).data


def expected(number):
    codes = l4dense_synem.cube_labels(number)
    table = np.zeros(256, np.uint8)
    for name, code in l4dense_synem.CODES.items():
        table[code] = VOCABULARY.index(CLASSES[name])
    return table[codes]


def label(record, number):
    return record.parent / load_record(str(record))[0].files[f"cube-{number}"].path


@pytest.fixture
def changed(record):
    """Changes the labels of cube 2 and opens its classes; the file is whole again afterwards."""
    path = label(record, 2)
    before = path.read_bytes()

    def changed(change):
        with h5py.File(path, "r+") as file:
            change(file["label"])
        return sg.open(str(record), volume="cube-2").classes

    yield changed
    path.write_bytes(before)


def without_names(codes):
    for name in list(codes.attrs):
        del codes.attrs[name]


@pytest.mark.parametrize("number", [1, 2, 7])
def test_every_class_of_a_cube_has_its_place_in_the_vocabulary(record, number):
    cube = sg.open(str(record), volume=f"cube-{number}")
    np.testing.assert_array_equal(whole(cube.image), l4dense_synem.cube(number).em)
    assert cube.image.grid.voxel_size == (28, 11.24, 11.24)
    classes = whole(cube.classes)
    np.testing.assert_array_equal(classes, expected(number))
    present = {VOCABULARY[value] for value in np.unique(classes)}
    assert present == {"background", "mitochondria", "vesicle", "synapse"}


def test_the_seven_cubes_are_volumes(record):
    loaded, _ = load_record(str(record))
    assert list(loaded.volumes) == [f"cube-{n}" for n in range(1, 8)]
    shipped, _ = load_record("l4dense2019-synem")
    shapes = [part.layers["labels"].shape for part in shipped.volumes.values()]
    assert shapes == [(120, 300, 300)] * 6 + [(256, 512, 512)]


def test_the_file_says_what_its_codes_mean(record, changed):
    def swap(codes):
        codes[...] = np.choose(codes[()] - 1, [1, 3, 2, 4]).astype(np.uint8)
        codes.attrs["synapse"], codes.attrs["vesicle"] = np.uint8(3), np.uint8(2)

    np.testing.assert_array_equal(whole(changed(swap)), expected(2))


def test_without_attributes_the_record_says_it(changed):
    np.testing.assert_array_equal(whole(changed(without_names)), expected(2))


def test_a_code_without_a_name_is_refused(changed):
    def unnamed(codes):
        codes[0, 0, 0] = 5

    with pytest.raises(SchemaError, match=r"holds values that are no class.*\[5\]"):
        whole(changed(unnamed))


def test_a_name_that_the_record_does_not_know_is_no_class(changed):
    def named(codes):
        codes.attrs["nucleus"] = np.uint8(5)

    def used(codes):
        codes[0, 0, 0] = 5

    np.testing.assert_array_equal(whole(changed(named)), expected(2))
    with pytest.raises(SchemaError, match=r"\[5\]"):
        whole(changed(used))


def test_names_that_say_nothing_or_two_things_are_refused(changed):
    def other(codes):
        without_names(codes)
        codes.attrs["level"] = np.uint8(4)

    def twice(codes):
        codes.attrs["synapse"] = np.uint8(4)

    with pytest.raises(SchemaError, match="nobody says what the codes"):
        changed(other)
    with pytest.raises(SchemaError, match="share a code"):
        changed(twice)


def test_a_cube_with_its_axes_the_other_way_round_is_refused(record):
    path = label(record, 7)
    before = path.read_bytes()
    with h5py.File(path, "r+") as file:
        turned = np.ascontiguousarray(file["em"][()].T)
        del file["em"]
        file["em"] = turned
    try:
        with pytest.raises(SchemaError, match="shape"):
            sg.open(str(record), volume="cube-7").image  # noqa: B018  opening is what fails
    finally:
        path.write_bytes(before)
