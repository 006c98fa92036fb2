"""A network over a box of a volume, tile by tile, in memory that its depth does not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple, VoxelBox
from segmend.core.errors import AbsentVoxelsError, OutOfBoundsError
from segmend.segmentation.tiles import Tiling
from segmend.volumes.volume import Volume

Network = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Image of a tile ``(z, y, x)`` to answers in [0, 1], float32 ``(c, z, y, x)``."""

Report = Callable[[str, int, int], None]
"""Called with (stage, done, total) as work proceeds."""


def quiet(stage: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Slab:
    """Finished sections of a prediction.

    Attributes:
        start: First section, counted from the box.
        data: float32 ``(c, z, y, x)``.
    """

    start: int
    data: NDArray[np.float32]


def predict_slabs(
    network: Network,
    image: Volume,
    voxels: VoxelBox,
    tiling: Tiling,
    *,
    channels: int,
    report: Report = quiet,
) -> Iterator[Slab]:
    """Predict a box; every voxel of it is in exactly one slab, in order of z.

    Around the box the image is read as far as the volume goes, and mirrored beyond.

    Args:
        network: The network.
        image: The image.
        voxels: The box, in voxels of the image.
        tiling: How it is cut.
        channels: Channels that the network answers with.
        report: Told how many tiles are done.

    Raises:
        OutOfBoundsError: if the box reaches outside the image.
        AbsentVoxelsError: if voxels are certified absent and the volume does not say what they
            count as.
        ReadFailedError: if voxels cannot be read.
    """
    check_inside(image, voxels)
    depth, height, width = voxels.shape
    weights, starts = tiling.weights(), list(tiling.starts(voxels.shape))
    total = np.zeros((channels, tiling.window[0], height, width), np.float32)
    weight = np.zeros(total.shape[1:], np.float32)
    first = 0
    for done, start in enumerate(starts):
        if start[0] != first:  # what lies before this row of tiles is finished
            ready = start[0] - first
            yield Slab(first, np.divide(total[:, :ready], weight[:ready], dtype=np.float32))
            _move_up(total, ready, axis=1)
            _move_up(weight, ready, axis=0)
            first = start[0]
        answer = network(_tile(image, voxels, start, tiling))
        part = _window(answer, tiling)
        at_y, at_x = start[1], start[2]
        rows, columns = min(part.shape[2], height - at_y), min(part.shape[3], width - at_x)
        into = (slice(None), slice(at_y, at_y + rows), slice(at_x, at_x + columns))
        total[(slice(None), *into)] += (part * weights)[:, :, :rows, :columns]
        weight[into] += weights[:, :rows, :columns]
        report("predicting", done + 1, len(starts))
    ready = depth - first
    yield Slab(first, np.divide(total[:, :ready], weight[:ready], dtype=np.float32))


def check_inside(image: Volume, voxels: VoxelBox) -> None:
    """Check that a box lies in a volume.

    Raises:
        OutOfBoundsError: if it does not.
    """
    if not image.grid.voxels.contains(voxels):
        raise OutOfBoundsError(
            f"voxels {voxels.start} to {voxels.stop} (z, y, x) reach outside {image.source}",
            found=f"it has shape {image.grid.shape} and covers {image.grid.box}",
            fix="Choose a box inside it",
        )


def predict(
    network: Network,
    image: Volume,
    voxels: VoxelBox,
    tiling: Tiling,
    *,
    out: NDArray[np.uint8],
    report: Report = quiet,
) -> None:
    """Predict a box, as shares of 255; see `predict_slabs`.

    Args:
        network: The network.
        image: The image.
        voxels: The box, in voxels of the image.
        tiling: How it is cut.
        out: Written wholly, uint8 ``(c, z, y, x)``; may be mapped from a file.
        report: Told how many tiles are done.
    """
    slabs = predict_slabs(network, image, voxels, tiling, channels=len(out), report=report)
    for slab in slabs:
        stop = slab.start + slab.data.shape[1]
        out[:, slab.start : stop] = np.rint(np.clip(slab.data, 0, 1) * 255)


def read_mirrored(image: Volume, voxels: VoxelBox) -> NDArray[Any]:
    """The voxels of a box, mirrored at the faces of the volume where it reaches beyond.

    Raises:
        AbsentVoxelsError: if voxels are certified absent and the volume does not say what they
            count as.
    """
    axes = [
        _mirrored(a, b, n)
        for a, b, n in zip(voxels.start, voxels.stop, image.grid.shape, strict=True)
    ]
    (z0, z1), (y0, y1), (x0, x1) = ((int(i.min()), int(i.max()) + 1) for i in axes)
    inside = VoxelBox((z0, y0, x0), (z1, y1, x1))
    block = image.read_voxels(inside)
    if not block.coverage.complete and image.absent is None:
        raise AbsentVoxelsError(
            f"{image.grid.to_box(inside)} of {image.source} is not all stored",
            found=f"{block.coverage.n_absent} voxels are certified absent",
            fix="Choose another box, or say what they count as: with_absent(0)",
        )
    if inside == voxels:
        return block.data
    z, y, x = (i - low for i, low in zip(axes, inside.start, strict=True))
    return block.data[np.ix_(z, y, x)]


def _mirrored(start: int, stop: int, size: int) -> NDArray[np.int64]:
    """Indices of an axis of ``size`` voxels, mirrored at its ends: 1 0 | 0 1 2 | 2 1."""
    index = np.arange(start, stop) % (2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)


def _tile(image: Volume, voxels: VoxelBox, start: Triple, tiling: Tiling) -> NDArray[Any]:
    low = [v + s - h for v, s, h in zip(voxels.start, start, tiling.halo, strict=True)]
    high = [a + t for a, t in zip(low, tiling.tile, strict=True)]
    return read_mirrored(image, VoxelBox((low[0], low[1], low[2]), (high[0], high[1], high[2])))


def _window(answer: NDArray[np.float32], tiling: Tiling) -> NDArray[np.float32]:
    inner = [slice(h, h + w) for h, w in zip(tiling.halo, tiling.window, strict=True)]
    return answer[(slice(None), *inner)]


def _move_up(array: NDArray[np.float32], by: int, *, axis: int) -> None:
    """Drop the first sections of an accumulator and make room for as many new ones."""
    moved = np.moveaxis(array, axis, 0)
    moved[: len(moved) - by] = moved[by:].copy()
    moved[len(moved) - by :] = 0
