"""Boxes of a data set by the names of its regions."""

import json

import numpy as np
import pytest

import segmend as sg
from segmend.catalog import regions
from segmend.catalog.regions import region_box, region_names
from segmend.catalog.segment_names import read_segment_names
from segmend.core.errors import (
    BadInputError,
    ReadFailedError,
    SchemaError,
    SegmentNotFoundError,
    UnknownNameError,
)
from segmend.store.open import open_store
from segmend.testing.servers import range_server
from segmend.testing.standins import write_standin
from segmend.testing.standins.layouts import LAYOUTS
from segmend.testing.standins.precomputed import layer_voxels


@pytest.fixture
def malecns(tmp_path, segmend_cache, monkeypatch):
    """The opened stand-in and its server; nothing of it was read before."""
    monkeypatch.setenv("SEGMEND_CACHE_BYTES", "50000000")
    with range_server(tmp_path) as server:
        yield sg.open(str(write_standin("malecns", tmp_path, url=server.url))), server, tmp_path


def box_of(array, grid, ids):
    """Slow reference: from the coordinates of every voxel."""
    where = np.argwhere(np.isin(array, ids))
    start, stop = where.min(0) * grid.voxel_size, (where.max(0) + 1) * grid.voxel_size
    return sg.Box(start + grid.offset, stop + grid.offset)


def test_every_region_has_the_box_of_its_voxels(malecns):
    dataset, *_ = malecns
    for layer in ("regions", "regions_vnc"):
        array, grid = layer_voxels("malecns", layer)
        for number, name in LAYOUTS["malecns"].layers[layer].names.items():
            assert dataset.region(name) == box_of(array, grid, [number])
    assert dataset.regions == ("AL(R)", "AL(L)", "EB", "ME(R)", "LegNp(T1)(L)", "ANm")
    assert dataset.image.box.intersect(dataset.region("AL(R)"))


def test_a_layer_is_read_once_and_its_boxes_are_kept(malecns):
    dataset, server, _ = malecns
    stages = []
    first = region_box(dataset, "EB", report=lambda *told: stages.append(told))
    assert stages == [("reading regions", 1, 1)]
    before = len(server.log)
    assert region_box(dataset, "EB", report=lambda *told: stages.append(told)) == first
    assert len(stages) == 1
    assert {asked.path.rpartition("/")[2] for asked in server.log[before:]} == {"info"}


def test_changed_data_are_read_again_and_a_damaged_cache_is_made_again(malecns, segmend_cache):
    dataset, _, folder = malecns
    box = dataset.region("EB")
    (file,) = [f for f in segmend_cache.glob("regions/*.json") if _newest(f, segmend_cache)]
    file.write_text('{"41": [[0, 0, 0]')
    assert dataset.region("EB") == box
    info = next(folder.rglob("fullbrain-roi-v4/info"))
    described = json.loads(info.read_text())
    described["note"] = "changed"
    info.write_text(json.dumps(described))
    kept = len(list(segmend_cache.glob("regions/*.json")))
    dataset.region("EB")
    assert len(list(segmend_cache.glob("regions/*.json"))) == kept + 1


def _newest(file, cache):
    return file.stat().st_mtime_ns == max(
        f.stat().st_mtime_ns for f in cache.glob("regions/*.json")
    )


def test_unknown_names_are_answered_with_the_nearest_and_no_voxel_is_read(malecns):
    dataset, server, _ = malecns
    with pytest.raises(UnknownNameError, match=r"Did you mean 'ME\(R\)'"):
        dataset.region("ME(r)")
    assert all(asked.path.endswith("info") for asked in server.log)


def test_a_region_with_a_name_and_no_voxel_is_not_an_empty_box(malecns):
    dataset, _, folder = malecns
    properties = next(folder.rglob("fullbrain-roi-v4/segment_properties/info"))
    content = json.loads(properties.read_text())
    content["inline"]["ids"].append("77")
    content["inline"]["properties"][0]["values"].append("nowhere")
    content["inline"]["ids"].append("3000")
    content["inline"]["properties"][0]["values"].append("EB")
    properties.write_text(json.dumps(content))
    with pytest.raises(SegmentNotFoundError, match="'nowhere' has no voxel"):
        dataset.region("nowhere")
    array, grid = layer_voxels("malecns", "regions")
    assert dataset.region("EB") == box_of(array, grid, [41])


