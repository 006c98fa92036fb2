"""Rows decoded once, reduced, and kept in a file that the epochs read from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.sample import (
    CHANNELS,
    EM_CHANNELS,
    IMAGE_SIZE,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_BACKGROUND,
    channel,
)
from segmend.loaders.examples import Examples
from segmend.models.features import feature_names, row_features
from segmend.models.losses import IGNORE
from segmend.models.model import Report
from segmend.models.neck import neck_cut
from segmend.models.views import reduce_em, reduce_geometry
from segmend.tasks.task import Target


@dataclass(frozen=True, slots=True)
class Form:
    """What is kept of every row.

    Attributes:
        views: Geometry views: all of the task, or none.
        size: Width and height of the pictures: `IMAGE_SIZE` or a half of it.
        measured: Whether the geometry is measured, too.
    """

    views: tuple[str, ...]
    size: int
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Packed:
    """The reduced rows of one task and split.

    Attributes:
        geometry: float16 (rows, views, 7, size, size), memory-mapped.
        em: uint8 (rows, planes, 3, size, size), memory-mapped.
        targets: float32 (rows,), or uint8 (rows, views, size, size) with 0 = A, 1 = B and 255 =
            ignored; None if not asked for.
        hashes: Primary key of every row.
        species: Animal of every row: to balance by, never shown.
        views: Names of the geometry views.
        measures: float32 (rows, features) of `row_features`; None if not asked for.
    """

    geometry: NDArray[np.float16]
    em: NDArray[np.uint8]
    targets: NDArray[Any] | None
    hashes: tuple[str, ...]
    views: tuple[str, ...]
    species: NDArray[np.str_]
    measures: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.hashes)


def pack(rows: Examples, form: Form, folder: Path, *, report: Report) -> Packed:
    """Decode every row once.

    Rows of a mask task are given a proposal: masks A and B, one of which is empty in a task on one
    segment, hold the sides of `neck_cut`. It is made of what the task shows, and gives a network a
    place to start from and one naming for all views, which pictures alone do not have.

    Args:
        rows: Examples of one task and split; if they have targets these are kept.
        form: What to keep.
        folder: Existing folder for the memory-mapped files.
        report: Told about progress.
    """
    count, planes, views, size = len(rows), rows.task.planes, form.views, form.size
    step = IMAGE_SIZE // size
    geometry = _map(folder / "geometry", np.float16, (count, len(views), len(CHANNELS), size, size))
    em = _map(folder / "em", np.uint8, (count, len(planes), len(EM_CHANNELS), size, size))
    measures = _unmeasured(rows, form)
    targets: list[float | NDArray[np.uint8]] = []
    for index, example in enumerate(rows):
        shown = example.inputs
        if views:
            geometry[index] = shown.geometry if step == 1 else reduce_geometry(shown.geometry)
            if rows.task.target_kind == "split_mask":
                _propose(geometry[index], neck_cut(shown)[..., ::step, ::step])
        if measures is not None:
            measures[index] = row_features(shown.geometry, dual=rows.task.dual, views=shown.views)
        em[index] = np.moveaxis(shown.em, -1, 1) if step == 1 else reduce_em(shown.em)
        if example.target is not None:
            targets.append(_reduced_target(example.target, step))
        report("decoding", index + 1, count)
    kept = np.array(targets, dtype=np.float32 if rows.task.target_kind == "binary" else np.uint8)
    answers = kept if rows.targets else None
    return Packed(geometry, em, answers, rows.hashes, views, rows.species, measures)


def _unmeasured(rows: Examples, form: Form) -> NDArray[np.float32] | None:
    """Room for the measurements of all rows, if they are asked for."""
    if not form.measured:
        return None
    return np.empty((len(rows), len(feature_names(dual=rows.task.dual))), np.float32)


def _propose(geometry: NDArray[np.float16], cut: NDArray[np.bool_]) -> None:
    """Divide the segment, mask A, into both masks by a cut, in place."""
    a, b = channel("mask_a"), channel("mask_b")
    geometry[:, b] = geometry[:, a] * cut
    geometry[:, a] *= ~cut


def _map(path: Path, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype=dtype, mode="w+", shape=shape)


def _reduced_target(target: Target, step: int) -> float | NDArray[np.uint8]:
    """A label as it is; a split mask at every ``step``-th pixel, as classes."""
    if not isinstance(target, np.ndarray):
        return target
    classes = np.full(256, IGNORE, dtype=np.uint8)
    classes[[SPLIT_MASK_A, SPLIT_MASK_B, SPLIT_MASK_BACKGROUND]] = (0, 1, IGNORE)
    return classes[target[..., ::step, ::step]]
