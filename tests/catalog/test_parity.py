"""docs/coming-from.md, row by row."""

import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import segmend as sg
from segmend.catalog.labels import IGNORED, UNION, VOCABULARY
from segmend.catalog.offset_codes import FIRST_CLEFT, FIRST_MITOCHONDRION, mito_instances
from segmend.catalog.record import load_record, record_names
from segmend.testing.servers import range_server
from segmend.testing.standins import write_standin
from segmend.testing.standins.precomputed import reference_box

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "coming-from.md").read_text()
EM_URL = "gs://flyem-male-cns/em/em-clahe-jpeg"
SEG_URL = "gs://flyem-male-cns/v0.9/segmentation"
DEFAULT_BOUNDING_BOX = (40000, 41024, 40000, 41024, 20000, 21024)


def test_every_row_names_a_test_that_exists():
    here = Path(__file__).read_text()
    for name in re.findall(r"`(test_\w+)` \|$", PAGE, re.MULTILINE):
        assert f"def {name}(" in here
    for place in re.findall(r"`(tests/[\w/.]+)` \|$", PAGE, re.MULTILINE):
        assert (ROOT / place).exists()
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    for name in re.findall(r"^def (test_\w+)\(", here, re.MULTILINE):
        assert name in named | {"test_every_row_names_a_test_that_exists"}


def record(name):
    return load_record(name)[0]


def test_the_urls_of_malecns_are_recorded():
    layers = record("malecns").layers_of("v0.9", "")
    assert layers["image"].urls == (EM_URL,)
    assert layers["neurons"].urls == (SEG_URL,)
    assert {"v1.0", "v0.9"} == {record("malecns").version, *record("malecns").versions}
    assert layers["image_lossless"].driver == "n5"


def test_the_default_box_is_the_same_box():
    x0, x1, y0, y1, z0, z1 = (v * 8.0 for v in DEFAULT_BOUNDING_BOX)
    assert record("malecns").default_box_nm == ((z0, y0, x0), (z1, y1, x1))


@pytest.fixture(scope="module")
def malecns(tmp_path_factory, segmend_cache):
    folder = tmp_path_factory.mktemp("malecns")
    with range_server(folder) as server:
        yield write_standin("malecns", folder, url=server.url)


