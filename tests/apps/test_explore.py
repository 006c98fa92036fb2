"""``segmend explore``: what the page says and shows is what the volumes hold."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest
from PIL import Image

import segmend as sg
from segmend.apps.explore.page import write_exploration
from segmend.apps.explore.survey import survey
from segmend.apps.tables import percent
from segmend.core.errors import BadInputError, OutOfBoundsError, OutputError, UnknownNameError
from segmend.core.grid import VoxelGrid
from segmend.core.random import keyed_generator

SHAPE = (12, 30, 40)
VOXEL = (40.0, 8.0, 4.0)
OWN = """
name = "own"
title = "A volume of <one's> own"
species = "fly"
version = "1"
citation = "None."
grid_origin_nm = [0, 0, 0]
licence = { state = "custom", forbids = ["redistribution"] }
defects = ["One section is missing."]
files.main.path = "own.h5"
[layers.image]
key = "em"
doc = "EM"
[layers.neurons]
key = "neurons"
doc = "Labels of a part"
labels = { kind = "instance", as_class = "neuron", invalid = [18446744073709551615] }
[layers.coarse]
key = "coarse"
doc = "Labels of larger voxels"
labels = { kind = "instance" }
[layers.away]
key = "away"
doc = "Labels of other tissue"
labels = { kind = "instance" }
"""


@pytest.fixture
def own(tmp_path):
    """An image, labels of a part of it, coarser ones, and some that lie elsewhere."""
    rng = keyed_generator(3, "own")
    ids = rng.integers(2**60, 2**63, 5, dtype=np.uint64)
    neurons = np.repeat(ids[rng.integers(0, 5, (4, 5, 6))], 5, axis=2)
    neurons[0], neurons[1, 0] = 0, 2**64 - 1
    arrays = {
        "em": (rng.integers(0, 256, SHAPE).astype(np.uint8), VOXEL, (400, 0, 0)),
        "neurons": (neurons, VOXEL, (480, 16, 8)),
        "coarse": (rng.integers(0, 3, (6, 15, 20)).astype(np.uint32), (80, 16, 8), (400, 0, 0)),
        "away": (np.ones((2, 2, 2), np.uint32), VOXEL, (4000, 0, 0)),
    }
    with h5py.File(tmp_path / "own.h5", "w") as file:
        for key, (data, size, offset) in arrays.items():
            file[key] = data
            file[key].attrs.update(resolution=size, offset=offset)
    (tmp_path / "own.toml").write_text(OWN)
    return sg.open(str(tmp_path / "own.toml"))


def pixels(one, name):
    """Which pixels of an overlay show something."""
    return np.asarray(one.overlays[name].convert("RGBA"))[..., 3] > 0


def test_numbers_are_those_of_the_voxels(own):
    found = survey(own)
    em, neurons = own.image[own.image.box], own.segments("neurons")
    assert found.whole
    np.testing.assert_array_equal(found.grey, [(em == v).sum() for v in range(256)])
    layers = {one.name: one for one in found.layers}
    sizes = layers["neurons"].sizes
    assert dict(zip(sizes.ids.tolist(), sizes.voxels.tolist(), strict=True)) == {
        int(i): int((neurons == i).sum()) for i in np.unique(neurons[neurons > 0])
    }
    assert sizes.nothing == (neurons == 0).sum()
    assert layers["neurons"].covered == neurons.size / em.size
    assert layers["coarse"].covered == 1
    assert (layers["away"].covered, layers["away"].sizes) == (0, None)
    touching = {(c.a, c.b) for c in layers["neurons"].contacts}
    for axis in range(3):
        a, b = neurons.swapaxes(0, axis)[:-1], neurons.swapaxes(0, axis)[1:]
        differ = (a != b) & (a > 0) & (b > 0)
        pairs = zip(a[differ].tolist(), b[differ].tolist(), strict=True)
        assert {(min(p), max(p)) for p in pairs} <= touching
    ignored = int((own.labels["neurons"].read(own.labels["neurons"].box).data == 2**64 - 1).sum())
    assert found.classes["ignored"] == ignored > 0
    assert set(found.classes) == {"background", "neuron", "ignored"}, "what no layer can tell"


def test_slices_show_image_and_labels_where_they_lie(own):
    found = survey(own)
    em = own.image[own.image.box]
    assert len(found.slices) == 9
    grid = found.slices[0].grid
    for one in found.slices:
        np.testing.assert_array_equal(np.asarray(one.image), np.take(em, one.index, axis=one.axis))
        assert set(one.overlays) == {"neurons", "coarse", "classes"}
        for name in ("neurons", "coarse"):
            volume, ids = own.labels[name], own.segments(name)
            for row, column in np.ndindex(one.image.size[::-1]):
                voxel = np.insert([row, column], one.axis, one.index)
                under = volume.grid.voxel_at(grid.centers(voxel))
                inside = all(0 <= v < n for v, n in zip(under, ids.shape, strict=True))
                assert pixels(one, name)[row, column] == (inside and ids[under] > 0)


CODED = """[layers.labels]
key = "codes"
doc = "Neurons and clefts in one"
labels = { kind = "coded", codes = { neuron = 1, cleft = 1000000 } }
"""


def test_codes_are_segments_and_classes(own, tmp_path):
    codes = np.zeros(SHAPE, np.uint64)
    codes[1:4], codes[3, :5] = 7, 1_000_003
    with h5py.File(tmp_path / "own.h5", "a") as file:
        file["codes"] = codes
        file["codes"].attrs.update(resolution=VOXEL, offset=(400, 0, 0))
    (tmp_path / "own.toml").write_text(OWN.partition("[layers.neurons]")[0] + CODED)
    found = survey(sg.open(str(tmp_path / "own.toml")))
    (layer,) = found.layers
    assert layer.sizes.ids.tolist() == [7, 1_000_003]
    assert found.classes == {
        "background": int((codes == 0).sum()),
        "neuron": int((codes == 7).sum()),
        "cleft": 5 * SHAPE[2],
    }


def test_a_box_is_read_alone_and_its_edges_are_checked(own):
    box = sg.Box((480, 40, 40), (600, 120, 100))
    found = survey(own, box)
    assert not found.whole
    assert found.grey.sum() == 3 * 10 * 15
    with pytest.raises(OutOfBoundsError):
        survey(own, sg.Box((0, 0, 0), (400, 100, 100)))


def test_only_the_layers_that_are_asked_for_are_read(own, tmp_path):
    found = survey(own, layers=["coarse"])
    assert [one.name for one in found.layers] == ["coarse"]
    assert found.classes == {}
    write_exploration(found, tmp_path / "page.html")
    assert not survey(own, layers=["away"]).slices[0].overlays
    with pytest.raises(UnknownNameError, match="Did you mean 'neurons'"):
        survey(own, layers=["neuron"])


def test_a_box_too_large_for_memory_is_refused_before_it_is_read(own, monkeypatch):
    monkeypatch.setattr("segmend.apps.explore.survey.MOST_VOXELS", 1000)
    with pytest.raises(BadInputError, match="14,400 voxels, 1,000 is the most"):
        survey(own, own.image.box)


class Page(HTMLParser):
    """Everything that a browser would load, and the text."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.tags, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [v for k, v in attributes if k in ("src", "href", "xlink:href", "data")]

    def handle_data(self, data):
        self.text += data


