"""Data sets that are read from where they lie, each on its stand-in over HTTP."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

import segmend as sg
from segmend.catalog.record import load_record
from segmend.core.errors import (
    AbsentVoxelsError,
    OutOfBoundsError,
    ReadFailedError,
    SchemaError,
    UnknownNameError,
)
from segmend.testing.servers import range_server
from segmend.testing.standins import write_standin
from segmend.testing.standins.layouts import LAYOUTS
from segmend.testing.standins.precomputed import layer_voxels, reference_box

JPEG_ERROR = 24
"""Largest difference that JPEG of quality 90 makes to a voxel of synthetic tissue."""


@pytest.fixture(scope="module")
def served(tmp_path_factory, segmend_cache):
    """Records of all stand-ins by name, while they are served."""
    folder = tmp_path_factory.mktemp("remote")
    with range_server(folder) as server:
        yield {n: write_standin(n, folder / n, url=f"{server.url}/{n}") for n in LAYOUTS}


@contextmanager
def own_standin(name, folder):
    """A stand-in that a test may damage: the opened data set, the published folder, the server."""
    with range_server(folder) as server:
        record = write_standin(name, folder, url=server.url)
        yield sg.open(str(record)), folder / "published", server


def opened(dataset, layer):
    return dataset.image if layer == "image" else dataset.labels[layer]


def assert_holds(volume, name, layer, voxel_size):
    expected, grid = layer_voxels(name, layer, voxel_size)
    block = volume.read(volume.box)
    assert volume.grid == grid
    assert block.coverage.complete
    assert block.data.dtype == expected.dtype
    difference = np.abs(block.data.astype(np.int64) - expected.astype(np.int64)).max()
    assert difference <= (JPEG_ERROR if LAYOUTS[name].layers[layer].encoding == "jpeg" else 0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_version_reads_back_at_every_stored_scale(served, name):
    record, _ = load_record(name)
    for version in (record.version, *record.versions):
        dataset = sg.open(str(served[name]), version=version)
        for layer in ("image", "neurons"):
            volume = opened(dataset, layer)
            layout = LAYOUTS[name].layers[layer]
            assert volume.voxel_sizes == tuple(tuple(map(float, s)) for s in layout.voxel_sizes)
            for number, size in enumerate(layout.voxel_sizes):
                if number not in layout.empty:
                    assert_holds(volume.at(size), name, layer, size)


OTHERS = [(n, layer) for n, p in LAYOUTS.items() for layer in set(p.layers) - {"image", "neurons"}]


@pytest.mark.parametrize(("name", "layer"), sorted(OTHERS))
def test_every_other_layer_opens_at_its_recorded_scale(served, name, layer):
    dataset = sg.open(str(served[name]))
    volume = dataset._open(layer)
    recorded = dataset.layers[layer].voxel_size_nm
    assert recorded is None or volume.grid.voxel_size == recorded
    expected, grid = layer_voxels(name, layer, recorded)
    block = volume.read(volume.box)
    stored = block.coverage.mask()
    assert volume.grid == grid
    assert not expected[~stored].any()
    if LAYOUTS[name].layers[layer].encoding != "jpeg":
        np.testing.assert_array_equal(block.data[stored], expected[stored])


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_standin_differs_from_the_record_in_places_and_sizes_only(served, name):
    def comparable(record):
        text = msgspec.to_builtins(record)
        text.pop("default_box_nm")
        parts = [text, *text["versions"].values()]
        for part in parts:
            for layer in part["layers"].values():
                layer["urls"], layer["shape"] = len(layer["urls"]), layer["shape"] is None
        return text

    shipped, _ = load_record(name)
    standin, _ = load_record(str(served[name]))
    assert comparable(standin) == comparable(shipped)


@pytest.mark.parametrize("name", LAYOUTS)
def test_classes_need_no_layer_but_the_neurons(served, name):
    dataset = sg.open(str(served[name]))
    classes = dataset.classes
    ids = dataset.labels["neurons"].read(classes.box).data
    np.testing.assert_array_equal(classes.read(classes.box).data, ids > 0)


def test_versions_are_different_places(served):
    dataset = sg.open(str(served["microns"]))
    older = sg.open(str(served["microns"]), version="v343")
    assert dataset.version == "v1300"
    assert "seg_m1300" in dataset.labels["neurons"].source
    assert "seg_m343" in older.labels["neurons"].source
    assert older.fingerprint() != dataset.fingerprint()
    with pytest.raises(UnknownNameError, match="Did you mean 'v1300'"):
        sg.open(str(served["microns"]), version="v130")


def test_ids_above_the_range_of_floats_arrive_exactly(served):
    dataset = sg.open(str(served["microns"]))
    ids = dataset.labels["neurons"].read(reference_box("microns")).data
    assert ids.max() > 2**53


def test_a_scale_without_data_is_absent_never_black(served):
    finest = sg.open(str(served["flywire"])).image.at((40, 4, 4))
    box = reference_box("flywire")
    assert finest.read(box).coverage.n_absent == finest.grid.to_voxels(box).size
    with pytest.raises(AbsentVoxelsError, match="certified absent"):
        finest[box]


def test_image_and_segmentation_of_h01_meet_at_the_finest_scale_of_the_segmentation(served):
    dataset = sg.open(str(served["h01"]))
    assert dataset.image.grid == dataset.labels["neurons"].grid
    assert dataset.image.voxel_sizes[0] == (33, 4, 4)


def test_a_box_beyond_the_labelled_part_is_told_which_part_is_labelled(served):
    dataset = sg.open(str(served["microns"]))
    neurons = dataset.labels["neurons"].box
    with pytest.raises(OutOfBoundsError, match=r"'neurons' of 'microns'.*6\d% of the image"):
        dataset.check_box(dataset.image.box, ["image", "neurons"])
    corner = sg.Box(dataset.image.box.start, neurons.start)
    with pytest.raises(OutOfBoundsError, match="No part of your box"):
        dataset.check_box(corner, ["neurons"])
    with pytest.raises(OutOfBoundsError, match="reach outside") as failed:
        dataset.labels["neurons"].read(corner)
    assert str(neurons) in str(failed.value)
    dataset.check_box(reference_box("microns"), ["image", "neurons"])
    with pytest.raises(OutOfBoundsError, match="layer 'image'"):
        dataset.check_box(neurons.shift((1e6, 0, 0)))


def test_a_missing_chunk_is_absent_and_a_dead_mirror_is_passed_over(tmp_path, segmend_cache):
    with own_standin("microns", tmp_path) as (dataset, published, server):
        first, second = dataset.layers["image"].urls
        one = published / first.partition("/published/")[2]
        other = published / second.partition("/published/")[2]
        shutil.rmtree(one)
        assert dataset.image.source.startswith(second)
        chunk = min((other / "8_8_40").iterdir())
        chunk.unlink()
        block = dataset.image.read(dataset.image.box)
        assert 0 < block.coverage.n_absent < block.data.size
        shutil.rmtree(other)
        with pytest.raises(ReadFailedError, match="no source of layer 'image'") as failed:
            dataset.image  # noqa: B018  opening is what fails
        assert first in failed.value.found
        assert second in failed.value.found
        assert server.log


def test_what_is_no_longer_as_recorded_is_refused(tmp_path, segmend_cache):
    with own_standin("manc", tmp_path) as (dataset, published, _server):
        info = next(published.rglob("jpeg/info"))
        described = json.loads(info.read_text())
        described["scales"][0]["size"][0] += 64
        info.write_text(json.dumps(described))
        with pytest.raises(SchemaError, match=r"laid out otherwise than recorded.*shape"):
            dataset.image  # noqa: B018  opening is what fails


def test_buckets_of_google_are_reached_under_their_own_urls(tmp_path, segmend_cache, monkeypatch):
    """The shipped ``gs://`` URLs, answered by a server that the emulator's variable names."""
    with own_standin("malecns", tmp_path) as (dataset, published, server):
        shipped, _ = load_record("malecns")
        assert shipped.layers["image"].urls == ("gs://flyem-male-cns/em/em-clahe-jpeg",)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"{server.url}/published")
        (url,) = shipped.layers["image"].urls
        there = sg.open_volume(url, driver="precomputed")
        np.testing.assert_array_equal(there[there.box], dataset.image[dataset.image.box])
        assert (published / "flyem-male-cns").is_dir()


