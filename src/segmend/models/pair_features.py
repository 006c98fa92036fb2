"""What two segments look like to each other, independent of which is called A.

Every measurement is symmetric: of two values, one per segment, the smaller and the larger are kept.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from segmend.models.shapes import (
    NAN,
    Points,
    Values,
    area,
    calibre,
    cosine,
    distance_to,
    points_of,
    principal_axis,
    within,
)
from segmend.models.views import PIXEL, Frame, Mask

TOUCHING = 1.5 * PIXEL
"""Pixels this close, diagonal neighbours included, count as touching."""

NEIGHBOURHOODS = {"near": 0.2, "mid": 0.5, "whole": 4.0}
"""Radii round the contact in which directions are measured, half-widths of the view."""

_DIRECTIONS = tuple(
    f"{word}_{name}"
    for name in NEIGHBOURHOODS
    for word in (
        "axes",
        "straight",
        *(f"{w}_{n}" for w in ("elongation", "along", "end") for n in ("small", "large")),
    )
)
VIEW_MEASURES = (
    *("area_small", "area_large", "area_ratio", "overlap", "gap"),
    *("contact_length", "contact_offset", "calibre_small", "calibre_large", "calibre_ratio"),
    *("depth_step", "normals_agree"),
    *_DIRECTIONS,
)
"""Names that `view_measures` can give."""

SPACE_MEASURES = ("gap", "contact_offset", "facing_small", "facing_large", *_DIRECTIONS)
"""Names that `space_measures` can give."""

_CALIBRE_RADIUS = 0.25
_SURFACE_RADIUS = 0.2
_MOST_POINTS = 400


def view_measures(frame: Frame) -> dict[str, float]:
    """Measurements on one view of a pair."""
    small, large = sorted((area(frame.a), area(frame.b)))
    measures = {
        "area_small": small,
        "area_large": large,
        "area_ratio": small / large if large else NAN,
        "overlap": area(frame.a & frame.b) / small if small else NAN,
    }
    if not small:
        return measures
    from_a, from_b = distance_to(frame.a), distance_to(frame.b)
    apart = from_a + from_b
    site = points_of(apart <= apart.min() + PIXEL).mean(axis=0)
    touching = [frame.a & (from_b <= TOUCHING), frame.b & (from_a <= TOUCHING)]
    measures |= {
        "gap": float(apart.min()),
        "contact_length": sum(np.count_nonzero(t) for t in touching) / 2 * PIXEL,
        "contact_offset": float(np.linalg.norm(site)),
    }
    measures |= _calibres(frame, within(site, _CALIBRE_RADIUS))
    measures |= _surfaces(frame, within(site, _SURFACE_RADIUS))
    return measures | directions(points_of(frame.a), points_of(frame.b), site)


def space_measures(frames: list[Frame]) -> dict[str, float]:
    """Measurements on the surfaces of a pair in space, put together from all views."""
    a = _thinned(np.concatenate([f.world[:, f.a & ~f.b].T for f in frames]).astype(np.float64))
    b = _thinned(np.concatenate([f.world[:, f.b & ~f.a].T for f in frames]).astype(np.float64))
    if not len(a) or not len(b):
        return {}
    from_a, _ = KDTree(b).query(a)
    from_b, _ = KDTree(a).query(b)
    gap = float(min(from_a.min(), from_b.min()))
    close = gap + 2 * PIXEL
    site = (a[from_a <= close].mean(axis=0) + b[from_b <= close].mean(axis=0)) / 2
    measures = {
        "gap": gap,
        "contact_offset": float(np.linalg.norm(site)),
        **_ordered("facing", np.mean(from_a < 0.1), np.mean(from_b < 0.1)),
    }
    return measures | directions(a, b, site)


def directions(a: Points, b: Points, site: Points) -> dict[str, float]:
    """How two point sets run towards their contact, in two or three dimensions.

    Args:
        a: Points of one segment, (points, dimensions).
        b: Points of the other.
        site: Where they meet, (dimensions,).

    Returns:
        Per neighbourhood: ``axes`` (|cosine| between the principal axes), ``straight`` (1 where
        the two lie on opposite sides of the contact, -1 where both lie on the same side),
        ``elongation``, ``along`` (|cosine| of an axis with the line between the centres), and
        ``end`` (distance of the centre from the contact in standard deviations: about 1.7 at the
        tip of a rod, 0 at its middle).
    """
    measures: dict[str, float] = {}
    for name, radius in NEIGHBOURHOODS.items():
        first = principal_axis(_around(a, site, radius))
        second = principal_axis(_around(b, site, radius))
        if first is None or second is None:
            continue
        between = second.centre - first.centre
        to_site = [axis.centre - site for axis in (first, second)]
        pairs = {
            "elongation": (first.elongation, second.elongation),
            "along": tuple(abs(cosine(x.direction, between)) for x in (first, second)),
            "end": tuple(
                float(np.linalg.norm(v)) / x.spread
                for v, x in zip(to_site, (first, second), strict=True)
            ),
        }
        measures[f"axes_{name}"] = abs(cosine(first.direction, second.direction))
        measures[f"straight_{name}"] = -cosine(to_site[0], to_site[1])
        for word, values in pairs.items():
            small, large = sorted(values)
            measures |= {f"{word}_small_{name}": small, f"{word}_large_{name}": large}
    return measures


def _calibres(frame: Frame, near: Mask) -> dict[str, float]:
    """Radii of both segments near the contact."""
    radii = [float(calibre(mask)[near].max()) for mask in (frame.a, frame.b)]
    measures = _ordered("calibre", *radii)
    return measures | {"calibre_ratio": min(radii) / max(radii) if max(radii) else NAN}


def _surfaces(frame: Frame, near: Mask) -> dict[str, float]:
    """Whether the visible surfaces of both go on into each other near the contact."""
    # Where the silhouettes overlap the nearer surface is drawn, and which that is, is not known.
    only = [frame.a & ~frame.b & near, frame.b & ~frame.a & near]
    if not all(mask.any() for mask in only):
        return {}
    depths = [float(np.median(frame.depth[mask])) for mask in only]
    normals = [frame.normals[:, mask].mean(axis=1).astype(np.float64) for mask in only]
    return {
        "depth_step": abs(depths[0] - depths[1]),
        "normals_agree": cosine(normals[0], normals[1]),
    }


def _around(points: Points, site: Points, radius: float) -> Points:
    return points[((points - site) ** 2).sum(axis=1) < radius**2]


def _thinned(points: Points) -> Points:
    """At most `_MOST_POINTS` of the points, evenly spaced in their order."""
    if len(points) <= _MOST_POINTS:
        return points
    return points[np.linspace(0, len(points) - 1, _MOST_POINTS).astype(int)]


def _ordered(name: str, first: float, second: float) -> dict[str, float]:
    values: Values = np.array([first, second], dtype=np.float64)
    return {f"{name}_small": float(values.min()), f"{name}_large": float(values.max())}