def fetch(*arguments, cwd):
    command = [sys.executable, "-m", "segmend.apps.cli.main", "fetch", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done


def voxels_of(dataset):
    """A small box as the field writes it, x0 x1 y0 y1 z0 z1, and as nm."""
    grid = dataset.image.grid
    z, y, x = grid.to_voxels(reference_box("malecns")).start
    box = sg.Box(
        [(o + n) * 8.0 for o, n in zip((0, 0, 0), (z, y, x), strict=True)],
        [(n + 16) * 8.0 for n in (z, y, x)],
    ).shift(grid.offset)
    corner = [round(v / 8) for v in box.start]
    return [v for n in reversed(corner) for v in (n, n + 16)], box


def test_a_box_in_8_nm_voxels_becomes_one_hdf5_with_image_and_labels(malecns, tmp_path):
    dataset = sg.open(str(malecns))
    voxels, box = voxels_of(dataset)
    fetch(malecns, "--voxels", *voxels, "--to", tmp_path / "crop.h5", cwd=tmp_path)
    with h5py.File(tmp_path / "crop.h5") as file:
        raw, labels = file["volumes/raw"], file["volumes/labels/neuron_ids"]
        assert raw.dtype == np.uint8
        assert labels.dtype == np.uint64
        assert raw.attrs["resolution"].tolist() == [8, 8, 8]
        np.testing.assert_array_equal(raw[:], dataset.image[box])
        np.testing.assert_array_equal(labels[:], dataset.labels["neurons"][box])


def test_a_file_that_is_there_is_not_fetched_again(malecns, tmp_path):
    voxels, _ = voxels_of(sg.open(str(malecns)))
    fetch(malecns, "--voxels", *voxels, "--to", tmp_path / "a.h5", cwd=tmp_path)
    before = (tmp_path / "a.h5").stat()
    command = [sys.executable, "-m", "segmend.apps.cli.main", "fetch", str(malecns), "--voxels"]
    command += [*map(str, voxels), "--to", str(tmp_path / "a.h5")]
    subprocess.run(command, capture_output=True, check=False)
    after = (tmp_path / "a.h5").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_several_boxes_are_several_files(malecns, tmp_path):
    voxels, _ = voxels_of(sg.open(str(malecns)))
    for i in range(2):
        x0, x1, *rest = voxels
        fetch(malecns, "--voxels", x0, x1 - 4 * i, *rest, "--to", f"box-{i}.h5", cwd=tmp_path)
    shapes = [
        sg.open_volume(tmp_path / f"box-{i}.h5", key="volumes/raw").grid.shape for i in (0, 1)
    ]
    assert shapes == [(16, 16, 16), (16, 16, 12)]


def test_boxes_are_read_where_the_data_lie(malecns):
    dataset = sg.open(str(malecns))
    _, box = voxels_of(dataset)
    assert dataset.image[box].shape == (16, 16, 16)
    assert dataset.labels["neurons"][box].dtype == np.uint64


def test_no_cloud_volume_is_imported(malecns):
    code = (
        "import sys, segmend as sg; ds = sg.open(sys.argv[1]); ds.image.read_voxels("
        "ds.image.grid.voxels.clip(0, 0, 8)); assert not {'cloudvolume', 'tensorstore'} & "
        "set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(malecns)], check=True)


def test_regions_have_boxes_by_name(malecns):
    dataset = sg.open(str(malecns))
    for name in dataset.regions:
        assert dataset.region(name).size[0] > 0


def test_snemi3d_is_what_the_page_says():
    snemi = record("snemi3d")
    roles = {name: part.role for name, part in snemi.volumes.items()}
    assert {"ac3": "test", "ac4": "train"}.items() <= roles.items()
    image = snemi.layers_of(snemi.version, "ac4")["image"]
    assert (image.shape, image.voxel_size_nm) == ((100, 1024, 1024), (30, 6, 6))
    assert snemi.species == "mouse"


@pytest.mark.parametrize("name", ["cremi-a", "cremi-b", "cremi-c"])
def test_cremi_is_what_the_page_says(name):
    layers = record(name).layers_of(record(name).version, "cropped")
    assert layers["image"].shape == (125, 1250, 1250)
    assert layers["image"].voxel_size_nm == (40, 4, 4)
    assert {"neurons", "clefts"} <= set(layers)


def test_microns_is_what_the_page_says():
    microns = record("microns")
    assert microns.version == "v1300"
    assert {"v117", "v343", "v943"} <= set(microns.versions)
    image = microns.layers["image"]
    assert (image.shape, image.voxel_size_nm) == ((13088, 180224, 212992), (40, 8, 8))


def test_mitoem2_is_what_the_page_says():
    voxels = {
        "beta": (16, 16, 16), "jurkat": (16, 16, 16), "macro": (16, 16, 16), "mossy": (30, 8, 8),
        "podo": (16, 16, 16), "pyra": (30, 8, 8), "sperm": (16, 16, 16), "stem": (30, 8, 8),
    }  # fmt: skip
    names = {n.removeprefix("mitoem2-") for n in record_names() if n.startswith("mitoem2-")}
    assert names == set(voxels)
    for name, size in voxels.items():
        assert record(f"mitoem2-{name}").layers["image"].voxel_size_nm == size


def test_the_offsets_are_those_of_the_page():
    assert (FIRST_CLEFT, FIRST_MITOCHONDRION) == (1_000_000, 2_000_000)


def test_the_boundary_separates_touching_mitochondria():
    classes = np.zeros((3, 3, 7), np.uint8)
    classes[1, 1, 1:6] = [3, 3, 4, 3, 3]
    instances = mito_instances(classes)
    assert instances.dtype == np.uint64
    assert instances[1, 1].tolist() == [0, 1, 1, 0, 2, 2, 0]


def test_the_union_label_map_is_the_vocabulary():
    assert UNION == ("background", "neuron", "cleft", "mitochondria", "mito_boundary")
    assert VOCABULARY[: len(UNION)] == UNION


def test_ignored_classes_become_background_or_ignored(tmp_path, segmend_cache):
    beta = write_standin("mitoem2-beta", tmp_path)
    fetch(beta, cwd=tmp_path)
    dataset = sg.open(str(beta))
    box = dataset.classes.box
    classes = dataset.classes[box]
    assert set(np.unique(classes)) == {0, 3, 4}
    background = dataset.classes_without({"mito_boundary"})[box]
    np.testing.assert_array_equal(background, np.where(classes == 4, 0, classes))
    ignored = dataset.classes_without({"mito_boundary"}, ignored_as="ignored")[box]
    np.testing.assert_array_equal(ignored, np.where(classes == 4, IGNORED, classes))


def test_the_default_crop_of_microns_is_the_same():
    start, stop = record("microns").default_box_nm
    assert start == (20_000 * 40, 100_000 * 8, 140_000 * 8)
    assert tuple(b - a for a, b in zip(start, stop, strict=True)) == (128 * 40, 128 * 8, 128 * 8)


def test_data_lie_where_the_page_says():
    folders = {"snemi3d": "snemi3d", "cremi-a": "cremi3d", "mitoem2-beta": "mitoem2"}
    for name, folder in folders.items():
        assert all(f.path.startswith(f"{folder}/") for f in record(name).files.values())
    assert record("microns").folder == "MICRONS"
