"""Measurements on silhouettes and point sets, in half-widths of the view.

A measurement that does not exist (nothing in view) is NaN; `features` decides what that becomes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmend.models.views import PIXEL, SIZE, Mask

Points = NDArray[np.float64]
Values = NDArray[np.float64]

NAN = float("nan")

_EIGHT = np.ones((3, 3), dtype=bool)
_ROWS, _COLUMNS = np.mgrid[0:SIZE, 0:SIZE]
_CENTRES = ((_COLUMNS + 0.5) * PIXEL - 1, 1 - (_ROWS + 0.5) * PIXEL)
_HULL_ANGLES = np.linspace(0, 2 * np.pi, 48, endpoint=False)
_CIRCLE_ANGLES = np.linspace(0, 2 * np.pi, 360, endpoint=False)


@dataclass(frozen=True, slots=True)
class Axis:
    """Principal axis of a set of points.

    Attributes:
        centre: Mean of the points.
        direction: Unit vector of the largest variance; its sign means nothing.
        spread: Standard deviation along it.
        elongation: 1 - second / first variance: 0 for a disc, 1 for a line.
    """

    centre: Points
    direction: Points
    spread: float
    elongation: float


def points_of(mask: Mask) -> Points:
    """Centres (right, up) of the pixels of a mask, shape (points, 2)."""
    return np.stack([_CENTRES[0][mask], _CENTRES[1][mask]], axis=1)


def area(mask: Mask) -> float:
    """Share of the view that a mask covers."""
    return float(np.count_nonzero(mask)) / mask.size


def calibre(mask: Mask) -> Values:
    """Distance of each pixel to the nearest pixel outside; the edge of the view is not outside."""
    if mask.all():
        return np.full(mask.shape, 2.0)
    return ndimage.distance_transform_edt(mask) * PIXEL


def distance_to(mask: Mask) -> Values:
    """Distance of each pixel to the nearest pixel of a mask; infinite without any."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return ndimage.distance_transform_edt(~mask) * PIXEL


def within(site: Points, radius: float) -> Mask:
    """Pixels whose centre lies closer to a site (right, up) than a radius."""
    return (_CENTRES[0] - site[0]) ** 2 + (_CENTRES[1] - site[1]) ** 2 < radius**2


def principal_axis(points: Points) -> Axis | None:
    """Principal axis of points (n, dimensions); None for fewer than three or coincident ones."""
    if len(points) < 3:
        return None
    centre = points.mean(axis=0)
    offsets = points - centre
    variances, vectors = np.linalg.eigh(offsets.T @ offsets / len(points))
    if variances[-1] < PIXEL**2 / 12:  # no wider than one pixel
        return None
    first, second = float(variances[-1]), max(float(variances[-2]), 0.0)
    return Axis(centre, vectors[:, -1], float(np.sqrt(first)), 1 - second / first)


def cosine(first: Points, second: Points) -> float:
    """Cosine of the angle between two vectors, NaN if one has no length."""
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.dot(first, second)) / length if length > 1e-9 else NAN


def perimeter(mask: Mask) -> float:
    """Length of the boundary along pixel faces; the edge of the view is not boundary."""
    faces = np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    return faces * PIXEL


def solidity(mask: Mask) -> float:
    """Area over area of the convex hull, NaN for an empty mask.

    The hull is spanned by the farthest pixels in 48 directions, which also holds where all pixels
    lie on one line.
    """
    points = points_of(mask)
    if not len(points):
        return NAN
    directions = np.stack([np.cos(_HULL_ANGLES), np.sin(_HULL_ANGLES)])
    corners = points[np.argmax(points @ directions, axis=0)]
    x, y = corners.T
    hull = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    # Pixels have a width: a hull through their centres misses half a pixel all round.
    outline = float(np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1).sum())
    covered = len(points) * PIXEL**2
    return min(1.0, covered / (hull + outline * PIXEL / 2 + PIXEL**2))


def components(mask: Mask) -> int:
    """Number of 8-connected parts."""
    return int(ndimage.label(mask, structure=_EIGHT)[1])


def holes(mask: Mask) -> int:
    """Number of background parts that do not reach the edge of the view."""
    parts, count = ndimage.label(~mask)
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return count - len(np.unique(edge[edge > 0]))


def arms(mask: Mask, radius: float) -> Values:
    """Directions in which a silhouette crosses a circle round the centre of the view.

    Args:
        mask: Silhouette.
        radius: Radius of the circle, half-widths, below 1.

    Returns:
        Angle of the middle of every crossing, radians in [0, 2 pi), ascending; empty if the circle
        is wholly inside or outside.
    """
    columns = ((1 + radius * np.cos(_CIRCLE_ANGLES)) / PIXEL).astype(int)
    rows = ((1 - radius * np.sin(_CIRCLE_ANGLES)) / PIXEL).astype(int)
    inside = mask[np.clip(rows, 0, SIZE - 1), np.clip(columns, 0, SIZE - 1)]
    starts = np.flatnonzero(inside & ~np.roll(inside, 1))
    stops = np.flatnonzero(inside & ~np.roll(inside, -1))
    if not starts.size:
        return np.zeros(0)
    if stops[0] < starts[0]:  # the first run wraps round the angle 0
        stops = np.roll(stops, -1)
    width = (stops - starts) % len(inside)
    middle = (starts + width / 2) * (2 * np.pi / len(inside))
    return np.sort(middle % (2 * np.pi))
