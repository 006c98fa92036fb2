"""Measurements on plain shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from skimage.draw import disk

from segmend.models.shapes import (
    arms,
    components,
    cosine,
    holes,
    perimeter,
    points_of,
    principal_axis,
    solidity,
)
from segmend.models.views import PIXEL, SIZE

ROWS, COLUMNS = np.mgrid[0:SIZE, 0:SIZE]


def strip(angle: float, half: float = 4) -> np.ndarray:
    """A bar through the centre of the view; angle from image right, counter-clockwise."""
    x, y = COLUMNS - SIZE / 2 + 0.5, SIZE / 2 - 0.5 - ROWS
    return np.abs(y * np.cos(angle) - x * np.sin(angle)) <= half


def round_mask(radius: float) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[disk((SIZE / 2, SIZE / 2), radius)] = True
    return mask


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2, 2.5])
def test_principal_axis_of_a_bar_is_its_direction(angle) -> None:
    axis = principal_axis(points_of(strip(angle) & round_mask(40)))
    assert axis is not None
    assert abs(cosine(axis.direction, np.array([np.cos(angle), np.sin(angle)]))) > 0.999
    assert axis.elongation > 0.95


def test_principal_axis_of_a_disc_has_no_elongation() -> None:
    axis = principal_axis(points_of(round_mask(30)))
    assert axis is not None
    assert axis.elongation < 0.01
    assert axis.spread == pytest.approx(30 * PIXEL / 2, rel=0.02)  # a disc: radius / 2


def test_too_few_points_have_no_axis() -> None:
    assert principal_axis(np.zeros((2, 3))) is None
    assert principal_axis(np.zeros((9, 3))) is None


@pytest.mark.parametrize(("count", "angles"), [(2, [0.3]), (4, [0.3, 1.8])])
def test_arms_of_crossing_bars_are_counted_and_found(count, angles) -> None:
    mask = np.any([strip(angle) for angle in angles], axis=0)
    found = arms(mask, 0.6)
    assert len(found) == count
    expected = sorted(a % (2 * np.pi) for angle in angles for a in (angle, angle + np.pi))
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_a_single_arm_across_the_angle_zero_is_one() -> None:
    np.testing.assert_allclose(np.sin(arms(strip(0.0) & (COLUMNS > SIZE / 2), 0.5)), 0, atol=0.03)
    assert len(arms(strip(0.0) & (COLUMNS > SIZE / 2), 0.5)) == 1


def test_a_full_or_empty_circle_has_no_arms() -> None:
    assert not arms(np.ones((SIZE, SIZE), bool), 0.5).size
    assert not arms(np.zeros((SIZE, SIZE), bool), 0.5).size


def test_solidity_is_near_that_of_the_exact_hull() -> None:
    for mask in (round_mask(30), strip(0.3) | strip(1.7), strip(0.0)):
        corners = np.concatenate(
            [
                points_of(mask) + d
                for d in PIXEL / 2 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
            ]
        )
        exact = mask.sum() * PIXEL**2 / ConvexHull(corners).volume
        assert solidity(mask) == pytest.approx(exact, abs=0.02)


def test_parts_and_holes_are_counted() -> None:
    ring = round_mask(30) & ~round_mask(20)
    assert (components(ring), holes(ring)) == (1, 1)
    two = strip(0.0) & (np.abs(COLUMNS - SIZE / 2) > 10)
    assert (components(two), holes(two)) == (2, 0)


def test_perimeter_leaves_out_the_edge_of_the_view() -> None:
    square = np.zeros((SIZE, SIZE), bool)
    square[:10, :10] = True
    assert perimeter(square) == pytest.approx(20 * PIXEL)
