"""Rows with every known fault put in, read and compared with the sound ones."""

from __future__ import annotations

import json
import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segmend.core.errors import SchemaError
from segmend.core.sample import SAMPLE_TYPES, channel, sample_type
from segmend.render.encoding import srgb_coded
from segmend.shards.checks import IMAGE_COLUMNS, LABEL_COLUMNS, geometry_problems
from segmend.shards.defects import DEFECTS, defect_lines
from segmend.shards.repair import repair, repaired_row, upright
from segmend.shards.rows import Row, decode_row
from segmend.testing.published import VIEW_EXTENT_NM, as_published, published_geometry, resized
from segmend.testing.rows import random_row

ALL = (*IMAGE_COLUMNS, *LABEL_COLUMNS, "metadata")
NORMALS = slice(channel("normal_x"), channel("mask_a"))
DEPTH = channel("depth")


@cache
def clean(kind: str, seed: int = 0) -> Row:
    return decode_row(random_row(kind, seed), ALL)


def read(kind: str, seed: int = 0) -> tuple[Row, dict[str, Counter[str]]]:
    """A row with the published faults, as read, and what was found: defect to column to count."""
    values, findings = repaired_row(as_published(random_row(kind, seed)), ALL)
    found: dict[str, Counter[str]] = {}
    for finding in findings:
        found.setdefault(finding.defect, Counter())[finding.column] += finding.count
    return values, found


def geometry_read(geometry: np.ndarray, origin: str = "foreign", kind: str = "merge_edit"):
    values, findings = repair({"geometry": geometry}, origin, kind=sample_type(kind))
    return values["geometry"], {f.defect: f.count for f in findings}


# --- whole rows -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SAMPLE_TYPES)
def test_geometry_is_sound_after_repair_and_nearly_the_true_one(kind: str) -> None:
    true, (values, found) = clean(kind)["geometry"], read(kind)
    geometry = values["geometry"]
    assert geometry_problems(geometry, dual=sample_type(kind).dual) == []
    difference = np.abs(geometry[:, NORMALS].astype(float) - true[:, NORMALS].astype(float))
    assert difference.max() < 0.0095  # half a code where the curve is steepest, and half precision
    kept = [channel(name) for name in ("silhouette", "mask_a", "mask_b")]
    np.testing.assert_array_equal(geometry[:, kept], true[:, kept])
    assert found["normals_srgb"]["geometry"] == np.count_nonzero(true[:, 0])


@pytest.mark.parametrize("kind", SAMPLE_TYPES)
def test_what_cannot_be_repaired_is_named(kind: str) -> None:
    found = read(kind)[1]
    dual = {"depth_per_segment", "em_center_isotropic"} if sample_type(kind).dual else set()
    masks = {"split_mask_occlusion"} if kind == "split_edit" else set()
    assert {name for name in found if DEFECTS[name].remedy == "impossible"} == {
        "depth_stretched",
        "sampled_off_centre",
        "em_pixel_size_unknown",
        "view_extent_midpoint",
        *dual,
        *masks,
    }


@pytest.mark.parametrize("kind", SAMPLE_TYPES)
@pytest.mark.parametrize("seed", range(3))
def test_rows_of_ours_come_back_to_the_bit(kind: str, seed: int) -> None:
    row = random_row(kind, seed)
    values, findings = repaired_row(row, ALL)
    assert findings == ()
    for name, value in decode_row(row, ALL).items():
        np.testing.assert_array_equal(values[name], value)


def test_without_the_sample_type_pictures_are_repaired_alike() -> None:
    row = as_published(random_row("merge_edit", 1))
    known, _ = repaired_row(row, IMAGE_COLUMNS)
    unknown, findings = repair(decode_row(row, IMAGE_COLUMNS), "foreign")
    for name, value in known.items():
        np.testing.assert_array_equal(unknown[name], value)
    assert not {"depth_per_segment", "em_center_isotropic"} & {f.defect for f in findings}


def test_what_is_repaired_is_a_copy() -> None:
    decoded = decode_row(as_published(random_row("merge_edit", 1)), IMAGE_COLUMNS)
    before = {name: np.array(value) for name, value in decoded.items()}
    repair(decoded, "foreign")
    for name, value in before.items():
        np.testing.assert_array_equal(decoded[name], value)
    copied, _ = repair(decoded, "foreign")
    changed, _ = repair(decoded, "foreign", in_place=True)
    for name, value in copied.items():
        np.testing.assert_array_equal(changed[name], value)


