"""Tensors of packed rows, and the changes that leave the answer as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmend.core.random import keyed_generator
from segmend.core.sample import channel, em_channel
from segmend.models.packed import Packed
from segmend.models.sites import EM_SIDES, SIDES, Sites
from segmend.models.views import VIEW_AXES, Array, world_positions

_NORMAL = [channel(f"normal_{axis}") for axis in "xyz"]

_EM_GAIN, _EM_SHIFT = 0.15, 0.08
"""Largest change of contrast and of brightness; grey values lie in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows as the network takes them.

    Attributes:
        sites: What is shown of them.
        targets: As `Packed.targets`, a tensor; empty if the rows have none.
    """

    sites: Sites
    targets: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        geometry, em, measures = self.sites
        sites = Sites(
            geometry.to(device, non_blocking=True),
            em.to(device, non_blocking=True),
            None if measures is None else measures.to(device, non_blocking=True),
        )
        return Batch(sites, self.targets.to(device, non_blocking=True))


@dataclass(frozen=True, slots=True)
class Changes:
    """What training may change about a row without changing its answer.

    Attributes:
        key: What the draws depend on, besides the number of the row.
        numbers: Number of each row of the batch; the same number draws the same.
        swap: Exchange A and B (rows of two segments).
        flip: Mirror each geometry view. Mirrored one by one the views no longer show one body,
            and a mirror of the body itself would need the view from behind: so not for masks,
            whose naming holds across views.
    """

    key: tuple[int, ...]
    numbers: NDArray[np.int64]
    swap: bool
    flip: bool


def batch_of(
    rows: Packed,
    indices: NDArray[np.int64],
    *,
    positions: bool,
    changes: Changes | None = None,
) -> Batch:
    """Rows by index as tensors.

    Args:
        rows: Packed rows.
        indices: Which of them.
        positions: Whether to add the world position of each pixel (networks for masks).
        changes: Random changes for training; None leaves the rows as they are.
    """
    geometry = np.asarray(rows.geometry[indices], dtype=np.float32)
    em = np.asarray(rows.em[indices], dtype=np.float32) / 255
    targets = np.zeros(0, np.float32) if rows.targets is None else rows.targets[indices]
    if changes is not None:
        for views, planes, number in zip(geometry, em, changes.numbers.tolist(), strict=True):
            draws = keyed_generator("augment", *changes.key, number)
            _change(views, planes, rows.views, changes, draws)
    if positions and rows.views:
        geometry = _with_positions(geometry, rows.views)
    measures = None if rows.measures is None else torch.from_numpy(rows.measures[indices])
    sites = Sites(torch.from_numpy(geometry), torch.from_numpy(em), measures)
    return Batch(sites, torch.from_numpy(targets))


def flip_view(geometry: Array, view: str, *, axis: int) -> None:
    """Mirror one view along its rows (axis 0) or columns (axis 1), in place.

    The mirror image of a body is seen from the same side with the same depth; its normals change
    sign along the world axis that the mirror turns round.

    Args:
        geometry: (7, size, size).
        view: Its name.
        axis: 0 turns up and down round, 1 right and left.
    """
    right, up, _ = VIEW_AXES[view]
    world = int(np.flatnonzero(up if axis == 0 else right)[0])
    geometry[:] = np.flip(geometry, axis=axis + 1).copy()
    geometry[_NORMAL[world]] *= -1


def _change(
    geometry: Array,
    em: Array,
    views: tuple[str, ...],
    changes: Changes,
    draws: np.random.Generator,
) -> None:
    """Change one row in place."""
    if changes.flip:
        for image, view in zip(geometry, views, strict=True):
            for axis in np.flatnonzero(draws.random(2) < 0.5):
                flip_view(image, view, axis=int(axis))
    for plane in em:
        for axis in np.flatnonzero(draws.random(2) < 0.5):
            plane[:] = np.flip(plane, axis=int(axis) + 1).copy()
    gain, shift = 1 + _EM_GAIN * draws.uniform(-1, 1), _EM_SHIFT * draws.uniform(-1, 1)
    grey = em[:, em_channel("em")]
    grey[:] = np.clip((grey - 0.5) * gain + 0.5 + shift, 0, 1)
    if changes.swap and draws.random() < 0.5:
        geometry[:, SIDES] = geometry[:, SIDES[::-1]]
        em[:, EM_SIDES] = em[:, EM_SIDES[::-1]]


def _with_positions(geometry: Array, views: tuple[str, ...]) -> Array:
    """Add the world position of every foreground pixel; 0 in the background."""
    positions = np.stack(
        [
            np.stack(
                [
                    world_positions(v, image[channel("depth")])
                    for v, image in zip(views, row, strict=True)
                ]
            )
            for row in geometry
        ]
    )
    positions *= geometry[:, :, channel("silhouette"), None]
    return np.concatenate([geometry, positions], axis=2)
