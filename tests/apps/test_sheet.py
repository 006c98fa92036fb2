"""The contact sheet: what a person sees is what the arrays say, at the scale it states."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from segmend.apps.rendering import SiteRequest, draw_site, show_sample
from segmend.apps.sheet.sheet import BAR, GAP, LEFT, SitePictures, contact_sheet, round_length
from segmend.apps.sheet.tiles import COLOUR_A, COLOUR_B
from segmend.catalog.dataset import open as open_dataset
from segmend.core.errors import BadInputError, SegmentNotFoundError, UnknownNameError
from segmend.core.sample import CHANNELS, IMAGE_SIZE, VIEWS, channel
from segmend.shards.reader import Benchmark
from segmend.testing.rows import random_benchmark

COUNTS = {"train": {"merge_edit": 6, "split_edit": 6}}


def column(name: str) -> slice:
    left = LEFT + [*CHANNELS, "split mask"].index(name) * (IMAGE_SIZE + GAP)
    return slice(left, left + IMAGE_SIZE)


def test_masks_appear_in_the_colours_of_the_legend_and_where_they_are():
    geometry = np.zeros((3, 7, IMAGE_SIZE, IMAGE_SIZE), np.float16)
    geometry[1, channel("mask_a"), 100:120, 30:70] = 1
    geometry[1, channel("mask_b"), 5:10, 200:220] = 1
    site = SitePictures("t", geometry, {}, {}, 1000.0, 8.0, (0, 0, 0), {})
    sheet = np.asarray(contact_sheet(site))
    for name, colour in (("mask_a", COLOUR_A), ("mask_b", COLOUR_B)):
        found = (sheet[:, column(name)] == colour).all(-1)
        assert found.sum() == (geometry[1, channel(name)] > 0).sum()


@pytest.mark.parametrize("half_width", [130.0, 1000.0, 24_000.0])
def test_scale_bar_has_the_length_it_states(half_width):
    geometry = np.zeros((3, 7, IMAGE_SIZE, IMAGE_SIZE), np.float16)
    site = SitePictures("t", geometry, {}, {}, half_width, 8.0, (0, 0, 0), {})
    tile = np.asarray(contact_sheet(site))[:, column("silhouette")]
    width = int((tile == BAR).all(-1).sum(1).max())
    assert (width - 1) * 2 * half_width / IMAGE_SIZE == pytest.approx(
        round_length(2 * half_width / 3), abs=2 * half_width / IMAGE_SIZE
    )


def test_an_unknown_scale_is_not_drawn():
    geometry = np.zeros((3, 7, IMAGE_SIZE, IMAGE_SIZE), np.float16)
    sheet = np.asarray(contact_sheet(SitePictures("t", geometry, {}, {}, None, None, None, {})))
    bar = (sheet[:, column("silhouette")] == BAR).all(-1)
    assert not any(row.sum() > 60 for row in bar)


@pytest.mark.parametrize(
    ("most", "length"), [(1, 1), (1.99, 1), (2, 2), (49, 20), (50, 50), (999, 500), (1000, 1000)]
)
def test_scale_bars_are_one_two_or_five_times_a_power_of_ten(most, length):
    assert round_length(most) == length


@pytest.fixture(scope="module")
def tissue():
    return open_dataset("synthetic", shape=(48, 96, 96))


def test_a_site_is_drawn_as_a_row_of_a_benchmark_would_be(tissue):
    labels = tissue.labels["automatic"]
    whole = labels[labels.box]
    ids, counts = np.unique(whole[whole > 0], return_counts=True)
    segment = int(ids[counts.argmax()])
    where = np.argwhere(whole == segment)
    center = tuple(labels.grid.centers(where[len(where) // 2]))
    site = draw_site(tissue, SiteRequest((segment,), center, 400.0))
    assert site.geometry.shape == (3, 7, IMAGE_SIZE, IMAGE_SIZE)
    assert not site.geometry[:, channel("mask_b")].any()
    picture = contact_sheet(site)
    assert picture.width > len(CHANNELS) * IMAGE_SIZE
    assert picture.height > (len(VIEWS) + 1) * IMAGE_SIZE
    with pytest.raises(SegmentNotFoundError, match="does not occur"):
        draw_site(tissue, SiteRequest((segment, 2**63), center, 400.0))
    with pytest.raises(BadInputError, match="one or two segments"):
        draw_site(tissue, SiteRequest((), center, 400.0))


def test_rows_are_found_by_the_beginning_of_their_hash(tmp_path):
    folder = random_benchmark(tmp_path / "bench", COUNTS)
    benchmark = Benchmark.open(folder)
    keys = benchmark.sidecar().column("combined_sample_hash").to_pylist()
    site = show_sample(benchmark, keys[3][:10])
    assert keys[3] in site.title
    with pytest.raises(UnknownNameError, match="0 of 12 hashes"):
        show_sample(benchmark, "nothing")
    with pytest.raises(UnknownNameError, match="12 of 12 hashes"):
        show_sample(benchmark, "")


def test_the_verb_writes_a_picture_or_says_what_is_missing(segmend, tmp_path):
    folder = random_benchmark(tmp_path / "bench", COUNTS)
    key = Benchmark.open(folder).sidecar().column("combined_sample_hash")[0].as_py()
    out = tmp_path / "row.png"
    done = segmend("render", folder, "--sample", key, "--to", out, "--json")
    assert json.loads(done.stdout)["file"] == str(out)
    with Image.open(out) as picture:
        assert picture.format == "PNG"
    done = segmend("render", "synthetic", "--segments", "1", "--to", out, status=2)
    assert "--at" in done.stderr
    done = segmend("render", folder, "--sample", key, "--to", tmp_path / "no" / "a.png", status=5)
    assert "does not exist" in done.stderr
