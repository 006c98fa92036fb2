"""Statistics of one row that could give its answer away, as pure functions of what is stored.

A probe is a number per row. Its AUROC against the label says what a model that knew nothing else
would score. *Artefact* probes measure how a row was made, so their AUROC must be 0.5; *content*
probes measure the tissue and may well tell something; *metadata* probes are what no model sees.
The audit of a benchmark scores each; the models ``artefact``, ``content`` and ``metadata`` learn
the best of each kind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segmend.core.sample import IMAGE_SIZE, channel, em_channel
from segmend.tasks.task import Inputs

ProbeKind = Literal["artefact", "content", "metadata"]

NAN = math.nan


@dataclass(frozen=True, slots=True)
class Probe:
    """One statistic.

    Attributes:
        name: Its name.
        kind: What a departure from 0.5 means.
        doc: What it measures, for people.
    """

    name: str
    kind: ProbeKind
    doc: str


PROBES = {
    p.name: p
    for p in (
        Probe("order_geometry", "artefact", "(A - B) / (A + B) of the areas in the views"),
        Probe("order_em", "artefact", "(A - B) / (A + B) of the areas in the EM slices"),
        Probe("empty_masks", "artefact", "masks shown that are empty"),
        Probe("view_extent", "artefact", "half-width of the views, nm"),
        Probe("em_pixel_size", "artefact", "pixel of the EM slices, nm"),
        Probe("centring", "artefact", "pixels from the centre of the views to the site"),
        Probe("area_geometry", "content", "share of the views that is drawn"),
        Probe("area_em", "content", "share of the EM slices under the masks"),
        Probe("balance_geometry", "content", "smaller of A and B as a share of both, views"),
        Probe("gap_geometry", "content", "pixels from the centre of the views to what is drawn"),
        Probe("gap_em", "content", "pixels from the centre of the EM slices to the masks"),
        Probe("overlap_geometry", "content", "share of what is drawn that A and B both cover"),
        Probe("offset_geometry", "content", "pixels from the centre of the views to the centroid"),
        Probe("centre_em", "content", "share of the middle of the EM slices under the masks"),
        Probe("mesh_roughness", "content", "change of the normal from pixel to pixel"),
        Probe("em_outside", "content", "share of the EM slices that is 0"),
        Probe("smallest_view", "content", "share of the view in which least is drawn"),
        Probe("depth", "content", "mean depth of what is drawn"),
        Probe("depth_spread", "content", "standard deviation of the depth of what is drawn"),
        Probe("contact_em", "content", "share of the smaller mask within two pixels of the other"),
        Probe("em_brightness", "content", "mean grey level of the EM slices"),
        Probe("em_inside", "content", "mean grey level under the masks"),
        Probe("em_contrast", "content", "standard deviation of the EM slices, grey levels"),
        Probe("geometry_bytes", "content", "bytes of the packed geometry"),
        Probe("em_bytes", "content", "bytes of the packed EM slices"),
        Probe("voxels", "metadata", "voxels of the smallest segment"),
        Probe("voxels_largest", "metadata", "voxels of the largest segment"),
        Probe("purity", "metadata", "purity of the least pure segment"),
        Probe("timestamp", "metadata", "time of the edit"),
        Probe("place_z", "metadata", "z of the site"),
        Probe("place_y", "metadata", "y of the site"),
        Probe("place_x", "metadata", "x of the site"),
        Probe("rank", "metadata", "place of the row in its split"),
    )
}
"""Every probe by name."""

_CENTRE = (IMAGE_SIZE - 1) / 2
_MIDDLE = slice(IMAGE_SIZE // 2 - 8, IMAGE_SIZE // 2 + 8)
_STEPS = np.arange(IMAGE_SIZE) - _CENTRE
_SQUARES = _STEPS[:, None] ** 2 + _STEPS[None] ** 2  # of the distance from the centre, pixels
_LEVELS = np.arange(256)

Values = dict[str, float]


def seen_statistics(inputs: Inputs, *, dual: bool) -> Values:
    """Statistics of what a task lets a model see; NaN where there is nothing to measure.

    Args:
        inputs: From `Task.inputs`.
        dual: Whether two segments are shown.
    """
    geometry = inputs.geometry
    # Masks hold 0 and 1 only; comparing halves themselves takes ten times as long.
    a, b = (geometry[:, channel(name)].view(np.uint16) != 0 for name in ("mask_a", "mask_b"))
    em_a, em_b = (inputs.em[..., em_channel(name)] > 0 for name in ("mask_a", "mask_b"))
    shown = [(a, em_a), (b, em_b)] if dual else [(a, em_a)]
    drawn, under = a | b, em_a | em_b
    values = {
        "empty_masks": float(sum(_empty(m) + _empty(e) for m, e in shown)),
        "gap_geometry": _largest([_gap(mask) for mask, _ in shown]),
        "gap_em": _largest([_gap(mask) for _, mask in shown]),
        "area_geometry": _share(drawn),
        "area_em": _share(under),
        "offset_geometry": _mean([_offset(mask) for mask in drawn]),
        "centre_em": _share(under[:, _MIDDLE, _MIDDLE]),
        "mesh_roughness": _roughness(geometry, drawn),
        "smallest_view": float(drawn.mean(axis=(1, 2)).min()),
        **_depth(geometry[:, channel("depth")][drawn]),
    }
    grey = inputs.em[..., em_channel("em")]
    if grey.size:
        values |= {
            **_levels(grey),
            "em_inside": float(grey[under].mean()) if under.any() else NAN,
        }
    if dual:
        pixels = int(a.sum()), int(b.sum())
        values |= {
            "order_geometry": _order(*pixels),
            "order_em": _order(int(em_a.sum()), int(em_b.sum())),
            "balance_geometry": min(pixels) / max(sum(pixels), 1),
            "overlap_geometry": float((a & b).sum() / max(int(drawn.sum()), 1)),
            "contact_em": _contact(em_a, em_b),
        }
    return values


def stored_statistics(metadata: Mapping[str, Any], sizes: Mapping[str, int]) -> Values:
    """Statistics of what lies beside the pictures; NaN where the row does not say.

    Args:
        metadata: Of the row.
        sizes: Bytes of each picture, by column.
    """
    voxels, purity = (metadata.get(k) or [] for k in ("segment_voxels", "segment_purity"))
    site = metadata.get("anchor_nm") or metadata.get("edit_point_nm") or [None] * 3
    x, y, z = (_number(v) for v in site)
    return {
        "view_extent": _number(metadata.get("view_extent_nm")),
        "centring": _centring(metadata),
        "em_pixel_size": _number(metadata.get("em_pixel_size_nm")),
        "geometry_bytes": _bytes(sizes, "geometry"),
        "em_bytes": _bytes(sizes, "em_"),
        "voxels": min(map(float, voxels), default=NAN),
        "voxels_largest": max(map(float, voxels), default=NAN),
        "purity": min(map(float, purity), default=NAN),
        "timestamp": _number(metadata.get("timestamp")),
        "place_z": z,
        "place_y": y,
        "place_x": x,
    }


def _centring(metadata: Mapping[str, Any]) -> float:
    """Pixels from the centre of the views to the site, in space."""
    extent = _number(metadata.get("view_extent_nm"))
    centre = metadata.get("render_center_nm")
    site = metadata.get("anchor_nm")
    if not extent > 0 or centre is None or site is None:
        return NAN
    return math.dist(centre, site) / extent * IMAGE_SIZE / 2


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else NAN


def _bytes(sizes: Mapping[str, int], prefix: str) -> float:
    found = [n for column, n in sizes.items() if column.startswith(prefix)]
    return float(sum(found)) if found else NAN


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return math.fsum(known) / len(known) if known else NAN


def _largest(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return max(known) if known else NAN


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if mask.size else NAN


def _empty(masks: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(~masks.reshape(len(masks), -1).any(axis=1))) if len(masks) else 0


def _order(a: int, b: int) -> float:
    return (a - b) / (a + b) if a + b else NAN


def _gap(masks: NDArray[np.bool_]) -> float:
    """Pixels from the centre of each picture to the nearest of its mask, mean over pictures."""
    return _mean([math.sqrt(float(_SQUARES[mask].min())) for mask in masks if mask.any()])


def _offset(mask: NDArray[np.bool_]) -> float:
    area = np.count_nonzero(mask)
    if not area:
        return NAN
    row, column = (float(np.count_nonzero(mask, axis=axis) @ _STEPS) for axis in (1, 0))
    return math.hypot(row / area, column / area)


def _levels(grey: NDArray[np.uint8]) -> Values:
    """Moments of grey levels, exactly, from their histogram."""
    counts = np.bincount(grey.reshape(-1), minlength=256)
    mean = float(counts @ _LEVELS) / grey.size
    return {
        "em_outside": float(counts[0]) / grey.size,
        "em_brightness": mean,
        "em_contrast": math.sqrt(float(counts @ (_LEVELS - mean) ** 2) / grey.size),
    }


def _roughness(geometry: NDArray[np.float16], drawn: NDArray[np.bool_]) -> float:
    both = drawn[:, :, 1:] & drawn[:, :, :-1]
    if not both.any():
        return NAN
    change = 0.0
    for name in ("normal_x", "normal_y", "normal_z"):
        normal = geometry[:, channel(name)]
        here, there = (
            side[both].astype(np.float32) for side in (normal[..., 1:], normal[..., :-1])
        )
        change += float(np.abs(here - there).sum(dtype=np.float64))
    return change / np.count_nonzero(both)


def _depth(halves: NDArray[np.float16]) -> Values:
    drawn = halves.astype(np.float64)
    if not drawn.size:
        return {"depth": NAN, "depth_spread": NAN}
    return {"depth": float(drawn.mean()), "depth_spread": float(drawn.std())}


def _contact(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Pixels of A that have a pixel of B within two of them, along either axis, by the smaller."""
    if not (a.any() and b.any()):
        return NAN
    near = b.copy()
    for step in (1, 2):
        near[:, step:] |= b[:, :-step]
        near[:, :-step] |= b[:, step:]
        near[:, :, step:] |= b[:, :, :-step]
        near[:, :, :-step] |= b[:, :, step:]
    return float((a & near).sum() / min(a.sum(), b.sum()))
