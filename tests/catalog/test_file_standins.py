"""Every data set of files, fetched and opened through its real path, on its stand-in."""

import h5py
import numpy as np
import pytest

import segmend as sg
from segmend.catalog.fetching import fetch_files
from segmend.catalog.labels import IGNORED
from segmend.catalog.record import load_record, record_names
from segmend.core.box import VoxelBox
from segmend.core.errors import ReadFailedError, SchemaError, UnknownNameError
from segmend.testing.standins import WRITERS, cremi, fib25, l4dense, nnunet, snemi, write_standin
from segmend.testing.standins.__main__ import main
from segmend.testing.standins.derived import tissue

MITOEM = [name for name in WRITERS if name.startswith("mitoem2-")]


def fetched(name, folder, **asked):
    """The derived record of a stand-in, after its files were fetched to where it looks for them."""
    file = write_standin(name, folder)
    record, place = load_record(str(file))
    fetch_files(record, place, **asked)
    return str(file)


def whole(volume):
    return volume.read(volume.box).data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("standins")


def test_every_record_of_files_has_a_stand_in():
    for name in record_names():
        record, _ = load_record(name)
        if record.files:
            assert name in WRITERS


def test_snemi3d_as_tiff_and_as_hdf5(folder):
    file = fetched("snemi3d", folder, volume="all")
    made = tissue(4, snemi.SHAPE, snemi.VOXEL_SIZE)
    truth = np.where(made.classes == 0, 0, made.neurons)
    train = sg.open(file)
    assert train.volume == "ac4"
    np.testing.assert_array_equal(whole(train.image), made.em)
    assert train.labels["neurons"].dtype == np.uint16
    assert train.image.grid.voxel_size == (30, 6, 6)
    ids = train.segments("neurons")
    pairs = np.unique(np.stack([ids.ravel(), truth.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(truth)) == len(np.unique(ids))
    np.testing.assert_array_equal(whole(train.classes), truth > 0)

    same = sg.open(file, volume="ac4-h5")
    np.testing.assert_array_equal(whole(same.image), made.em)
    np.testing.assert_array_equal(same.segments("neurons"), ids)
    test = sg.open(file, volume="ac3")
    assert not test.labels
    labelled, hdf5 = (sg.open(file, volume=v) for v in ("ac3-mirror", "ac3-h5"))
    for volume in (labelled, hdf5):
        np.testing.assert_array_equal(whole(volume.image), whole(test.image))
    np.testing.assert_array_equal(labelled.segments("neurons"), hdf5.segments("neurons"))
    roles = {name: part.role for name, part in train.record.volumes.items()}
    assert roles["ac4"] == "train"
    assert roles["ac3"] == "test"


@pytest.mark.parametrize("name", ["cremi-a", "cremi-b", "cremi-c"])
def test_cremi_cropped_padded_realigned_and_the_test_images(folder, name):
    file = fetched(name, folder, volume="all")
    made = tissue(cremi.SEEDS[name], cremi.PADDED_SHAPE, cremi.VOXEL_SIZE)
    written = cremi.labels_of(made)
    unlabelled = written["clefts"] == 2**64 - 2
    is_cleft = (written["clefts"] != 2**64 - 1) & ~unlabelled
    assert is_cleft.any()
    classes = np.where(is_cleft, 2, np.where(written["neuron_ids"] > 0, 1, 0))
    classes[unlabelled] = IGNORED
    for volume in ("cropped", "padded"):
        opened = sg.open(file, volume=volume)
        np.testing.assert_array_equal(opened.segments("neurons"), written["neuron_ids"])
        clefts = opened.segments("clefts")
        np.testing.assert_array_equal(clefts, np.where(is_cleft, written["clefts"], 0))
        np.testing.assert_array_equal(whole(opened.classes), classes)
        # The image of the labelled part is the same in both: their offset says where it is.
        image = opened.image[opened.labels["neurons"].box]
        np.testing.assert_array_equal(image, made.em[cremi.CROPPED.slices])
        assert opened.image.grid.voxel_size == (40, 4, 4)
    assert opened.image.grid.shape == cremi.PADDED_SHAPE
    assert opened.labels["clefts"].box.start == (3 * 40, 10 * 4, 12 * 4)
    realigned = sg.open(file, volume="realigned")
    np.testing.assert_array_equal(realigned.segments("neurons"), written["neuron_ids"])
    for volume, shape in (("test", cremi.CROPPED.shape), ("test-padded", cremi.PADDED_SHAPE)):
        hidden = sg.open(file, volume=volume)
        assert hidden.image.grid.shape == shape
        assert not hidden.labels


def test_the_stand_in_of_cremi_has_what_else_its_format_has(folder):
    place = write_standin("cremi-a", folder).parent / "published" / "sample_A_padded_20160501.hdf"
    with h5py.File(place) as file:
        assert file.attrs["file_format"] == "0.2"
        annotations = file["annotations"]
        partners = annotations["presynaptic_site/partners"][:]
        kinds = dict(zip(annotations["ids"][:], annotations["types"].asstr()[:], strict=True))
        assert len(partners) > 0
        for pre, post in partners:
            assert (kinds[pre], kinds[post]) == ("presynaptic_site", "postsynaptic_site")
        np.testing.assert_array_equal(
            annotations.attrs["offset"], file["volumes/labels/clefts"].attrs["offset"]
        )


@pytest.mark.parametrize("name", MITOEM)
def test_mitoem2_case_by_case(folder, name):
    file = fetched(name, folder)
    first = sg.open(file)
    roles = {case: part.role for case, part in first.record.volumes.items()}
    n_train, n_test = nnunet.CASES[name.removeprefix("mitoem2-")]
    counted = {role: list(roles.values()).count(role) for role in set(roles.values())}
    assert counted.pop("test") == n_test
    assert sum(counted.values()) == n_train
    assert counted["validation"] == 1
    trained = sorted(case for case, role in roles.items() if role != "test")
    for number, case in list(enumerate(trained))[:3]:
        opened = sg.open(file, volume=case)
        written = nnunet.case_arrays(first.record, number)
        np.testing.assert_array_equal(whole(opened.image), written["image"])
        assert opened.image.grid.voxel_size == first.record.layers["image"].voxel_size_nm
        assert opened.spec("mitochondria").kind == "semantic"
        np.testing.assert_array_equal(whole(opened.labels["mitochondria"]), written["labels"])
        expected = np.array([0, 3, 4], np.uint8)[written["labels"]]
        expected[(written["instances"] > 0) & (expected == 0)] = 3
        np.testing.assert_array_equal(whole(opened.classes), expected)
        np.testing.assert_array_equal(opened.segments("instances"), written["instances"])


@pytest.fixture
def beta(tmp_path):
    """The data set, its folder, and the first case written anew."""
    file = fetched("mitoem2-beta", tmp_path)
    return file, tmp_path / "mitoem2" / "Dataset001_ME2-Beta"


def test_a_release_of_instances_in_the_place_of_classes_is_noticed(beta):
    file, place = beta
    case = "me2-beta_train02"
    (place / "instancesTr" / f"{case}.nii.gz").replace(place / "labelsTr" / f"{case}.nii.gz")
    for rest in place.glob("instancesTr/*"):
        rest.unlink()
    (place / "instancesTr").rmdir()
    opened = sg.open(file, volume=case)
    assert set(opened.labels) == {"mitochondria"}
    assert opened.spec("mitochondria").kind == "instance"
    ids = nnunet.case_arrays(opened.record, 1)["instances"]
    np.testing.assert_array_equal(opened.segments("mitochondria"), ids)
    np.testing.assert_array_equal(whole(opened.classes), np.where(ids > 0, 3, 0))


def test_splits_of_other_releases_are_left_and_half_right_ones_refused(beta):
    file, place = beta
    (place / "split.json").write_text('{"train": ["high_c3"], "test": ["high_c2"]}')
    roles = {part.role for part in sg.open(file).record.volumes.values()}
    assert roles == {"train", "test"}
    (place / "split.json").write_text('{"train": ["me2-beta_train01", "high_c3"]}')
    with pytest.raises(SchemaError, match="'high_c3', which is not there"):
        sg.open(file)
    (place / "split.json").write_text('{"folds": []}')
    with pytest.raises(SchemaError, match="not an nnU-Net split"):
        sg.open(file)
    (place / "split.json").write_text("{")
    with pytest.raises(SchemaError, match="not JSON"):
        sg.open(file)


def test_cases_that_are_not_there_are_asked_to_be_fetched(beta, tmp_path):
    file, place = beta
    with pytest.raises(UnknownNameError, match="Did you mean 'me2-beta_train01'"):
        sg.open(file, volume="me2-beta_trian01")
    for images in place.glob("images*"):
        images.rename(tmp_path / images.name)
    with pytest.raises(SchemaError, match="not an nnU-Net folder"):
        sg.open(file)
    place.rename(tmp_path / "elsewhere")
    for case in (None, "me2-beta_train01"):
        with pytest.raises(ReadFailedError, match="segmend fetch mitoem2-beta"):
            sg.open(file, volume=case).image  # noqa: B018  opening is what fails


def test_l4dense_cubes_and_what_is_not_downloaded(folder):
    z, y, x = l4dense.VOXEL_SIZE
    # The upper half along z, without its last cubes along x.
    box = sg.Box((l4dense.CUBE * z, 0, 0), (l4dense.SHAPE[0] * z, 100 * y, l4dense.CUBE * x))
    file = fetched("l4dense2019", folder, box=box)
    opened = sg.open(file)
    arrays = l4dense.layer_arrays()
    there = VoxelBox((l4dense.CUBE, 0, 0), (l4dense.SHAPE[0], 100, l4dense.CUBE))
    for name in ("image", *opened.labels):
        layer = opened.image if name == "image" else opened.labels[name]
        np.testing.assert_array_equal(layer[box], arrays[name][there.slices])
        assert layer.dtype == arrays[name].dtype
        assert layer.grid.voxel_size == (28, 11.24, 11.24)
    assert opened.labels["supervoxels"].dtype == np.uint32
    np.testing.assert_array_equal(opened.classes[box], arrays["neurons"][there.slices] > 0)
    with pytest.raises(ReadFailedError, match=r"x0y0z0\.hdf5.*is not downloaded"):
        opened.image[opened.image.box]


def test_fib25_is_one_file(folder):
    file = fetched("fib25", folder)
    opened = sg.open(file)
    made = tissue(41, fib25.SHAPE, fib25.VOXEL_SIZE)
    np.testing.assert_array_equal(whole(opened.image), made.em)
    neurons = opened.segments("neurons")
    pairs = np.unique(np.stack([neurons.ravel(), made.neurons.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(neurons))
    # A supervoxel lies in one automatic segment.
    over = np.unique(
        np.stack([opened.segments(n).ravel() for n in ("supervoxels", "automatic")]), axis=1
    )
    assert over.shape[1] == len(np.unique(over[0])) > len(np.unique(over[1]))


def test_people_write_them_from_the_command_line(tmp_path, capsys):
    for name in ("l4dense2019", "microns"):
        assert main([name, str(tmp_path)]) == 0
        said = capsys.readouterr().out
        assert said == f"segmend.open({str(tmp_path / name)!r})\n".replace("')", ".toml')")
        opened = sg.open(str(tmp_path / f"{name}.toml"))
        assert whole(opened.image).any()
    assert main(["cremi", str(tmp_path)]) == 2
    assert main([]) == 2
    assert "cremi-a" in capsys.readouterr().err


def test_equal_stand_ins_have_equal_bytes(tmp_path):
    archives = [
        write_standin("mitoem2-macro", tmp_path / place).parent / "published" for place in "ab"
    ]
    first, second = (next(folder.glob("*.zip")).read_bytes() for folder in archives)
    assert first == second


def test_an_unknown_stand_in_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'fib25'"):
        write_standin("fib52", tmp_path)


def test_a_file_laid_out_otherwise_than_recorded_is_named(folder):
    place = write_standin("fib25", folder)
    text = place.read_text()
    place.write_text(text.replace('"volumes/raw"', '"volumes/raw", "shape" = [1, 2, 3]'))
    try:
        with pytest.raises(SchemaError, match=r"shape \(48, 72, 64\), the record says \(1, 2, 3\)"):
            sg.open(str(place)).image  # noqa: B018  opening is what fails
    finally:
        place.write_text(text)
