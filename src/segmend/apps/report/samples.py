"""The samples a report shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmend.apps.pages.page import data_url
from segmend.apps.sheet.tiles import Rgb, em_tile, geometry_tiles, split_mask_tile
from segmend.core.random import keyed_unit
from segmend.core.sample import (
    CHANNELS,
    EM_COLUMNS,
    IMAGE_SIZE,
    PLANES,
    SAMPLE_TYPES,
    SPLIT_MASK_COLUMNS,
    VIEWS,
    em_column,
    split_mask_column,
)
from segmend.shards.reader import Benchmark

KEY = "combined_sample_hash"


@dataclass(frozen=True, slots=True)
class ShownSample:
    """One sample of the montage, with its pictures as ``data:`` URLs.

    Attributes:
        kind: Sample type.
        doc: What that means.
        split: Its split.
        label: The answer, in words.
        hash: Its primary key.
        width: What a view shows from edge to edge.
        em_width: What an EM slice shows from edge to edge.
        columns: Headings of the contact sheet.
        sheet: Geometry contact sheet.
        em: EM slices by plane.
    """

    kind: str
    doc: str
    split: str
    label: str
    hash: str
    width: str
    em_width: str
    columns: tuple[str, ...]
    sheet: str
    em: tuple[tuple[str, str], ...]


def shown_samples(benchmark: Benchmark, per_type: int) -> list[ShownSample]:
    """Samples of every type, chosen by a hash of their key so that nobody picked them.

    Args:
        benchmark: The benchmark.
        per_type: At most so many of each type.
    """
    sidecar = benchmark.sidecar()
    kinds, keys = (sidecar.column(c).to_pylist() for c in ("sample_type", KEY))
    chosen: list[int] = []
    for kind in SAMPLE_TYPES:
        of_kind = [i for i, k in enumerate(kinds) if k == kind]
        chosen += sorted(of_kind, key=lambda i: keyed_unit("report", keys[i]))[:per_type]
    return [_shown(benchmark, position) for position in chosen]


def _shown(benchmark: Benchmark, position: int) -> ShownSample:
    plain = (KEY, "sample_type", "split", "metadata")
    images = ("geometry", *EM_COLUMNS, *SPLIT_MASK_COLUMNS)
    (row,) = benchmark.rows([position], (*plain, *images))
    values = row.values
    masks = {v: values[split_mask_column(v)] for v in VIEWS}
    masks = {view: mask for view, mask in masks.items() if mask is not None}
    em = {plane: values[em_column(plane)] for plane in PLANES}
    facts = json.loads(values["metadata"])
    kind = SAMPLE_TYPES[values["sample_type"]]
    return ShownSample(
        kind=kind.name,
        doc=kind.doc,
        split=values["split"],
        label=f"{kind.label_task} = {kind.label:g}",
        hash=values[KEY],
        width=_micrometres(facts.get("view_extent_nm"), 2),
        em_width=_micrometres(facts.get("em_pixel_size_nm"), IMAGE_SIZE),
        columns=(*CHANNELS, *(["split mask"] if masks else [])),
        sheet=_picture(_geometry_table(np.asarray(values["geometry"]), masks)),
        em=tuple((p, _picture(em_tile(image))) for p, image in em.items() if image is not None),
    )


def _geometry_table(
    geometry: NDArray[np.float16], split_masks: Mapping[str, NDArray[np.uint8]]
) -> Rgb:
    """All geometry tiles at half size: a row a view, a column a channel, then the split masks."""
    rows = geometry_tiles(geometry)
    for row, mask in zip(rows, split_masks.values(), strict=False):
        row.append(split_mask_tile(mask))
    framed = ((1, 1), (1, 1), (0, 0))
    tiles = [[np.pad(_half(tile), framed, constant_values=60) for tile in row] for row in rows]
    return np.concatenate([np.concatenate(row, axis=1) for row in tiles], axis=0)


def _half(tile: Rgb) -> Rgb:
    """Half size, by the mean of 2 x 2 pixels."""
    size = IMAGE_SIZE // 2
    blocks: NDArray[Any] = tile.reshape(size, 2, size, 2, 3).astype(np.uint16)
    return (blocks.sum(axis=(1, 3)) // 4).astype(np.uint8)


def _micrometres(nm: float | None, times: int) -> str:
    """A width in words; published rows do not state it."""
    return "not stated" if nm is None else f"{times * nm / 1000:.2f} \N{MICRO SIGN}m"


def _picture(picture: Rgb) -> str:
    return data_url(Image.fromarray(picture))
