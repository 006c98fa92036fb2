"""Single numbers of a row: what a shortcut alone could look at.

Artefacts are what a task lets a model see although it should tell nothing: which segment is called
A, whether pictures are empty, how the field of view lies. Content is what the tissue shows. Pure
functions of what a model is shown; the metadata of a row are a third group, which models never see.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import ReadFailedError
from segmend.core.sample import channel, em_channel
from segmend.shards.reader import Benchmark
from segmend.tasks.task import Inputs

Row = Mapping[str, float]
"""Statistics of a row by name; NaN where one does not exist."""

_METADATA_NUMBERS = ("view_extent_nm", "em_pixel_size_nm", "em_coverage", "timestamp")
_ANCHORS = ("anchor_x_nm", "anchor_y_nm", "anchor_z_nm")


def artefact_statistics(inputs: Inputs, *, dual: bool) -> Row:
    """Order, emptiness and field of view.

    Args:
        inputs: A row as a task shows it.
        dual: Whether A and B are two segments; if not there is no order.
    """
    geometry, em = _masks(inputs)
    found = {
        "empty_views": float((~geometry.any(axis=(1, 2, 3))).sum()),
        "empty_planes": float((~em.any(axis=(1, 2, 3))).sum()),
        "em_outside": float(np.mean(_grey(inputs) == 0)) if len(em) else np.nan,
    }
    if dual:
        a, b = geometry[:, 0].mean(), geometry[:, 1].mean()
        em_a, em_b = (em[:, 0].mean(), em[:, 1].mean()) if len(em) else (np.nan, np.nan)
        found |= {
            "a_minus_b": float(a - b),
            "em_a_minus_b": float(em_a - em_b),
            "a_left_of_b": _column(geometry[:, 0]) - _column(geometry[:, 1]),
        }
    return found


def content_statistics(inputs: Inputs, *, dual: bool) -> Row:
    """Areas, contact, depth and grey values.

    Args:
        inputs: A row as a task shows it.
        dual: Whether A and B are two segments.
    """
    geometry, em = _masks(inputs)
    both: NDArray[np.bool_] = geometry[:, 0] | geometry[:, 1]
    depth = inputs.geometry[:, channel("depth")].astype(np.float32)[both]
    found = {
        "area": float(both.mean()),
        "area_smallest_view": float(both.mean(axis=(1, 2)).min()),
        "off_centre": float(np.hypot(_column(both), _column(both.transpose(0, 2, 1)))),
        "depth_mean": float(depth.mean()) if depth.size else np.nan,
        "depth_spread": float(depth.std()) if depth.size else np.nan,
    }
    if len(em):
        grey, held = _grey(inputs).astype(np.float32), em.any(axis=1)
        found |= {
            "em_area": float(held.mean()),
            "em_mean": float(grey.mean()),
            "em_spread": float(grey.std()),
            "em_inside": float(grey[held].mean()) if held.any() else np.nan,
        }
    if dual:
        areas = geometry.mean(axis=(0, 2, 3))
        found |= {
            "smaller_area": float(areas.min()),
            "area_ratio": float(areas.min() / areas.max()) if areas.max() else np.nan,
            "overlap": float(geometry.all(axis=1).mean()),
            "em_contact": _contact(em) if len(em) else np.nan,
        }
    return found


def metadata_statistics(benchmark: Benchmark, positions: NDArray[np.int64]) -> list[Row]:
    """Numbers that lie beside the pictures: place, extents, sizes of segments.

    Names of edits, ids and strategies are left out: they name the answer.

    Args:
        benchmark: Where the rows are.
        positions: Which rows.
    """
    sidecar = benchmark.sidecar(columns=(*_ANCHORS, "segment_voxels"))
    known = {row["position"]: row for row in sidecar.to_pylist()}
    texts: dict[int, str] = {}
    for found, table in benchmark.read_groups(positions, ("metadata",)):
        texts |= zip(found.tolist(), map(str, table.column("metadata").to_pylist()), strict=True)
    return [_numbers(known[p], texts[p]) for p in map(int, positions)]


def _numbers(row: Mapping[str, Any], text: str) -> Row:
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise ReadFailedError("the metadata of a row are no JSON", found=str(error)) from error
    voxels: Sequence[int] = row["segment_voxels"] or ()
    numbers = {name: _number(row[name]) for name in _ANCHORS}
    numbers |= {name: _number(metadata.get(name)) for name in _METADATA_NUMBERS}
    return numbers | {
        "largest_segment": float(max(voxels)) if voxels else np.nan,
        "smallest_segment": float(min(voxels)) if voxels else np.nan,
    }


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def _masks(inputs: Inputs) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks A and B of geometry and EM, (pictures, 2, rows, columns) each."""
    geometry = inputs.geometry[:, [channel("mask_a"), channel("mask_b")]] > 0
    em = inputs.em[..., [em_channel("mask_a"), em_channel("mask_b")]] > 0
    return geometry, np.moveaxis(em, -1, 1)


def _grey(inputs: Inputs) -> NDArray[np.uint8]:
    return inputs.em[..., em_channel("em")]


def _column(masks: NDArray[np.bool_]) -> float:
    """Mean column of the pixels of all masks, from the centre, in half-widths; NaN for none."""
    counts = masks.sum(axis=(0, 1))
    if not counts.any():
        return float("nan")
    middle = (len(counts) - 1) / 2
    return float((counts * (np.arange(len(counts)) - middle)).sum() / counts.sum() / middle)


def _contact(em: NDArray[np.bool_]) -> float:
    """Share of the pixels of A that have a pixel of B within two of them, along either axis."""
    a, b = em[:, 0], em[:, 1]
    near = b.copy()
    for step in (1, 2):
        near[:, step:] |= b[:, :-step]
        near[:, :-step] |= b[:, step:]
        near[:, :, step:] |= b[:, :, :-step]
        near[:, :, :-step] |= b[:, :, step:]
    return float((a & near).sum() / max(1, min(a.sum(), b.sum())))
