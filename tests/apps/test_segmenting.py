"""The verbs of segmentation, from a volume to a table of scores."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from segmend.apps.cli.main import segmend
from segmend.core.errors import BadInputError, GridMismatchError, UnknownNameError
from segmend.metrics.segmentation.contingency import contingency
from segmend.metrics.segmentation.information import variation_of_information

ROOT = 864_691_136_617_970_907
RECORD = """
name = "blocks"
title = "Bright blocks with dark walls"
species = "synthetic"
version = "1"
tissue = "none"
modality = "drawn"
grid_origin_nm = [0.0, 0.0, 0.0]
citation = "Drawn for a test."
homepage = "https://example.org"
[licence]
state = "unstated"
[files.main]
path = "blocks.h5"
[layers.image]
key = "volumes/raw"
doc = "Image"
[layers.neurons]
key = "volumes/labels/neuron_ids"
doc = "Blocks"
labels = { kind = "instance", as_class = "neuron" }
"""


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record and its file: ids as large as root ids, voxels of 10 x 4 x 4 nm."""
    folder = tmp_path_factory.mktemp("blocks")
    ids = np.kron(np.arange(16).reshape(1, 4, 4), np.ones((12, 16, 16), int)).astype(np.uint64)
    image = np.full(ids.shape, 200, np.uint8)
    image[:, ::16] = image[:, :, ::16] = 30
    with h5py.File(folder / "blocks.h5", "w") as file:
        for key, array in (
            ("volumes/raw", image),
            ("volumes/labels/neuron_ids", ids + np.uint64(ROOT)),
        ):
            file[key] = array
            file[key].attrs["resolution"] = (10.0, 4.0, 4.0)
    (folder / "blocks.toml").write_text(RECORD)
    return folder