PEER = """
import sys, numpy as np
from cloudvolume import CloudVolume
for place, out in zip(sys.argv[1::2], sys.argv[2::2]):
    volume = CloudVolume(f"file://{place}", mip=0, progress=False, bounded=True, parallel=1)
    np.save(out, np.asarray(volume[volume.bounds])[..., 0].T)
"""


def test_another_reader_finds_the_same_in_a_standin(served, tmp_path):
    """cloud-volume, in a process of its own: the stand-ins are what they claim to be."""
    asked = [("microns", "image"), ("microns", "neurons"), ("malecns", "image"), ("h01", "neurons")]
    arguments, mine = [], []
    for name, layer in asked:
        record, folder = load_record(str(served[name]))
        path = record.layers[layer].urls[0].partition(f"/{name}/")[2]
        out = tmp_path / f"{name}-{layer}.npy"
        arguments += [str(folder / path), str(out)]
        finest = opened(sg.open(str(served[name])), layer)
        finest = finest.at(finest.voxel_sizes[0])
        mine.append((out, finest.read(finest.box).data))
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", PEER, *arguments], check=True, env=environment)
    for out, data in mine:
        np.testing.assert_array_equal(np.load(out), data)


@pytest.mark.network
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_real_thing_answers_with_a_tiny_box(name):
    """16 x 16 voxels of 4 sections in the middle of the default box, image and neurons."""
    dataset = sg.open(name)
    box = sg.Box(*dataset.record.default_box_nm)
    size = [n * s for n, s in zip((4, 16, 16), dataset.image.grid.voxel_size, strict=True)]
    tiny = sg.Box.around(box.center, size)
    dataset.check_box(tiny, ["image", "neurons"])
    assert dataset.image.read(tiny).data.std() > 0
    assert dataset.labels["neurons"].read(tiny).data.dtype.kind == "u"


def test_standins_are_written_for_every_record_of_a_remote_data_set():
    folder = Path(load_record.__code__.co_filename).parent / "records"
    remote = {
        file.stem
        for file in folder.glob("*.toml")
        if any(layer.urls for layer in load_record(file.stem)[0].layers.values())
    }
    assert remote == set(LAYOUTS)