def test_the_page_loads_nothing_and_says_what_to_beware_of(own, tmp_path):
    write_exploration(survey(own), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    page = Page(text)
    assert page.loads
    assert all(url.startswith(("data:image/png;base64,", "#")) for url in page.loads)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"url\((?!#)|@import", text)
    assert "A volume of <one's> own" in page.text
    for fact in (
        "The licence forbids redistribution", "One section is missing.", "40 x 8 x 4 nm",
        "anisotropy", "6.67", "stored in the box", "segments that touch none",
    ):  # fmt: skip
        assert fact in page.text
    overlays = re.findall(r'class="overlay overlay-1".*?base64,([^"]+)', text)
    assert len(overlays) == 9
    picture = Image.open(io.BytesIO(base64.b64decode(overlays[3])))
    assert picture.size == (SHAPE[2], SHAPE[0]), "a slice along z and x"
    assert picture.convert("RGBA").getextrema()[3] == (0, 255), "see-through, and opaque outlines"


def test_the_same_box_makes_the_same_page(own, tmp_path):
    for name in ("a.html", "b.html"):
        write_exploration(survey(own), tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_absent_voxels_are_blue_and_said(tmp_path, own):
    from segmend.apps.explore.slices import ABSENT, cut_slices
    from segmend.core.box import VoxelBox
    from segmend.volumes.volume import Block, Coverage

    data = np.zeros((4, 6, 8), np.uint8)
    absent = VoxelBox((0, 0, 0), (4, 3, 8))
    block = Block(data, Coverage(data.shape, (absent,)), VoxelGrid(VOXEL, (0, 0, 0), data.shape))
    picture = np.asarray(cut_slices(block)[0].image)
    assert (picture[:3] == ABSENT).all()
    assert (picture[3:] == 0).all()


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"), (1, "100 %"), (0.99999, "> 99.9 %"), (0.999, "99.9 %"), (0.00001, "< 0.01 %"),
        (0.5, "50 %"), (0.123456, "12.3 %"),
    ],
)  # fmt: skip
def test_nearly_all_is_not_all(share, text):
    assert percent(share) == text


def test_the_verb_writes_the_page_of_a_record(segmend, own, tmp_path):
    record = tmp_path / "own.toml"
    box = "--box", "480:600,40:120,40:100"
    done = segmend("explore", record, *box, "--out", tmp_path / "e.html", "--json")
    told = json.loads(done.stdout)
    assert told["box"] == {"start_nm": [480, 40, 40], "stop_nm": [600, 120, 100]}
    assert set(told["segments"]) == {"neurons", "coarse"}
    assert (tmp_path / "e.html").stat().st_size > 10_000
    assert "is not a box" in segmend("explore", record, "--box", "1:2", status=2).stderr
    nowhere = tmp_path / "none" / "e.html"
    assert "folder does not exist" in segmend("explore", record, "--out", nowhere, status=5).stderr


def test_a_folder_that_is_not_there_is_known_before_the_work(own, tmp_path):
    with pytest.raises(OutputError, match="folder does not exist"):
        write_exploration(survey(own), tmp_path / "none" / "e.html")
