"""Stand-in rows that can be learnt: round rods, drawn exactly, whose arrangement is the label.

Two rods end to end are one neuron, two side by side are two (`merge_edit`, `adjacent_control`);
three arms that meet are a branch, two rods that cross are a false merge (`junction_control`,
`split_edit`, with its split masks). Unlike rendered tissue, every pixel has a closed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.random import keyed_generator
from segmend.core.sample import (
    GEOMETRY_SHAPE,
    IMAGE_SIZE,
    PLANES,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_BACKGROUND,
    VIEWS,
    Split,
    channel,
    sample_type,
    source_archive,
)
from segmend.models.views import DEPTH_HALF_EXTENT, VIEW_AXES
from segmend.shards.finish import finish
from segmend.shards.layout import shard_path
from segmend.shards.rows import Row, RowIdentity, make_row
from segmend.shards.writer import write_shard
from segmend.testing.rows import STANDIN_FACTS

Vector = NDArray[np.float64]

_LENGTH = 1.6
_BALLS = 80
_STEP = (np.arange(IMAGE_SIZE) + 0.5) * (2 / IMAGE_SIZE) - 1
_ROWS_PER_SHARD = 50
_ROWS_PER_NEURON = 2


@dataclass(frozen=True, slots=True)
class Capsule:
    """A rod with round ends, in half-widths of the view, world axes (x, y, z).

    Attributes:
        start: One end of the axis.
        stop: The other end.
        radius: Radius.
        side: 0 if it belongs to segment or side A, 1 for B.
    """

    start: Vector
    stop: Vector
    radius: float
    side: int


def capsule_row(kind: str, seed: int, *, split: Split = "train", swap: bool = False) -> Row:
    """One row of a sample type (any but ``synapse_control``); the same for the same arguments.

    Args:
        kind: Name of the sample type.
        seed: Which row.
        split: Column ``split``.
        swap: Whether A and B are exchanged.
    """
    generator = keyed_generator("capsules", kind, split, seed)
    capsules = _arrangement(kind, generator)
    if swap:
        capsules = [replace(capsule, side=1 - capsule.side) for capsule in capsules]
    sample = sample_type(kind)
    geometry, owners = draw(capsules)
    if not sample.dual:
        geometry[:, channel("mask_a")] = geometry[:, channel("silhouette")]
        geometry[:, channel("mask_b")] = 0
    values = np.array([SPLIT_MASK_A, SPLIT_MASK_B, SPLIT_MASK_BACKGROUND], np.uint8)
    masks = dict(zip(VIEWS, values[owners], strict=True)) if kind == "split_edit" else {}
    return make_row(
        RowIdentity(
            archive=source_archive("capsules", kind),
            sample_hash=f"{keyed_generator('hash', kind, split, seed).integers(2**48):012x}",
            kind=kind,
            split=split,
            species="synthetic",
        ),
        geometry=geometry,
        em={plane: _em(owners[i % 3], kind, generator) for i, plane in enumerate(PLANES)},
        split_masks=masks,
        metadata=_metadata(seed // _ROWS_PER_NEURON),
    )


def capsule_benchmark(
    folder: Path, counts: Mapping[Split, Mapping[str, int]], *, swap: bool = False
) -> Path:
    """Write a whole benchmark of such rows.

    Args:
        folder: Where; made if need be.
        counts: Split to sample type to number of rows.
        swap: Whether A and B are exchanged in every row.

    Returns:
        The folder.
    """
    records = []
    for split, kinds in counts.items():
        rows = [
            capsule_row(kind, seed, split=split, swap=swap)
            for kind, n in kinds.items()
            for seed in range(n)
        ]
        for i, start in enumerate(range(0, len(rows), _ROWS_PER_SHARD)):
            path = folder / shard_path(split, i)
            records.append(write_shard(path, rows[start : start + _ROWS_PER_SHARD]))
    finish(folder, records, STANDIN_FACTS)
    return folder


def draw(capsules: list[Capsule]) -> tuple[NDArray[np.float16], NDArray[np.int8]]:
    """Draw capsules as the design defines the geometry of a row.

    Returns:
        The geometry (3, 7, 224, 224), and per view which side is nearest: 0, 1, or -1 for
        background, (3, 224, 224).
    """
    geometry = np.zeros(GEOMETRY_SHAPE, np.float64)
    owners = np.full((len(VIEWS), IMAGE_SIZE, IMAGE_SIZE), -1, np.int8)
    sides = np.repeat([capsule.side for capsule in capsules], _BALLS)
    radii = np.repeat([capsule.radius for capsule in capsules], _BALLS)
    for index, view in enumerate(VIEWS):
        axes = np.array(VIEW_AXES[view], dtype=np.float64)
        centres = np.concatenate([_centres(capsule, axes) for capsule in capsules])
        nearest, winner = _draw_balls(geometry[index], centres, radii, sides)
        body = winner >= 0
        owners[index][body] = sides[winner[body]]
        _colour(geometry[index], axes, nearest, winner, (centres, radii))
    return geometry.astype(np.float16), owners


def _centres(capsule: Capsule, axes: Vector) -> Vector:
    """Right, up and ahead of the balls along the axis whose fronts are a capsule's surface."""
    shares = np.linspace(0, 1, _BALLS)
    return np.array([axes @ (capsule.start + s * (capsule.stop - capsule.start)) for s in shares])


