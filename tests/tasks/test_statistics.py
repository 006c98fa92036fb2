"""Probes of rows that one can measure by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from segmend.core.sample import PLANES, VIEWS, channel, em_channel
from segmend.tasks.statistics import PROBES, seen_statistics, stored_statistics
from segmend.tasks.task import Inputs


def inputs(*, a: int, b: int) -> Inputs:
    """Two squares side by side in every picture, so many pixels wide."""
    geometry = np.zeros((3, 7, 224, 224), np.float16)
    em = np.full((4, 224, 224, 3), 100, np.uint8)
    em[..., 1:] = 0
    for side, (start, width) in zip(("mask_a", "mask_b"), ((50, a), (50 + a, b)), strict=True):
        geometry[:, channel(side), 50:100, start : start + width] = 1
        em[:, 50:100, start : start + width, em_channel(side)] = 255
    return Inputs(geometry=geometry, em=em, views=VIEWS, planes=PLANES)


def test_statistics_of_known_squares() -> None:
    row = seen_statistics(inputs(a=20, b=10), dual=True)
    assert row["area_geometry"] == row["smallest_view"] == pytest.approx(50 * 30 / 224**2)
    assert row["balance_geometry"] == pytest.approx(1 / 3)
    assert row["em_brightness"] == row["em_inside"] == 100
    assert row["em_contrast"] == row["em_outside"] == row["depth"] == row["depth_spread"] == 0
    assert row["contact_em"] == pytest.approx(2 / 10)  # two columns of A lie near B
    assert row["order_geometry"] == row["order_em"] == pytest.approx(1 / 3)
    assert row["empty_masks"] == 0
    assert seen_statistics(inputs(a=0, b=0), dual=True)["empty_masks"] == 2 * (3 + 4)


def test_every_statistic_is_a_probe_and_every_probe_but_the_rank_is_a_statistic() -> None:
    seen = seen_statistics(inputs(a=20, b=10), dual=True)
    stored = stored_statistics({}, {})
    assert {*seen, *stored} == {*PROBES} - {"rank"}


def test_order_is_no_statistic_of_a_single_segment() -> None:
    row = seen_statistics(inputs(a=20, b=10), dual=False)
    assert not {"order_geometry", "order_em", "overlap_geometry", "contact_em"} & {*row}


def test_order_changes_sign_with_the_sides_and_nothing_else_changes() -> None:
    one, other = inputs(a=20, b=10), inputs(a=20, b=10)
    other.geometry[:, [5, 6]] = other.geometry[:, [6, 5]]
    other.em[..., [1, 2]] = other.em[..., [2, 1]]
    first, second = (seen_statistics(each, dual=True) for each in (one, other))
    for name in ("order_geometry", "order_em"):
        assert first.pop(name) == -second.pop(name)
    assert first == pytest.approx(second, nan_ok=True)


def test_centring_is_the_distance_of_the_site_from_the_centre_in_pixels() -> None:
    said = {"view_extent_nm": 560.0, "render_center_nm": [3, 4, 0], "anchor_nm": [0, 0, 0]}
    assert stored_statistics(said, {})["centring"] == pytest.approx(1.0)  # 5 nm a pixel
    assert math.isnan(stored_statistics(said | {"view_extent_nm": None}, {})["centring"])


def test_gaps_and_offsets_of_a_square_are_measured_from_the_middle_of_the_picture() -> None:
    row = seen_statistics(inputs(a=20, b=0), dual=False)
    nearest, middle = math.hypot(111.5 - 99, 111.5 - 69), math.hypot(111.5 - 74.5, 111.5 - 59.5)
    assert row["gap_geometry"] == row["gap_em"] == pytest.approx(nearest)
    assert row["offset_geometry"] == pytest.approx(middle)


def test_moments_are_those_of_numpy() -> None:
    rng = np.random.default_rng(3)
    one = inputs(a=20, b=10)
    one.em[..., em_channel("em")] = rng.integers(0, 256, one.em.shape[:-1])
    for name in ("normal_x", "normal_y", "normal_z", "depth"):
        one.geometry[:, channel(name)] = rng.random((3, 224, 224))
    row, grey = seen_statistics(one, dual=True), one.em[..., em_channel("em")]
    assert row["em_contrast"] == pytest.approx(grey.std(dtype=float))
    assert row["em_brightness"] == pytest.approx(grey.mean(dtype=float))
    assert row["em_outside"] == pytest.approx((grey == 0).mean())
    depth = one.geometry[:, channel("depth"), 50:100, 50:80].astype(float)
    assert row["depth"] == pytest.approx(depth.mean())
    assert row["depth_spread"] == pytest.approx(depth.std())
    normals = [channel(name) for name in ("normal_x", "normal_y", "normal_z")]
    change = np.abs(np.diff(one.geometry[:, normals, 50:100, 50:80].astype(float), axis=3))
    assert row["mesh_roughness"] == pytest.approx(change.sum(axis=1).mean(), rel=1e-4)


def test_what_metadata_do_not_say_is_not_a_number() -> None:
    assert all(math.isnan(value) for value in stored_statistics({}, {}).values())
    row = stored_statistics({"segment_voxels": ["7", "30"], "edit_point_nm": [1, 2, 3]}, {})
    assert (row["voxels"], row["voxels_largest"]) == (7, 30)
    assert (row["place_x"], row["place_y"], row["place_z"]) == (1, 2, 3)
