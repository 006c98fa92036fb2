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
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_BACKGROUND,
)
from segmend.loaders.examples import Examples
from segmend.models.losses import IGNORE
from segmend.models.model import Report
from segmend.models.views import REDUCTION, SIZE, reduce_em, reduce_geometry
from segmend.tasks.task import Target, Task


@dataclass(frozen=True, slots=True)
class Packed:
    """The reduced rows of one task and split.

    Attributes:
        geometry: float16 (rows, views, 7, 112, 112), memory-mapped.
        em: uint8 (rows, planes, 3, 112, 112), memory-mapped.
        targets: float32 (rows,), or uint8 (rows, views, 112, 112) with 0 = A, 1 = B and 255 =
            ignored; None if not asked for.
        hashes: Primary key of every row.
        views: Names of the geometry views.
    """

    geometry: NDArray[np.float16]
    em: NDArray[np.uint8]
    targets: NDArray[Any] | None
    hashes: tuple[str, ...]
    views: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.hashes)


def pack(rows: Examples, task: Task, folder: Path, *, answers: bool, report: Report) -> Packed:
    """Decode every row once.

    Args:
        rows: Examples of one task and split.
        task: Their task.
        folder: Existing folder for the memory-mapped files.
        answers: Whether to keep the targets.
        report: Told about progress.
    """
    count, views, planes = len(rows), task.views, task.planes
    geometry = _map(folder / "geometry", np.float16, (count, len(views), len(CHANNELS), SIZE, SIZE))
    em = _map(folder / "em", np.uint8, (count, len(planes), len(EM_CHANNELS), SIZE, SIZE))
    targets: list[float | NDArray[np.uint8]] = []
    for index, example in enumerate(rows):
        geometry[index] = reduce_geometry(example.inputs.geometry)
        em[index] = reduce_em(example.inputs.em)
        if answers:
            assert example.target is not None  # the rows were opened with targets
            targets.append(_reduced_target(example.target))
        report("decoding", index + 1, count)
    kept = np.array(targets, dtype=np.float32 if task.target_kind == "binary" else np.uint8)
    return Packed(geometry, em, kept if answers else None, tuple(map(str, rows.hashes)), views)


def _map(path: Path, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype=dtype, mode="w+", shape=shape)


def _reduced_target(target: Target) -> float | NDArray[np.uint8]:
    """A label as it is; a split mask at every second pixel, as classes."""
    if not isinstance(target, np.ndarray):
        return target
    classes = np.full(256, IGNORE, dtype=np.uint8)
    classes[[SPLIT_MASK_A, SPLIT_MASK_B, SPLIT_MASK_BACKGROUND]] = (0, 1, IGNORE)
    return classes[target[..., ::REDUCTION, ::REDUCTION]]