def call(*words: object):
    """One verb; errors pass."""
    result = CliRunner().invoke(segmend, [str(w) for w in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def run(blocks: Path) -> Path:
    """A run of a few steps on the upper sections."""
    words = [blocks / "blocks.toml", "--path", blocks / "blocks.h5", "--labels", "neurons"]
    words += ["--classes", "--box", "0:80,0:256,0:256", "--validation-box", "80:120,0:256,0:256"]
    words += ["--steps", "4", "--crop", "4", "32", "32", "--width", "4", "--validate-every", "2"]
    call("train-segmentation", *words, "--out", blocks / "run")
    assert "resume" not in (blocks / "run" / "log.csv").read_text()
    return blocks / "run"


def test_from_a_volume_to_a_table_of_scores(blocks: Path, run: Path) -> None:
    place = ("--path", blocks / "blocks.h5")
    out = blocks / "found.h5"
    box = ("--box", "80:120,0:256,0:256")
    call("predict-segmentation", run, blocks / "blocks.toml", *place, *box, "--out", out)
    with h5py.File(out) as file:
        found = file["volumes/labels/segmentation"]
        assert (found.shape, found.dtype) == ((4, 64, 64), np.uint64)
        np.testing.assert_array_equal(found.attrs["offset"], (80, 0, 0))
        assert file["volumes/labels/classes"].dtype == np.uint8
    words = (out, blocks / "blocks.toml", *place, "--labels", "neurons")
    words += ("--beside", "neurons", "--baselines")
    rows = json.loads(call("evaluate-segmentation", *words, "--json").stdout)["segments"]
    assert set(rows) == {"found.h5", "neurons", "one segment", "intensity + watershed"}
    # The truth beside itself is perfect, although its ids differ by less than a float can tell.
    assert (rows["neurons"]["vi"], rows["neurons"]["cremi_score"]) == (0, 0)
    assert rows["neurons"]["ap75_all"] == 1
    assert 3 < rows["one segment"]["vi_merge"] < 4  # bits: one of 16 blocks, not all as large
    assert rows["intensity + watershed"]["vi"] < 0.5
    table = call("evaluate-segmentation", *words).stdout
    assert "cremi_score" in table
    assert "one segment" in table
    classes = call("evaluate-segmentation", out, blocks / "blocks.toml", *place, "--json").stdout
    assert "neuron" in json.loads(classes)["classes"]


def test_an_image_by_its_path_gives_the_same_segmentation(blocks: Path, run: Path) -> None:
    box = ("--box", "0:40,0:128,0:128")
    for image, name in (((blocks / "blocks.toml",), "a.h5"), ((blocks / "blocks.h5",), "b.h5")):
        source = ("--path", blocks / "blocks.h5") if name == "a.h5" else ("--key", "volumes/raw")
        call("predict-segmentation", run, *image, *source, *box, "--out", blocks / name)
    with h5py.File(blocks / "a.h5") as one, h5py.File(blocks / "b.h5") as other:
        key = "volumes/labels/segmentation"
        np.testing.assert_array_equal(one[key][:], other[key][:])


def test_boxes_that_overlap_are_refused(blocks: Path, tmp_path: Path) -> None:
    words = (blocks / "blocks.toml", "--path", blocks / "blocks.h5", "--labels", "neurons")
    box = ("--box", "0:80,0:256,0:256", "--validation-box", "70:120,0:256,0:256")
    with pytest.raises(BadInputError, match="overlap"):
        call("train-segmentation", *words, *box, "--out", tmp_path / "run")
    with pytest.raises(UnknownNameError, match="nerve"):
        call("train-segmentation", *words[:-1], "nerve", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_voxels_than_trained_on_are_refused(run: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "coarse.h5", "w") as file:
        file["raw"] = np.zeros((4, 8, 8), np.uint8)
        file["raw"].attrs["resolution"] = (10.0, 8.0, 8.0)
    with pytest.raises(GridMismatchError, match="was trained on voxels"):
        call("predict-segmentation", run, tmp_path / "coarse.h5", "--out", tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_blocks_give_about_what_the_whole_gives(blocks: Path, run: Path) -> None:
    words = (run, blocks / "blocks.toml", "--path", blocks / "blocks.h5", "--box")
    for name, more in (("one.h5", ()), ("many.h5", ("--block", "6", "32", "32"))):
        call("predict-segmentation", *words, "0:120,0:256,0:256", *more, "--out", blocks / name)
    key = "volumes/labels/segmentation"
    with h5py.File(blocks / "one.h5") as one, h5py.File(blocks / "many.h5") as many:
        whole, found = one[key][:], many[key][:]
    ids = np.unique(found)
    np.testing.assert_array_equal(ids, np.arange(1, len(ids) + 1))
    assert variation_of_information(contingency(found, whole)).total < 0.1  # bits
    assert not list(blocks.glob(".segmend-*"))  # nothing is left of what lay in files


def cremi_file(path: Path, clefts: np.ndarray, move: float) -> None:
    """Clefts and one pair of partners, moved by some nm along x."""
    with h5py.File(path, "w") as file:
        file["volumes/labels/clefts"] = clefts
        file["volumes/labels/clefts"].attrs["resolution"] = (10.0, 4.0, 4.0)
        file["annotations/ids"] = np.array([5, 6], np.uint64)
        places = [(60.0, 100.0, 40.0 + move), (60.0, 100.0, 100.0 + move)]
        file["annotations/locations"] = np.array(places)
        file["annotations/presynaptic_site/partners"] = np.array([[5, 6]], np.uint64)


def test_clefts_partners_and_run_length(blocks: Path, tmp_path: Path) -> None:
    nothing = np.uint64(2**64 - 1)
    true = np.full((12, 64, 64), nothing)
    true[6, 20:30, 20:30] = 7
    cremi_file(tmp_path / "true.h5", true, 0)
    cremi_file(tmp_path / "near.h5", np.roll(true, 2, axis=2), 8)
    cremi_file(tmp_path / "far.h5", np.full_like(true, nothing), 150)  # in other neurons
    record = (
        RECORD
        + """
[layers.clefts]
file = "true"
key = "volumes/labels/clefts"
doc = "Clefts"
[layers.clefts.labels]
kind = "instance"
as_class = "cleft"
background = 18446744073709551615
invalid = [18446744073709551614]
[files.true]
path = "true.h5"
"""
    )
    (tmp_path / "blocks.toml").write_text(record)
    (tmp_path / "blocks.h5").write_bytes((blocks / "blocks.h5").read_bytes())
    (tmp_path / "a.swc").write_text("1 2 30 30 60 1 -1\n2 2 50 30 60 1 1\n3 2 90 30 60 1 2\n")
    scores = {}
    for name in ("true", "near", "far"):
        words = [tmp_path / f"{name}.h5", tmp_path / "blocks.toml", "--path", tmp_path, "--json"]
        words += ["--clefts", "clefts", "--clefts-key", "volumes/labels/clefts"]
        scores[name] = json.loads(call("evaluate-segmentation", *words).stdout)["clefts"][
            f"{name}.h5"
        ]
    assert scores["true"]["cremi_score"] == 0
    # Two columns of ten are 4 or 8 nm from the nearest, on either side.
    assert scores["near"]["cremi_score"] == pytest.approx((4 + 8) / 10)
    assert (scores["near"]["f_score"], scores["far"]["f_score"]) == (1, 0)
    place = (blocks / "blocks.toml", "--path", blocks / "blocks.h5", "--json")
    words = (*place, "--labels", "neurons", "--partners", tmp_path / "true.h5")
    for name, f_score in (("near", 1), ("far", 0)):
        told = json.loads(call("evaluate-segmentation", tmp_path / f"{name}.h5", *words).stdout)
        assert told.keys() == {"partners"}
        assert told["partners"][f"{name}.h5"]["f_score"] == f_score
    with pytest.raises(BadInputError, match="true neurons"):
        call("evaluate-segmentation", tmp_path / "near.h5", *place, *words[-2:])
    # The skeleton runs 20 nm in one block of 64 nm and 40 more into the next: the edge that crosses
    # is a split.
    with h5py.File(tmp_path / "ids.h5", "w") as file, h5py.File(blocks / "blocks.h5") as given:
        file["volumes/labels/segmentation"] = given["volumes/labels/neuron_ids"][:]
        file["volumes/labels/segmentation"].attrs["resolution"] = (10.0, 4.0, 4.0)
    words = (tmp_path / "ids.h5", *place, "--skeleton", tmp_path / "a.swc")
    row = json.loads(call("evaluate-segmentation", *words).stdout)["skeletons"]["ids.h5"]
    assert row["right"] == pytest.approx(20 / 60)
    assert row["split"] == pytest.approx(40 / 60)
    assert row["expected_nm"] == pytest.approx(20 * 20 / 60)
    assert row["nerl"] == pytest.approx((20 * 20 / 60) / 60)


def test_classes_are_scored_beside_what_needs_no_model(blocks: Path, run: Path) -> None:
    place = ("--path", blocks / "blocks.h5")
    out, box = blocks / "classes.h5", ("--box", "80:120,0:256,0:256")
    call("predict-segmentation", run, blocks / "blocks.toml", *place, *box, "--out", out)
    words = (out, blocks / "blocks.toml", *place, "--baselines", "--json")
    rows = json.loads(call("evaluate-segmentation", *words).stdout)["classes"]
    assert rows["all neuron: neuron"]["f1"] == 1  # the record says that all of it is neuron
    assert 0 < rows["dark or bright: neuron"]["recall"] < 1
    assert "neuron" in rows