# --- normals ----------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_any_unit_normal_survives_the_srgb_buffer(seed: int) -> None:
    geometry = np.array(clean("merge_edit")["geometry"])
    drawn = geometry[:, 0] > 0
    vectors = np.random.default_rng(seed).normal(size=(drawn.sum(), 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stored = geometry.copy()
    for axis in range(3):
        stored[:, NORMALS][:, axis][drawn] = srgb_coded(vectors[:, axis])
    back, found = geometry_read(stored)
    read = np.stack([back[:, NORMALS][:, axis][drawn] for axis in range(3)], 1)
    assert np.abs(read.astype(float) - vectors).max() < 0.0095
    assert "normals_unknown" not in found


def test_the_stand_in_codes_normals_as_the_renderer_does() -> None:
    true = clean("merge_edit")["geometry"]
    faulty = published_geometry(true, dual=True)[:, NORMALS]
    drawn = np.broadcast_to(true[:, :1] > 0, faulty.shape)
    rendered = srgb_coded(true[:, NORMALS].astype(np.float32)).astype(np.float16)
    np.testing.assert_array_equal(faulty[drawn], rendered[drawn])


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_normals_that_are_not_coded_stay_and_are_named(scale: float) -> None:
    geometry = np.array(clean("merge_edit")["geometry"])
    geometry[:, NORMALS] *= np.float16(scale)
    back, found = geometry_read(geometry)
    np.testing.assert_array_equal(back, geometry)
    assert found["normals_unknown"] == np.count_nonzero(geometry[:, 0])
    assert "normals_srgb" not in found


def test_linear_normals_of_eight_bits_are_not_taken_for_coded_ones() -> None:
    geometry = np.array(clean("merge_edit")["geometry"])
    linear = 2 * np.rint(255 * (geometry[:, NORMALS].astype(float) + 1) / 2) / 255 - 1
    geometry[:, NORMALS] = np.where(geometry[:, :1] > 0, linear, 0)
    back, found = geometry_read(geometry)
    np.testing.assert_array_equal(back, geometry)
    assert "normals_unknown" in found


def test_an_empty_render_has_no_normals_to_repair() -> None:
    back, found = geometry_read(np.zeros_like(clean("merge_edit")["geometry"]))
    assert not back.any()
    assert not {"normals_srgb", "normals_unknown"} & set(found)


# --- depth, background, overlap -----------------------------------------------------------------


def test_depth_keeps_its_order_and_leaves_the_background_alone() -> None:
    stored = published_geometry(clean("split_edit")["geometry"], dual=False)
    back, found = geometry_read(stored, kind="split_edit")
    drawn = stored[:, 0] > 0
    before, after = stored[:, DEPTH], back[:, DEPTH]
    assert (after[drawn] >= 2.0**-11).all()
    assert not after[~drawn].any()
    far = before >= 2.0**-11
    np.testing.assert_array_equal(after[far], before[far])
    assert found["depth_front_zero"] == np.count_nonzero(drawn & ~far) > 0


def test_a_drawn_background_is_cleared() -> None:
    stored = published_geometry(clean("merge_edit")["geometry"], dual=True)
    background = stored[:, 0] == 0
    expected = geometry_read(stored)[0]
    for plane in (DEPTH, *range(NORMALS.start, NORMALS.stop)):
        stored[:, plane][background] = -1  # what a cleared buffer decodes to
    back, found = geometry_read(stored)
    np.testing.assert_array_equal(back, expected)
    assert found["background_drawn"] == np.count_nonzero(background)


def test_overlapping_pixels_are_counted() -> None:
    stored = published_geometry(clean("merge_edit")["geometry"], dual=True)
    mask_a, mask_b = stored[:, channel("mask_a")], stored[:, channel("mask_b")]
    assert "occlusion_guessed" not in geometry_read(stored)[1]
    place = tuple(np.argwhere(mask_a)[:7].T)
    mask_b[place] = 1
    assert geometry_read(stored)[1]["occlusion_guessed"] == 7


def test_of_our_own_published_encoding_only_the_encoding_is_undone() -> None:
    stored = published_geometry(clean("merge_edit")["geometry"], dual=True)
    back, found = geometry_read(stored, "published")
    np.testing.assert_array_equal(back, geometry_read(stored)[0])
    assert set(found) == {"depth_stretched", "depth_front_zero", "normals_srgb"}
    image = clean("merge_edit")["em_xy_before"] // 2
    values, findings = repair({"em_xy_before": image}, "published", kind=sample_type("merge_edit"))
    assert values["em_xy_before"] is image
    assert findings == ()


# --- slices -------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 4), native=st.integers(120, 400).filter(lambda n: n != 224))
def test_grey_masks_become_binary_and_differ_at_their_border_only(seed: int, native: int) -> None:
    image = clean("merge_edit", seed)["em_xy_before"]
    # What a sound row holds: the same pixels of the volume, by nearest neighbour.
    grid = ((np.arange(224) + 0.5) * native / 224).astype(int)
    small = image[np.ix_(*[((np.arange(native) + 0.5) * 224 / native).astype(int)] * 2)]
    true = small[np.ix_(grid, grid)][..., 1:] > 0
    stored = resized(image, native)
    assert ((stored[..., 1:] > 0) & (stored[..., 1:] < 255)).any()
    values, _ = repair({"em_xy_before": stored}, "foreign", kind=sample_type("merge_edit"))
    masks = values["em_xy_before"][..., 1:]
    assert set(np.unique(masks)) == {0, 255}
    np.testing.assert_array_equal(values["em_xy_before"][..., 0], stored[..., 0])
    voxel = math.ceil(224 / native)  # of the volume, in pixels
    for mask, expected in zip(np.moveaxis(masks > 0, 2, 0), np.moveaxis(true, 2, 0), strict=True):
        wrong = mask != expected
        inside = ndimage.distance_transform_cdt(expected, "chessboard")
        outside = ndimage.distance_transform_cdt(~expected, "chessboard")
        assert np.maximum(inside, outside)[wrong].max(initial=0) <= voxel
        assert wrong.mean() < 0.005


@pytest.mark.parametrize(
    ("kind", "emptied", "empty"),
    [
        ("merge_edit", [1], 1),
        ("merge_edit", [1, 2], 2),
        ("split_edit", [2], 0),
        ("split_edit", [1, 2], 1),
        ("junction_control", [], 0),
        ("junction_control", [1], 1),
    ],
)
def test_slices_that_lack_a_segment_are_named(kind: str, emptied: list[int], empty: int) -> None:
    image = np.array(clean(kind)["em_xz_before"])
    image[..., emptied] = 0
    _, findings = repair({"em_xz_before": image}, "foreign", kind=sample_type(kind))
    assert sum(f.count for f in findings if f.defect == "em_mask_empty") == empty


def test_a_slice_is_turned_for_display_and_back() -> None:
    image = clean("merge_edit")["em_xy_before"]
    assert upright(image)[3, 5].tolist() == image[5, 3].tolist()
    np.testing.assert_array_equal(upright(upright(image)), image)


# --- labels and metadata ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SAMPLE_TYPES)
def test_labels_of_every_release_become_those_of_the_card(kind: str) -> None:
    card = {column: random_row(kind, 0)[column] for column in LABEL_COLUMNS}
    same = sample_type(kind).same_neuron
    v1 = dict(zip(LABEL_COLUMNS, (same, not same), strict=True))  # booleans, for every row
    by_pandas = {c: math.nan if v is None else v for c, v in card.items()}
    for labels in (card, v1, by_pandas):
        assert repair(labels, "foreign", kind=sample_type(kind))[0] == card
    assert repair(card, "foreign", kind=sample_type(kind))[1] == ()


def test_the_middle_of_a_range_is_not_handed_out_as_the_extent() -> None:
    stored = as_published(random_row("merge_edit", 0))
    before, after = json.loads(stored["metadata"]), json.loads(read("merge_edit")[0]["metadata"])
    assert before.pop("view_extent_nm") == VIEW_EXTENT_NM
    assert after.pop("view_extent_midpoint_nm") == VIEW_EXTENT_NM
    assert after == before


@pytest.mark.parametrize(
    ("metadata", "what"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ('{"encoding": "other"}', "unknown encoding"),
        ('{"schema_version": "v2"}', "declares no encoding"),
    ],
)
def test_an_origin_that_cannot_be_told_is_an_error(metadata: str, what: str) -> None:
    row = random_row("merge_edit", 0) | {"metadata": metadata}
    with pytest.raises(SchemaError, match=what):
        repaired_row(row, ["geometry"])


# --- the table ----------------------------------------------------------------------------------


def test_every_defect_of_the_table_can_be_met() -> None:
    met = set[str]()
    for kind in SAMPLE_TYPES:
        met |= set(read(kind)[1])
    broken = decode_row(as_published(random_row("merge_edit", 0)), ALL)
    broken["geometry"] = np.array(broken["geometry"])
    broken["geometry"][:, 1:] = 1
    broken |= {LABEL_COLUMNS[0]: math.nan, LABEL_COLUMNS[1]: False}
    broken["em_xy_before"] = np.zeros_like(broken["em_xy_before"])
    met |= {f.defect for f in repair(broken, "foreign", kind=sample_type("merge_edit"))[1]}
    assert met == {name for name, defect in DEFECTS.items() if defect.remedy != "convention"}


def test_the_report_begins_with_what_cannot_be_repaired() -> None:
    lines = list(defect_lines({"normals_srgb": 3, "depth_stretched": 4}))
    assert lines[0].startswith("depth_stretched (4 rows; cannot be repaired): Depth is stretched")
    assert lines[1].startswith("normals_srgb (3 rows; repaired on reading, not to the digit)")
