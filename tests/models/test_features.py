"""Features: finite on anything, blind to the order of A and B, right on known bodies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.sample import channel
from segmend.models.features import UNMEASURED, feature_names, row_features
from segmend.testing.capsules import Capsule, draw

SIDES = [channel("mask_a"), channel("mask_b")]


def measured(geometry: np.ndarray, *, dual: bool) -> dict[str, float]:
    return dict(zip(feature_names(dual=dual), row_features(geometry, dual=dual), strict=True))


def rods(*ends: tuple[tuple[float, ...], tuple[float, ...]], radius: float = 0.12) -> np.ndarray:
    """Rods, alternately of A and B."""
    return draw(
        [Capsule(np.array(a), np.array(b), radius, i % 2) for i, (a, b) in enumerate(ends)]
    )[0]


@st.composite
def geometries(draw_: st.DrawFn) -> np.ndarray:
    """Views of random rectangles of A and B: overlapping, apart, tiny, full or absent."""
    geometry = np.zeros((3, 7, 224, 224), np.float16)
    generator = np.random.default_rng(draw_(st.integers(0, 2**32 - 1)))
    for view in geometry:
        for side in SIDES:
            low = generator.integers(0, 224, 2)
            size = generator.choice([0, 1, 2, 30, 100, 224], 2)
            view[side, low[0] : low[0] + size[0], low[1] : low[1] + size[1]] = 1
        held = view[SIDES].any(axis=0)
        view[channel("silhouette")] = held
        view[channel("depth")] = held * generator.uniform(0.01, 1, (224, 224))
        view[channel("normal_x")] = held
    return geometry


@settings(max_examples=40, deadline=None)
@given(geometries())
def test_pair_features_are_finite_and_the_same_for_both_orders(geometry) -> None:
    swapped = geometry.copy()
    swapped[:, SIDES] = geometry[:, SIDES[::-1]]
    features = row_features(geometry, dual=True)
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(row_features(swapped, dual=True), features)


@settings(max_examples=40, deadline=None)
@given(geometries())
def test_single_features_are_finite_and_ignore_b(geometry) -> None:
    features = row_features(geometry, dual=False)
    assert np.isfinite(features).all()
    without = geometry.copy()
    without[:, channel("mask_b")] = 0
    np.testing.assert_array_equal(row_features(without, dual=False), features)


@pytest.mark.parametrize("dual", [True, False])
def test_an_empty_view_measures_nothing_but_its_emptiness(dual) -> None:
    found = measured(np.zeros((3, 7, 224, 224), np.float16), dual=dual)
    kept = {name for name, value in found.items() if value != UNMEASURED}
    assert kept == {n for n in found if n.startswith("area") and "ratio" not in n}


@pytest.mark.parametrize("dual", [True, False])
def test_every_named_feature_is_measured_on_some_body(dual) -> None:
    cross = rods(((-0.7, -0.7, 0), (0.7, 0.7, 0.3)), ((-0.6, 0.7, 0.1), (0.7, -0.7, 0)))
    extra = rods(
        ((0, 0, 0), (0.9, 0.2, 0.5)), ((0, 0, 0), (-0.9, 0.3, 0.2)), ((0, 0, 0), (0.1, -0.9, -0.9))
    )
    for geometry in (cross, extra):
        if not dual:
            geometry[:, SIDES[0]] = geometry[:, channel("silhouette")]
    values = np.maximum(row_features(cross, dual=dual), row_features(extra, dual=dual))
    missing = np.array(feature_names(dual=dual))[values == UNMEASURED]
    assert not missing.size, missing


def test_end_to_end_rods_meet_at_their_ends_and_parallel_ones_at_their_middles() -> None:
    along = measured(rods(((0, 0, 0), (0.9, 0, 0)), ((-0.02, 0, 0), (-0.9, 0, 0))), dual=True)
    beside = measured(
        rods(((-0.9, 0.12, 0), (0.9, 0.12, 0)), ((-0.9, -0.12, 0), (0.9, -0.12, 0))), dual=True
    )
    for found in (along, beside):
        assert found["space_axes_whole"] > 0.99
        assert found["space_straight_whole"] > 0.8  # on opposite sides of the contact
    assert along["space_along_small_whole"] > 0.99
    assert beside["space_along_large_whole"] < 0.1
    assert along["space_end_small_whole"] > 1.6
    assert beside["space_end_large_whole"] < 0.4
    fold = measured(rods(((0, 0.1, 0), (0.9, 0.3, 0)), ((0, -0.1, 0), (0.9, -0.3, 0))), dual=True)
    assert fold["space_straight_whole"] < -0.3  # on the same side of it


def test_gap_and_calibre_are_those_of_the_bodies() -> None:
    apart = rods(((-0.6, 0.3, 0), (0.6, 0.3, 0)), ((-0.6, -0.3, 0), (0.6, -0.3, 0)), radius=0.15)
    found = measured(apart, dual=True)
    assert found["space_gap"] == pytest.approx(0.3, abs=0.05)
    assert found["gap_max"] == pytest.approx(0.3, abs=0.05)  # the top view sees between them
    assert found["gap_min"] == 0  # the side view looks along y
    touching = rods(
        ((-0.6, 0.16, 0), (0.6, 0.16, 0)), ((-0.6, -0.16, 0), (0.6, -0.16, 0)), radius=0.15
    )
    assert measured(touching, dual=True)["calibre_large_max"] == pytest.approx(0.15, abs=0.03)


def test_a_branch_has_three_arms_and_a_crossing_four() -> None:
    crossing = rods(((-0.9, 0, 0), (0.9, 0, 0)), ((0, -0.9, 0), (0, 0.9, 0)))
    arms = [(0.9, 0, 0), (-0.6, 0.7, 0), (-0.6, -0.7, 0)]
    branch = rods(*(((0, 0, 0), arm) for arm in arms))
    found = []
    for geometry in (branch, crossing):
        geometry[:, SIDES[0]] = geometry[:, channel("silhouette")]
        found.append(measured(geometry, dual=False))
    # The top view shows all arms; from the front and the side both look like one bar.
    assert [f["arms_r60_max"] for f in found] == [3, 4]
    assert found[1]["straightest_r60_max"] == pytest.approx(0, abs=0.05)
    assert found[1]["second_straightest_r60_max"] == pytest.approx(0, abs=0.05)
    turn = np.pi - np.arctan2(0.7, -0.6)
    assert found[0]["straightest_r60_max"] == pytest.approx(turn, abs=0.1)
