"""``segmend fetch NAME`` as a person uses it, against stand-ins."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

import segmend as sg
from segmend.testing.servers import range_server
from segmend.testing.standins import l4dense, write_standin


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    with range_server(folder) as server:
        yield {
            name: write_standin(name, folder / name, url=f"{server.url}/{name}")
            for name in ("snemi3d", "l4dense2019", "microns", "fib25")
        }


@pytest.fixture
def record(published, tmp_path):
    """Copy a record to a folder of its own, which then is its data folder."""

    def copied(name):
        file = tmp_path / f"{name}.toml"
        file.write_text(published[name].read_text())
        return file

    return copied


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGMEND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SEGMEND_CACHE_BYTES", "50000000")


def test_files_are_fetched_and_then_open(segmend, record, tmp_path):
    file = record("snemi3d")
    done = segmend("fetch", file, "--link", tmp_path / "scratch")
    assert "licence: CC-BY-4.0 (stated), by the Zenodo record" in done.stderr
    assert "cite: Kasthuri" in done.stderr
    assert "snemi3d/snemi: fetched, has its md5" in done.stdout
    assert (tmp_path / "scratch" / "snemi" / "image" / "train-input.tif").is_file()
    assert sg.open(str(file)).image.grid.shape == (20, 112, 112)
    said = json.loads(segmend("fetch", file, "--volume", "all", "--json").stdout)
    assert [f["fresh"] for f in said["files"]] == [False, True, True, True]
    assert [f["checked"] for f in said["files"]] == ["md5", None, "sha256", "sha256"]
    assert said["exported"] is None


def test_a_box_of_files_is_written_on_demand(segmend, record, tmp_path):
    file = record("fib25")
    box = "--voxels", 10, 50, 20, 60, 5, 35
    assert "--to PATH.h5" in segmend("fetch", file, *box, status=2).stderr
    segmend("fetch", file, *box, "--to", tmp_path / "box.h5", "--layer", "automatic")
    opened = sg.open(str(file))
    with h5py.File(tmp_path / "box.h5") as made:
        assert list(made["volumes/labels"]) == ["automatic"]
        data = made["volumes/labels/automatic"]
        expected = opened.labels["automatic"].read(sg.Box((50, 200, 100), (350, 600, 500))).data
        np.testing.assert_array_equal(data[:], expected)
        assert tuple(data.attrs["offset"]) == (50, 200, 100)
    segmend("fetch", file, "--to", tmp_path / "whole.h5")
    with h5py.File(tmp_path / "whole.h5") as made:
        whole = opened.image.read(opened.image.box).data
        np.testing.assert_array_equal(made["volumes/raw"][:], whole)


def test_cubes_of_a_box_are_fetched_and_the_box_is_written(segmend, record, tmp_path):
    file = record("l4dense2019")
    said = json.loads(
        segmend("fetch", file, "--size", 9, 8, 7, "--to", tmp_path / "a.h5", "--json").stdout
    )
    assert {f["path"].rsplit("/", 1)[1] for f in said["files"]} == {"x0y0z0.hdf5"}
    assert len(said["files"]) == 4  # image, supervoxels, neurons, vessels
    with h5py.File(tmp_path / "a.h5") as made:
        truth = l4dense.layer_arrays()
        np.testing.assert_array_equal(made["volumes/raw"][:], truth["image"][:9, :8, :7])
        ids = made["volumes/labels/neuron_ids"]
        np.testing.assert_array_equal(ids[:], truth["neurons"][:9, :8, :7])
        assert ids.dtype == np.uint32


TABLES = ("axons.hdf5", "dendrites.hdf5", "synapses.hdf5", "segments.hdf5", "connectome.csv")


def test_tables_that_no_box_cuts_are_named_with_their_size_and_left(
    segmend, published, record, tmp_path
):
    """Until they are asked for; sizes are those of the files that the server has."""
    file, box = record("l4dense2019"), ("--size", 9, 8, 7)
    sizes = {
        path.name: path.stat().st_size
        for path in published["l4dense2019"].parent.rglob("*")
        if path.name in TABLES
    }
    said = json.loads(segmend("fetch", file, *box, "--json").stdout)
    left = {item["path"].rsplit("/", 1)[1]: item for item in said["not_taken"]}
    assert {name: left[name]["bytes"] for name in TABLES} == sizes
    assert left["dendrites.hdf5"]["layers"] == ["dendrites", "spine-heads"]
    folder = tmp_path / "l4dense2019"
    assert not [name for name in TABLES if (folder / name).exists()]
    told = segmend("fetch", file, *box).stderr
    total = sum(sizes.values()) / 1e6
    assert f"no box cuts them: 5 files, {total:.3g} MB; " in " ".join(told.split())
    assert "--layer neurites brings axons and dendrites with it" in " ".join(told.split())
    segmend("fetch", file, *box, "--layer", "neurites", "--layer", "image")
    assert {name for name in TABLES if (folder / name).exists()} == {"axons.hdf5", "dendrites.hdf5"}
    said = json.loads(segmend("fetch", file, *box, "--json").stdout)
    left = {item["path"].rsplit("/", 1)[1] for item in said["not_taken"]}
    assert set(TABLES) & left == {"synapses.hdf5", "segments.hdf5", "connectome.csv"}
    named = json.loads(segmend("fetch", file, *box, "--layer", "axons", "--json").stdout)
    assert named["not_taken"] == []


def test_image_and_labels_of_a_remote_box_lie_in_one_file(segmend, record, tmp_path):
    file = record("microns")
    done = segmend("fetch", file, "--size", 8, 20, 24)
    assert "not taken: nuclei" in done.stderr
    (made,) = (tmp_path / "MICRONS").iterdir()
    opened = sg.open(str(file))
    start = sg.Box(*opened.record.default_box_nm).start
    box = sg.Box(
        start, tuple(a + n * v for a, n, v in zip(start, (8, 20, 24), (40, 8, 8), strict=True))
    )
    with h5py.File(made) as written:
        for key, volume in (
            ("volumes/raw", opened.image),
            ("volumes/labels/neuron_ids", opened.labels["neurons"]),
        ):
            np.testing.assert_array_equal(written[key][:], volume[box])
            assert tuple(written[key].attrs["offset"]) == start
            assert tuple(written[key].attrs["resolution"]) == (40, 8, 8)
            told = json.loads(written[key].attrs["segmend_provenance"])
            assert told["source"] == volume.source
    # The same once more is nothing to do; another box is another file.
    before = made.stat().st_mtime_ns
    segmend("fetch", file, "--size", 8, 20, 24)
    segmend("fetch", file, "--size", 8, 20, 16, "--version", "v117")
    assert made.stat().st_mtime_ns == before
    assert sorted("v117" in p.name for p in made.parent.iterdir()) == [False, True]
    taken = segmend("fetch", file, "--size", 8, 20, 24, "--to", made, "--layer", "image", status=5)
    assert "is not this export" in taken.stderr


def test_a_broken_export_goes_on_where_it_stopped(segmend, published, record, tmp_path):
    file = record("microns")
    (chunks,) = published["microns"].parent.glob("published/**/seg_m1300/8_8_40")
    hidden = chunks.with_name("hidden")
    chunks.rename(hidden)
    try:
        failed = segmend("fetch", file, "--to", tmp_path / "a.h5", status=2)
        assert "--absent" in failed.stderr
        assert not (tmp_path / "a.h5").exists()
        assert list(tmp_path.glob(".a.h5.*.layers/0.h5")), "the image is kept"
    finally:
        hidden.rename(chunks)
    (tmp_path / "cache").rename(tmp_path / "old-cache")
    segmend("fetch", file, "--to", tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as made:
        assert made["volumes/labels/neuron_ids"].shape == made["volumes/raw"].shape
    assert not list(tmp_path.glob(".a.h5*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["snemi"], "Did you mean 'snemi3d'"),
        (["synthetic"], "is generated, not fetched"),
        (["snemi3d", "--box", "0:9,0:9,0:9"], "published as whole files"),
        (["snemi3d", "--volume", "ac5"], "no volume of 'snemi3d' named 'ac5'"),
        (["microns", "--version", "v1"], "no version of 'microns' named 'v1'"),
        (["microns", "--link", "here"], "read from where it lies"),
        (["snemi3d", "--key", "main"], "--key is for a path or URL"),
        (["cremi-a", "--size", "1", "1", "1", "--region", "x"], "cannot both be given"),
        (["./a.h5", "--to", "b.h5", "--version", "1"], "--version is for data sets"),
        (["./a.h5"], "--to PATH"),
    ],
)
def test_a_request_that_does_not_fit_is_one_sentence(segmend, tmp_path, arguments, message):
    done = segmend("fetch", *arguments, status=2, cwd=tmp_path)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] in ([], ["cache"])


def test_boxes_outside_what_is_labelled_say_what_is(segmend, record, tmp_path):
    opened = sg.open(str(record("microns")))
    z, y, x = opened.image.box.start
    box = f"{z}:{z + 400},{y}:{y + 80},{x}:{x + 80}"
    done = segmend("fetch", tmp_path / "microns.toml", "--box", box, status=2)
    assert "layer 'neurons'" in done.stderr
    assert "of the image" in done.stderr