def test_of_several_scales_the_finest_that_is_not_too_large_is_read(
    tmp_path, segmend_cache, monkeypatch
):
    dataset = sg.open(str(write_standin("fish1", tmp_path)))
    fine, fine_grid = layer_voxels("fish1", "regions", (30, 512, 512))
    coarse, coarse_grid = layer_voxels("fish1", "regions", (30, 1024, 1024))
    assert dataset.region("Retina") == box_of(fine, fine_grid, [1])
    monkeypatch.setattr(regions, "MAX_VOXELS", fine.size - 1)
    assert dataset.region("Retina") == box_of(coarse, coarse_grid, [1])
    monkeypatch.setattr(regions, "MAX_VOXELS", coarse.size - 1)
    with pytest.raises(BadInputError, match="too large to be read through"):
        dataset.region("Retina")


def test_data_sets_without_named_regions_say_so(tmp_path, segmend_cache):
    with pytest.raises(BadInputError, match="no regions of 'microns' are recorded"):
        sg.open("microns").region("V1")
    record = write_standin("hemibrain", tmp_path)
    with pytest.raises(SchemaError, match="names no regions"):
        sg.open(str(record)).region("EB")


def test_regions_of_local_files_are_never_taken_from_the_cache(tmp_path, segmend_cache):
    dataset = sg.open(str(write_standin("manc", tmp_path)))
    kept = set(segmend_cache.glob("regions/*.json"))
    array, grid = layer_voxels("manc", "regions")
    assert dataset.region("ANm") == box_of(array, grid, [27])
    assert set(segmend_cache.glob("regions/*.json")) == kept
    assert region_names(dataset) == {"regions": {1: "LegNp(T1)(L)", 27: "ANm"}}


INLINE = {"ids": ["1", "18446744073709551615"]}
LABEL = {"id": "source", "type": "label", "values": ["a", "b"]}
TAGS = {"id": "t", "type": "tags", "tags": ["x"], "values": [[0], []]}


def named(folder, content, info=None):
    (folder / "info").write_text(json.dumps(info or {"segment_properties": "names"}))
    (folder / "names").mkdir()
    (folder / "names" / "info").write_text(
        json.dumps({"@type": "neuroglancer_segment_properties", **content})
    )
    return open_store(folder)


def test_names_are_found_among_other_properties(tmp_path):
    store = named(tmp_path, {"inline": INLINE | {"properties": [TAGS, LABEL]}})
    assert read_segment_names(store) == {1: "a", 2**64 - 1: "b"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"inline": {"ids": ["1"], "properties": [LABEL]}}, "cannot be used"),
        ({"inline": {"ids": ["1", "1"], "properties": [LABEL]}}, "names a segment twice"),
        ({"inline": {"ids": ["1", "-2"], "properties": [LABEL]}}, "whole number"),
        ({"inline": {"ids": ["1", str(2**64)], "properties": [LABEL]}}, "uint64"),
        ({"inline": {"ids": [1, 2], "properties": [LABEL]}}, "Expected `str`"),
        ({"inline": INLINE | {"properties": [LABEL | {"values": [1, 2]}]}}, "Expected `str`"),
        ({"@type": "neuroglancer_skeletons", "inline": INLINE | {"properties": []}}, "@type is"),
        ({}, "missing required field `inline`"),
    ],
)
def test_names_that_are_laid_out_otherwise_are_refused(tmp_path, content, message):
    with pytest.raises(SchemaError, match=message):
        read_segment_names(named(tmp_path, content))


def test_names_stay_inside_the_folder_of_the_volume(tmp_path):
    outside = named(tmp_path, {}, info={"segment_properties": "../../etc"})
    with pytest.raises(SchemaError, match="outside its own folder"):
        read_segment_names(outside)


def test_names_that_are_promised_and_missing_are_a_failed_read(tmp_path):
    (tmp_path / "info").write_text(json.dumps({"segment_properties": "names"}))
    with pytest.raises(ReadFailedError, match="there is no"):
        read_segment_names(open_store(tmp_path))
    (tmp_path / "info").write_text("{}")
    assert read_segment_names(open_store(tmp_path)) == {}
