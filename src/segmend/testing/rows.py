"""Stand-in rows: plausible pictures of every sample type without tissue or renderer.

For tests of what lies behind the wall. Shapes are smooth blobs that fill about 30 % of a view, EM
is smoothed noise; labels follow from the sample type and cannot be learned from the pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.random import keyed_generator
from segmend.core.sample import (
    CHANNELS,
    GEOMETRY_SHAPE,
    IMAGE_SIZE,
    PLANES,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_BACKGROUND,
    VIEWS,
    SampleType,
    Split,
    channel,
    sample_type,
    source_archive,
)
from segmend.shards.card import CardFacts, Source
from segmend.shards.finish import finish
from segmend.shards.layout import shard_path
from segmend.shards.rows import Row, RowIdentity, make_row
from segmend.shards.writer import write_shard

_FOREGROUND = 0.3
_FIRST_ID = 864_691_135_000_000_000  # as large as the root ids of an edit server

Picture = NDArray[np.float64]


def random_row(kind: str, seed: int, *, split: Split = "train", split_masks: bool = True) -> Row:
    """One row of a sample type; the same for the same arguments.

    Args:
        kind: Name of the sample type.
        seed: Which row.
        split: Column ``split``.
        split_masks: Whether a ``split_edit`` row has its split masks.
    """
    rng = keyed_generator("random row", kind, seed)
    sample = sample_type(kind)
    sides = [_blob(rng) for _ in VIEWS]
    masks = _split_masks(sides) if kind == "split_edit" and split_masks else {}
    identity = RowIdentity(
        archive=source_archive("standin", kind),
        sample_hash=f"{keyed_generator('hash', kind, seed).integers(2**48):012x}",
        kind=kind,
        split=split,
        species="synthetic",
    )
    return make_row(
        identity,
        geometry=_geometry(rng, sides, sample),
        em={plane: _em(rng, both=kind != "junction_control") for plane in PLANES},
        split_masks=masks,
        metadata=_metadata(rng, sample),
    )


def random_rows(counts: Mapping[str, int], *, split: Split, seed: int = 0) -> Iterator[Row]:
    """Rows of several types, mixed; rows of different splits and seeds differ.

    Args:
        counts: Sample type to number of rows.
        split: Column ``split``.
        seed: Which set of rows.
    """
    kinds = [kind for kind, n in sorted(counts.items()) for _ in range(n)]
    order = keyed_generator("random rows", split, seed).permutation(len(kinds))
    for i in order:
        key = int(keyed_generator("row", split, seed, i).integers(2**31))
        yield random_row(kinds[i], key, split=split)


def random_benchmark(
    folder: Path, counts: Mapping[Split, Mapping[str, int]], *, seed: int = 0, shard: int = 20
) -> Path:
    """Write a whole benchmark of stand-in rows.

    Args:
        folder: Where; made if need be.
        counts: Split to sample type to number of rows.
        seed: Which set of rows.
        shard: Rows per shard.

    Returns:
        The folder.
    """
    records = []
    for split, kinds in counts.items():
        rows = list(random_rows(kinds, split=split, seed=seed))
        for i, part in enumerate(_parts(rows, shard)):
            records.append(write_shard(folder / shard_path(split, i), part))
    finish(folder, records, STANDIN_FACTS)
    return folder


STANDIN_FACTS = CardFacts(
    pretty_name="Stand-in rows",
    summary="Random pictures in the layout of a benchmark, for tests.",
    license="mit",
    sources=(Source("segmend", "MIT", "segmend.testing.rows"),),
)


def _parts(rows: list[Row], size: int) -> Iterable[list[Row]]:
    return (rows[i : i + size] for i in range(0, len(rows), size))


def _smooth(rng: np.random.Generator, knots: int) -> Picture:
    """Noise with about ``knots`` bumps a side, interpolated linearly."""
    coarse = rng.normal(size=(knots + 1, knots + 1))
    at = np.linspace(0, knots, IMAGE_SIZE, endpoint=False)
    low, part = at.astype(int), at % 1
    rows = coarse[low] * (1 - part)[:, None] + coarse[low + 1] * part[:, None]
    return np.asarray(rows[:, low] * (1 - part) + rows[:, low + 1] * part)


def _blob(rng: np.random.Generator) -> NDArray[np.int8]:
    """-1 background, 0 side A, 1 side B; both sides are present."""
    height = _smooth(rng, 6)
    inside = height > np.quantile(height, 1 - _FOREGROUND)
    across = _smooth(rng, 4)
    side_b = across > np.median(across[inside])
    return np.where(inside, side_b, -1).astype(np.int8)


def _geometry(
    rng: np.random.Generator, sides: list[NDArray[np.int8]], kind: SampleType
) -> NDArray[np.float16]:
    geometry = np.zeros(GEOMETRY_SHAPE, np.float16)
    normals = slice(channel("normal_x"), channel("normal_z") + 1)
    for view, side in zip(geometry, sides, strict=True):
        drawn = side >= 0
        height = _smooth(rng, 12)
        slope_row, slope_column = np.gradient(20 * height)
        normal = np.stack([slope_column, slope_row, np.ones_like(height)])
        view[channel("silhouette")] = drawn
        view[channel("depth")] = np.where(drawn, np.clip(0.5 + 0.1 * height, 0.01, 1), 0)
        view[normals] = np.where(drawn, normal / np.linalg.norm(normal, axis=0), 0)
        view[channel("mask_a")] = side == 0 if kind.dual else drawn
        view[channel("mask_b")] = (side == 1) & kind.dual
    assert geometry.shape[1] == len(CHANNELS)
    return geometry


def _em(rng: np.random.Generator, *, both: bool) -> NDArray[np.uint8]:
    grey = 128 + 35 * _smooth(rng, 40) + rng.normal(scale=12, size=(IMAGE_SIZE, IMAGE_SIZE))
    side = _blob(rng)
    mask_a = side == 0 if both else side >= 0
    mask_b = (side == 1) & both
    return np.stack([np.clip(grey, 0, 255), 255 * mask_a, 255 * mask_b], -1).astype(np.uint8)


def _split_masks(sides: list[NDArray[np.int8]]) -> dict[str, NDArray[np.uint8]]:
    values = np.array([SPLIT_MASK_A, SPLIT_MASK_B, SPLIT_MASK_BACKGROUND], np.uint8)
    return {view: values[side] for view, side in zip(VIEWS, sides, strict=True)}


def _metadata(rng: np.random.Generator, kind: SampleType) -> dict[str, Any]:
    ids = [str(_FIRST_ID + int(i)) for i in rng.integers(1, 2**40, 3)]
    point = [float(v) for v in rng.integers(1_000, 100_000, 3)]
    anchors = {
        "junction_control": "interface_point_nm",
        "synapse_control": "synapse_ctr_pt_nm",
    }
    return {
        anchors.get(kind.name, "edit_point_nm"): point,
        "render_center_nm": point,
        "root_ids": ids[: 2 if kind.dual else 1],
        "segment_voxels": [int(n) for n in rng.integers(500, 10**6, 2 if kind.dual else 1)],
        "cluster_id": ids[2],
        "dataset": "standin",
        "volume": "a",
        "is_merge": kind.dual,
        "encoding": "metric",
    }
