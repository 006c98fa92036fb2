"""``segmend link``, and regions in ``segmend fetch``, as a person uses them."""

import json

import h5py
import neuroglancer
import numpy as np
import pytest

from segmend.core.box import Box
from segmend.testing.servers import range_server
from segmend.testing.standins import write_standin
from segmend.testing.standins.precomputed import layer_voxels

BIG = 864691135697050522
BOX = "800000:805120,800000:801024,1120000:1121024"


@pytest.fixture(scope="module")
def malecns(tmp_path_factory, segmend_cache):
    folder = tmp_path_factory.mktemp("malecns")
    with range_server(folder) as server:
        yield write_standin("malecns", folder, url=server.url)


def test_a_link_shows_a_box_and_segments_and_is_read_again(segmend, tmp_path):
    written = segmend("link", "microns", "--box", BOX, "--segments", f"{BIG}, 17").stdout.strip()
    theirs = neuroglancer.parse_url(written)
    assert set(theirs.layers["neurons"].segments) == {BIG, 17}
    np.testing.assert_allclose(theirs.position, [140064, 100064, 20064])
    said = json.loads(segmend("link", written, "--json").stdout)
    assert said["dialect"] == "mainline"
    assert said["position_nm"] == list(Box((8e5, 8e5, 1.12e6), (805120, 801024, 1121024)).center)
    assert {"name": "neurons", "type": "segmentation"}.items() <= said["layers"][1].items()
    assert said["layers"][1]["segments"] == [str(BIG), "17"]
    told = segmend("link", written).stdout
    assert f"segments: {BIG} 17" in told
    assert "voxel size: (40.0, 8.0, 8.0) nm (z, y, x)" in told


def test_a_state_goes_to_a_file_and_comes_back(segmend, tmp_path):
    file = tmp_path / "state.json"
    asked = "--at", "800000,800000,1120000", "--dialect", "spelunker", "--version", "v343"
    said = json.loads(segmend("link", "microns", *asked, "--to", file, "--json").stdout)
    assert said["url"].startswith("https://spelunker.cave-explorer.org/#!%7B%22dim")
    assert json.loads(file.read_text()) == said["state"]
    told = segmend("link", file).stdout
    assert "position: (800000.0, 800000.0, 1120000.0)" in told
    assert "seg_m343" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("micron",), "Did you mean 'microns'"),
        (("microns", "--at", "1,2"), "is not a position"),
        (("microns", "--box", "1:2"), "is not a box"),
        (("microns", "--segments", "1.5"), "whole number"),
        (("microns", "--layer", "nucleus"), "Did you mean 'nuclei'"),
        (("microns", "--region", "V1"), "no regions of 'microns' are recorded"),
        (("microns", "--region", "V1", "--box", BOX), "cannot both be given"),
        (("https://a.example/#!{}", "--at", "1,2,3"), "is for a data set"),
        (("https://a.example/#!gs://b/1",), "refers to one"),
    ],
)
def test_what_cannot_be_linked_is_one_sentence(segmend, arguments, message):
    failed = segmend("link", *arguments, status=2)
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_region_is_linked_and_fetched_by_its_name(segmend, malecns, tmp_path):
    link = segmend("link", malecns, "--region", "AL(R)").stdout.strip()
    (box,) = neuroglancer.parse_url(link).layers["box"].annotations
    array, _ = layer_voxels("malecns", "regions")
    where = np.argwhere(array == 3) * 256.0
    np.testing.assert_allclose(box.point_a[::-1] * 8, where.min(0))
    np.testing.assert_allclose(box.point_b[::-1] * 8, where.max(0) + 256)
    to = tmp_path / "al.h5"
    segmend("fetch", malecns, "--region", "AL(R)", "--layer", "regions", "--to", to, "--absent", 0)
    with h5py.File(to) as file:
        data = file["volumes/labels/regions"]
        assert tuple(data.attrs["offset"]) == tuple(where.min(0))
        np.testing.assert_array_equal(data[:], array[tuple(map(slice, *_span(where)))])


def _span(where):
    corner = (where / 256).astype(int)
    return corner.min(0).tolist(), (corner.max(0) + 1).tolist()
