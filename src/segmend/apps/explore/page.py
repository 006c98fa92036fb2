"""The page: numbers and pictures of a box in one HTML file that loads nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segmend.apps.datasets import facts, remarks
from segmend.apps.explore.charts import charts_svg
from segmend.apps.explore.slices import AXES, Slice
from segmend.apps.explore.survey import CLASSES, LayerSurvey, Survey
from segmend.apps.pages.page import data_url, own_markup, write_page
from segmend.apps.tables import percent
from segmend.catalog.exploration import anisotropy

LARGEST = 5
"""Segments that are named by layer."""


def write_exploration(found: Survey, out: Path) -> None:
    """Write the page about a box, whole or not at all.

    Args:
        found: What is in the box.
        out: HTML file to write.

    Raises:
        MissingDependencyError: if the extra ``report`` is not installed.
        OutputError: if the file cannot be written.
    """
    record = found.dataset.record
    shown = [one.name for one in found.layers if one.name in found.slices[0].overlays]
    if CLASSES in found.slices[0].overlays and CLASSES not in shown:
        shown.append(CLASSES)
    write_page(
        out,
        "segmend.apps.explore",
        title=record.title,
        summary=_summary(found),
        record=record,
        facts=facts(record),
        remarks=remarks(record),
        covered=percent(found.covered),
        complete=found.covered == 1,
        geometry=_geometry(found),
        shown=shown,
        planes=[_plane(found, axis, shown) for axis in range(3)],
        charts=own_markup(charts_svg(found)),
        layers=[_layer_row(one) for one in found.layers],
        contacts=[row for one in found.layers if (row := _contact_row(one))],
        largest=[(one.name, one.sizes.largest(LARGEST)) for one in found.layers if one.sizes],
    )


def _summary(found: Survey) -> str:
    dataset = found.dataset
    parts = [dataset.name, f"version {dataset.version}"]
    parts += [f"volume {dataset.volume}"] * bool(dataset.volume)
    z, y, x = found.slices[0].grid.shape
    of = "the whole image" if found.whole else f"a box in it, {found.box}"
    return f"{', '.join(parts)}: {of}, {z} x {y} x {x} voxels (z, y, x)."


def _geometry(found: Survey) -> list[tuple[str, str]]:
    """Where the box lies, and of what voxels it is made."""
    grid, whole = found.slices[0].grid, found.image.grid
    return [
        ("voxel", f"{_times(grid.voxel_size)} nm (z, y, x)"),
        ("anisotropy", f"{anisotropy(grid):.3g} (z over the mean of y and x)"),
        ("box", f"{_triple(found.box.start)} to {_triple(found.box.stop)} nm (z, y, x)"),
        ("size of the box", f"{_times(found.box.size)} nm"),
        ("whole image", f"{_times(whole.shape)} voxels from {_triple(whole.offset)} nm"),
        ("stored in the box", percent(found.covered)),
    ]


def _plane(found: Survey, axis: int, shown: list[str]) -> dict[str, Any]:
    slices = [one for one in found.slices if one.axis == axis]
    first = slices[0]
    down, right = first.width_nm(first.rows), first.width_nm(first.columns)
    return {
        "name": f"{AXES[first.rows]}{AXES[first.columns]}",
        "rows": AXES[first.rows],
        "columns": AXES[first.columns],
        "down": f"{down / 1000:.3g}",
        "right": f"{right / 1000:.3g}",
        "ratio": f"{right:g} / {down:g}",
        "slices": [_slice(one, shown) for one in slices],
    }


def _slice(one: Slice, shown: list[str]) -> dict[str, Any]:
    return {
        "at": f"{AXES[one.axis]} = {one.position_nm:,.0f} nm",
        "image": data_url(one.image),
        "overlays": [data_url(one.overlays[name]) for name in shown],
    }


def _layer_row(one: LayerSurvey) -> dict[str, Any]:
    row = {
        "name": one.name,
        "kind": one.spec.kind,
        "dtype": str(one.volume.dtype),
        "voxel": _times(one.volume.grid.voxel_size),
        "covered": percent(one.covered),
        "segments": "",
        "nothing": "",
        "median": "",
    }
    if one.sizes is not None:
        filled = int(one.sizes.voxels.sum())
        row["segments"] = f"{len(one.sizes):,}"
        row["nothing"] = percent(one.sizes.nothing / max(1, filled + one.sizes.nothing))
        row["median"] = f"{np.median(one.sizes.voxels):,.0f}" if len(one.sizes) else ""
    return row


def _contact_row(one: LayerSurvey) -> list[str] | None:
    """Pairs that touch; faces of a pair; partners of a segment."""
    if one.contacts is None or one.sizes is None or not len(one.contacts):
        return None
    contacts = one.contacts
    _, partners = np.unique(np.concatenate([contacts.a, contacts.b]), return_counts=True)
    alone = len(one.sizes) - len(partners)
    return [
        one.name,
        f"{len(contacts):,}",
        f"{np.median(contacts.faces):,.0f}",
        f"{contacts.faces.max():,}",
        f"{np.median(partners):,.0f}",
        f"{partners.max():,}",
        f"{alone:,}",
    ]


def _times(values: tuple[float, ...] | tuple[int, ...]) -> str:
    return " x ".join(f"{v:,.10g}" for v in values)


def _triple(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{v:g}' for v in map(float, values))})"
