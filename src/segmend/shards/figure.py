"""``figures/channel_decomposition.png``: a row of a pair and a row of one segment, taken apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segmend.core.sample import CHANNELS, IMAGE_SIZE, PLANES, SAMPLE_TYPES, SchemaVersion, em_column
from segmend.shards.repair import repaired_row
from segmend.shards.rows import Row
from segmend.store.atomic import atomic_file

FIGURE = "figures/channel_decomposition.png"

_TILE = IMAGE_SIZE // 2
_GAP, _LABEL = 4, 14

Picture = NDArray[np.uint8]


def write_figure(folder: Path, rows: Iterable[Row], version: SchemaVersion) -> None:
    """Draw the figure from rows of the benchmark: the first of a pair, the first of one segment.

    Top of each: the channels of its first view; below: its EM slices.

    Args:
        folder: The benchmark.
        rows: Rows as stored.
        version: Version of their schema.
    """
    chosen: dict[bool, Row] = {}
    for row in rows:
        chosen.setdefault(SAMPLE_TYPES[row["sample_type"]].dual, row)
    strips = [s for dual in (True, False) if dual in chosen for s in _strips(chosen[dual], version)]
    width = _GAP + len(CHANNELS) * (_TILE + _GAP)
    height = _GAP + len(strips) * (_TILE + _LABEL + _GAP)
    page = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(page)
    for line, strip in enumerate(strips):
        top = _GAP + line * (_TILE + _LABEL + _GAP)
        for place, (name, picture) in enumerate(strip.items()):
            left = _GAP + place * (_TILE + _GAP)
            pen.text((left, top), name, fill="black")
            tile = Image.fromarray(picture).resize((_TILE, _TILE), Image.Resampling.BOX)
            page.paste(tile, (left, top + _LABEL))
    path = folder / FIGURE
    path.parent.mkdir(exist_ok=True)
    with atomic_file(path) as temporary:
        page.save(temporary, "PNG")


def _strips(row: Row, version: SchemaVersion) -> list[dict[str, Picture]]:
    columns = ("geometry", "geometry_single") if version == "v1" else ("geometry",)
    shown = [c for c in columns if row[c] is not None][:1]
    slices = [em_column(p, version) for p in PLANES if row[em_column(p, version)] is not None]
    decoded, _ = repaired_row(row, (*shown, *slices), version)
    strips = [_channels(decoded[shown[0]][0], row["sample_type"])] if shown else []
    return [*strips, _slices(decoded, slices)] if slices else strips


def _channels(view: NDArray[np.float16], kind: str) -> dict[str, Picture]:
    names = [f"{kind}: {CHANNELS[0]}" if not i else name for i, name in enumerate(CHANNELS)]
    pictures = {}
    for name, channel in zip(names, view.astype(np.float32), strict=True):
        # Normals run from -1 to 1, everything else from 0 to 1.
        scaled = (channel + 1) / 2 if "normal" in name else channel
        pictures[name] = (255 * np.clip(scaled, 0, 1)).astype(np.uint8)
    return pictures


def _slices(decoded: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Picture]:
    """EM in grey with mask A over it in orange and mask B in blue."""
    pictures = {}
    for column in columns:
        grey, a, b = np.moveaxis(decoded[column].astype(np.float32), 2, 0)
        colour = np.stack([grey] * 3, axis=2)
        for mask, tint in ((a, (255, 127, 14)), (b, (31, 119, 180))):
            inside = mask > 127
            colour[inside] = 0.6 * colour[inside] + 0.4 * np.array(tint)
        pictures[column] = colour.astype(np.uint8)
    return pictures