def _draw_balls(
    image: Vector, centres: Vector, radii: Vector, sides: NDArray[np.int64]
) -> tuple[Vector, NDArray[np.int64]]:
    """Draw masks A and B in place; the depth in front and which ball has it, -1 for none."""
    nearest = np.full((IMAGE_SIZE, IMAGE_SIZE), np.inf)
    winner = np.full((IMAGE_SIZE, IMAGE_SIZE), -1, np.int64)
    masks = [image[channel("mask_a")], image[channel("mask_b")]]
    for ball, ((right, up, ahead), radius) in enumerate(zip(centres, radii, strict=True)):
        window = (_near(-up, radius), _near(right, radius))
        if abs(ahead) + radius > DEPTH_HALF_EXTENT or not _STEP[window[0]].size:
            continue  # beyond the front or back face of the view, or beside it
        x, y = _STEP[window[1]] - right, -_STEP[window[0], None] - up
        height = radius**2 - x**2 - y**2
        front = np.where(height > 0, ahead - np.sqrt(np.maximum(height, 0)), np.inf)
        masks[sides[ball]][window][height > 0] = 1
        hit = front < nearest[window]
        nearest[window][hit] = front[hit]
        winner[window][hit] = ball
    return nearest, winner


def _colour(
    image: Vector,
    axes: Vector,
    nearest: Vector,
    winner: NDArray[np.int64],
    balls: tuple[Vector, Vector],
) -> None:
    """Silhouette, depth and normals of what is in front, in place."""
    rows, columns = np.nonzero(winner >= 0)
    ball, depth = winner[rows, columns], nearest[rows, columns]
    centres, radii = balls[0][ball], balls[1][ball]
    image[channel("silhouette")][rows, columns] = 1
    image[channel("depth")][rows, columns] = (depth / DEPTH_HALF_EXTENT + 1) / 2
    seen = np.stack([_STEP[columns], -_STEP[rows], depth], axis=1) - centres
    for axis, values in zip("xyz", axes.T @ (seen / radii[:, None]).T, strict=True):
        image[channel(f"normal_{axis}")][rows, columns] = values


def _near(centre: float, radius: float) -> slice:
    """Pixels no farther than a radius from a coordinate in half-widths."""
    low, high = (int((edge + 1) * IMAGE_SIZE / 2) for edge in (centre - radius, centre + radius))
    return slice(max(low - 1, 0), max(high + 2, 0))


def _arrangement(kind: str, generator: np.random.Generator) -> list[Capsule]:
    centre = generator.normal(scale=0.05, size=3)
    radius = generator.uniform(0.1, 0.18)
    along, across = _directions(generator)
    if kind == "merge_edit":
        ends = [centre + _LENGTH * along, centre - _LENGTH * along]
        sides = generator.permutation(2)
        return [Capsule(centre, e, radius, int(s)) for e, s in zip(ends, sides, strict=True)]
    if kind == "adjacent_control":
        offsets = [centre + radius * across, centre - radius * across]
        return [
            Capsule(o - _LENGTH * along, o + _LENGTH * along, radius, side)
            for side, o in enumerate(offsets)
        ]
    if kind == "junction_control":
        arms = [along, -along + 0.5 * across, -0.3 * along - across]
        return [Capsule(centre, centre + _LENGTH * arm, radius, 0) for arm in arms]
    depth = np.cross(along, across) * radius
    return [
        Capsule(centre - depth - _LENGTH * along, centre - depth + _LENGTH * along, radius, 0),
        Capsule(centre + depth - _LENGTH * across, centre + depth + _LENGTH * across, radius, 1),
    ]


def _directions(generator: np.random.Generator) -> tuple[Vector, Vector]:
    """Two random unit vectors at a right angle."""
    first = generator.normal(size=3)
    first /= np.linalg.norm(first)
    second = np.cross(first, generator.normal(size=3))
    return first, second / np.linalg.norm(second)


def _em(owner: NDArray[np.int8], kind: str, generator: np.random.Generator) -> NDArray[np.uint8]:
    grey = 120 + 20 * generator.normal(size=owner.shape) - 30 * (owner < 0)
    b = (owner == 1) & (kind != "junction_control")
    a = (owner >= 0) & ~b
    return np.stack([np.clip(grey, 0, 255), 255 * a, 255 * b], axis=-1).astype(np.uint8)


def _metadata(neuron: int) -> dict[str, Any]:
    point = [1000.0 * neuron, 0.0, 0.0]
    anchors = ("edit_point_nm", "interface_point_nm", "render_center_nm")
    return {
        **dict.fromkeys(anchors, point),
        "cluster_id": str(864_691_135_000_000_000 + neuron),
        "dataset": "capsules",
        "volume": "a",
        "encoding": "metric",
    }
