"""What one segment looks like around a site: does it branch, or are two neurons stuck together?"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from segmend.models.shapes import (
    NAN,
    area,
    arms,
    calibre,
    components,
    holes,
    perimeter,
    points_of,
    principal_axis,
    solidity,
    within,
)
from segmend.models.views import Array, Frame, Mask

ARM_RADII = (0.2, 0.4, 0.6, 0.8)
"""Radii of the circles on which protrusions are counted, half-widths of the view."""

DEPTH_STEPS = (0.02, 0.05, 0.1)
"""Jumps in depth between neighbouring pixels that count as a discontinuity, of the view depth."""

_CENTRE_RADIUS = 0.3
_CALIBRE_QUANTILES = (0.5, 0.75, 0.9, 1.0)

VIEW_MEASURES = (
    *("area", "solidity", "components", "holes", "perimeter", "compactness", "elongation"),
    *("spread", "calibre_near", "calibre_share"),
    *(f"calibre_q{round(q * 100)}" for q in _CALIBRE_QUANTILES),
    *(
        f"{word}_r{round(radius * 100)}"
        for radius in ARM_RADII
        for word in ("arms", "straightest", "second_straightest")
    ),
    *(
        f"{word}{where}"
        for where in ("", "_near")
        for word in (
            *("depth_range", "depth_deviation", "roughness"),
            *(f"depth_steps_{round(step * 100)}" for step in DEPTH_STEPS),
        )
    ),
)
"""Names that `view_measures` can give."""

SPACE_MEASURES = ("spread", "elongation", "centre_offset")
"""Names that `space_measures` can give."""


def view_measures(frame: Frame) -> dict[str, float]:
    """Measurements on one view of a segment."""
    mask = frame.a
    if not mask.any():
        return {"area": 0.0}
    near = within(np.zeros(2), _CENTRE_RADIUS)
    axis = principal_axis(points_of(mask))
    length = perimeter(mask)
    measures = {
        "area": area(mask),
        "solidity": solidity(mask),
        "components": float(components(mask)),
        "holes": float(holes(mask)),
        "perimeter": length,
        "compactness": length**2 / (area(mask) * 4),
        "elongation": axis.elongation if axis else NAN,
        "spread": axis.spread if axis else NAN,
    }
    return (
        measures
        | _calibres(mask, near)
        | _protrusions(mask)
        | _depths(frame, mask, "")
        | _depths(frame, mask & near, "_near")
    )


def space_measures(frames: list[Frame]) -> dict[str, float]:
    """Measurements on the surface in space, put together from all views."""
    points = np.concatenate([f.world[:, f.a].T for f in frames]).astype(np.float64)
    axis = principal_axis(points)
    if axis is None:
        return {}
    return {
        "spread": axis.spread,
        "elongation": axis.elongation,
        "centre_offset": float(np.linalg.norm(axis.centre)),
    }


def _calibres(mask: Mask, near: Mask) -> dict[str, float]:
    """Radius profile of the silhouette, and the radius at the site against it."""
    radii = calibre(mask)
    inside = radii[mask]
    levels = np.quantile(inside, _CALIBRE_QUANTILES)
    measures = {
        f"calibre_q{round(q * 100)}": float(v)
        for q, v in zip(_CALIBRE_QUANTILES, levels, strict=True)
    }
    here = float(radii[near].max())
    return measures | {"calibre_near": here, "calibre_share": here / float(inside.max())}


def _protrusions(mask: Mask) -> dict[str, float]:
    """How many arms leave the site, and how nearly two of them go on into each other."""
    measures = {}
    for radius in ARM_RADII:
        name = f"r{round(radius * 100)}"
        angles = arms(mask, radius)
        bends = sorted(_bend(a, b) for a, b in combinations(angles, 2))
        measures[f"arms_{name}"] = float(len(angles))
        measures[f"straightest_{name}"] = bends[0] if bends else NAN
        measures[f"second_straightest_{name}"] = bends[1] if len(bends) > 1 else NAN
    return measures


def _bend(first: float, second: float) -> float:
    """Angle by which a path turns from one arm into another: 0 straight on, pi back again."""
    apart = abs(first - second)
    return np.pi - min(apart, 2 * np.pi - apart)


def _depths(frame: Frame, mask: Mask, where: str) -> dict[str, float]:
    """Depth range, jumps in depth and roughness of the surface inside a mask."""
    if not mask.any():
        return {}
    low, high = np.quantile(frame.depth[mask], [0.05, 0.95])
    jumps = _neighbour_differences(frame.depth[None], mask)
    turns = _neighbour_differences(frame.normals, mask)
    measures = {
        f"depth_range{where}": float(high - low),
        f"depth_deviation{where}": float(frame.depth[mask].std()),
        f"roughness{where}": float(turns.mean()) if turns.size else NAN,
    }
    for step in DEPTH_STEPS:
        share = float(np.mean(jumps > step)) if jumps.size else NAN
        measures[f"depth_steps_{round(step * 100)}{where}"] = share
    return measures


def _neighbour_differences(image: Array, mask: Mask) -> Array:
    """Length of the difference between all pairs of neighbouring pixels inside a mask."""
    right = mask[:, 1:] & mask[:, :-1]
    down = mask[1:] & mask[:-1]
    across = (image[:, :, 1:] - image[:, :, :-1])[:, right]
    along = (image[:, 1:] - image[:, :-1])[:, down]
    pairs = np.concatenate([across, along], axis=1)
    return np.sqrt((pairs**2).sum(axis=0))
