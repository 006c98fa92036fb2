"""``segmend fetch`` and ``segmend cache`` as a person uses them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from segmend.core.box import VoxelBox
from segmend.core.random import keyed_generator
from segmend.store.cache_files import CacheFolder
from segmend.testing.servers import range_server
from segmend.volumes.drivers.memory import from_array
from segmend.volumes.drivers.precomputed import open_precomputed
from segmend.volumes.drivers.zarr import open_zarr
from segmend.volumes.export.export import export_box

SHAPE = (70, 80, 90)


@pytest.fixture(scope="module")
def ids():
    rng = keyed_generator(9, "ids")
    return rng.integers(2**53, 2**64, 30, dtype=np.uint64)[rng.integers(0, 30, SHAPE)]


@pytest.fixture(scope="module")
def folder(ids, tmp_path_factory):
    path = tmp_path_factory.mktemp("served")
    source = from_array(ids, (40, 4, 4), offset=(400, 8, 12))
    export_box(source, VoxelBox((0, 0, 0), SHAPE), path / "seg")
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGMEND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SEGMEND_CACHE_BYTES", "50000000")
    return tmp_path / "cache"


def test_a_box_over_http_in_nm_and_in_the_fields_voxels(segmend, folder, ids, cache, tmp_path):
    with range_server(folder) as server:
        url = f"precomputed://{server.url}/seg"
        box = "--box", "480:1280,108:208,92:292"
        segmend("fetch", url, *box, "--to", tmp_path / "a.h5")
        voxels = "--voxels", 23, 73, 27, 52, 12, 32
        said = segmend("fetch", url, *voxels, "--to", tmp_path / "b.zarr", "--json").stdout
    expected = ids[2:22, 25:50, 20:70]
    with h5py.File(tmp_path / "a.h5") as file:
        data = file["volumes/labels/neuron_ids"]
        np.testing.assert_array_equal(data[:], expected)
        assert tuple(data.attrs["offset"]) == (480.0, 108.0, 92.0)
    opened = open_zarr(tmp_path / "b.zarr")
    np.testing.assert_array_equal(opened.read(opened.box).data, expected)
    assert opened.box.start == (480.0, 108.0, 92.0)
    told = json.loads(said)["provenance"]
    assert told["source"].startswith(server.url)
    info = (folder / "seg" / "info").read_bytes()
    assert told["source_version"] == hashlib.sha256(b"%d:" % len(info) + info).hexdigest()

    kept = json.loads(segmend("cache", "info", "--json").stdout)["objects"]
    assert 0 < kept["bytes"] <= kept["budget"] == 50_000_000
    (volume,) = kept["volumes"]
    assert volume["url"].endswith("/seg")
    assert volume["objects"] == kept["blobs"] == 2, "the second box came from the cache"


def test_the_cache_is_looked_at_checked_pruned_and_cleared(segmend, folder, cache, tmp_path):
    with range_server(folder) as server:
        box = "--voxels", 3, 93, 2, 82, 10, 80
        segmend("fetch", f"precomputed://{server.url}/seg", *box, "--to", tmp_path / "a.h5")
    tissue = cache / "synthetic" / f"{'0' * 20}.h5"
    tissue.parent.mkdir(parents=True)
    tissue.write_bytes(b"x" * 2_000_000)
    (cache / "mine.txt").write_text("not segmend's")
    shown = segmend("cache", "info").stdout
    assert "synthetic tissue      1  2.0" in shown
    assert "intact" in segmend("cache", "verify").stdout

    _, blob = next(CacheFolder(cache / "objects").blobs())
    path = CacheFolder(cache / "objects").path_of(blob)
    Path(path).write_bytes(b"\xff" * blob.size)
    done = segmend("cache", "verify", "--json", status=6)
    assert "1 damaged" in done.stderr
    (named,) = json.loads(done.stdout)["damaged"]
    assert path in named

    pruned = json.loads(segmend("cache", "prune", "--to", 500_000, "--json").stdout)
    assert 0 < pruned["bytes"] <= 500_000 < pruned["bytes"] + pruned["removed_bytes"]

    assert "stopped" in segmend("cache", "clear", status=130).stderr
    assert tissue.exists()
    segmend("cache", "clear", "--yes")
    assert sorted(p.name for p in cache.iterdir()) == ["mine.txt", "synthetic"]
    assert not tissue.exists()
    assert json.loads(segmend("cache", "info", "--json").stdout)["objects"]["blobs"] == 0


def test_clear_refuses_a_folder_that_is_not_a_cache(segmend, cache):
    (cache / "objects" / "blobs").mkdir(parents=True)
    (cache / "objects" / "blobs" / "thesis.txt").write_text("mine")
    assert "not a cache that segmend made" in segmend("cache", "clear", "--yes", status=2).stderr
    assert (cache / "objects" / "blobs" / "thesis.txt").exists()


def test_a_missing_chunk_is_named_and_written_only_on_demand(segmend, folder, ids, cache, tmp_path):
    chunk = folder / "seg" / "4_4_40" / "67-93_66-82_74-80"
    kept = chunk.read_bytes()
    chunk.unlink()
    try:
        box = "--voxels", 3, 93, 2, 82, 10, 80, "--to", tmp_path / "out"
        done = segmend("fetch", folder / "seg", *box, status=2)
        assert "--absent" in done.stderr
        assert "the same command goes on" in done.stderr
        assert not (tmp_path / "out").exists()
        said = segmend("fetch", folder / "seg", *box, "--absent", 0).stdout
    finally:
        chunk.write_bytes(kept)
    assert f"{6 * 16 * 26} voxels were absent, written as 0" in said
    expected = ids.copy()
    expected[64:70, 64:80, 64:90] = 0
    opened = open_precomputed(tmp_path / "out")
    np.testing.assert_array_equal(opened.read(opened.box).data, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--box", "1,2,3", "--to", "a.h5"], "is not a box"),
        (["--box", "0:nan,0:1,0:1", "--to", "a.h5"], "must be finite"),
        (["--box", "5:1,0:9,0:9", "--to", "a.h5"], "positive length"),
        (["--box", "0:400,0:40,0:40", "--to", "a.h5"], "no box inside"),
        (["--voxels", 0, 9, 0, 9, 0, 9, "--to", "a.h5"], "no box inside"),
        (["--box", "0:1,0:1,0:1", "--voxels", *range(6), "--to", "a"], "cannot both"),
        (["--absent", 0, "--to", "a.h5"], "for a box of a volume"),
        (["--voxels", 3, 9, 2, 9, 10, 19, "--voxel-size", 8, 8, 8, "--to", "a"], "no scale"),
        (["--voxels", 3, 9, 2, 9, 10, 19, "--to", "a.nrrd"], "cannot tell from the name"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_sentence(
    segmend, folder, tmp_path, arguments, message
):
    done = segmend("fetch", folder / "seg", *arguments, status=2, cwd=tmp_path)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_plain_file_is_downloaded_and_its_sha256_told(segmend, folder, tmp_path):
    expected = (folder / "seg" / "info").read_bytes()
    digest = hashlib.sha256(expected).hexdigest()
    with range_server(folder) as server:
        said = segmend("fetch", f"{server.url}/seg/info", "--to", tmp_path / "info").stdout
        segmend(
            "fetch",
            f"{server.url}/seg/info",
            "--to",
            tmp_path / "i",
            "--sha256",
            "0" * 64,
            status=4,
        )
    assert digest in said
    assert (tmp_path / "info").read_bytes() == expected
    assert not (tmp_path / "i").exists()
