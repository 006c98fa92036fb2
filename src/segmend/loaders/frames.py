"""Arrays that a batch is decoded into: stored dtypes, channels first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.sample import (
    CHANNELS,
    EM_CHANNELS,
    IMAGE_SIZE,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    channel,
    em_channel,
)
from segmend.tasks.task import Inputs, Look, Target, Task

_SIZE = (IMAGE_SIZE, IMAGE_SIZE)
_SIDES = [channel("mask_a"), channel("mask_b")]
_EM_SIDES = [em_channel("mask_a"), em_channel("mask_b")]


@dataclass(frozen=True, slots=True)
class Frames:
    """Pictures and answers of some examples.

    Attributes:
        geometry: float16 (rows, views, channels, 224, 224).
        em: uint8 (rows, planes, channels, 224, 224), masks {0, 255}.
        targets: float32 (rows,), or uint8 (rows, views, 224, 224); None without targets.
        look: Which views and planes.
    """

    geometry: NDArray[np.float16]
    em: NDArray[np.uint8]
    targets: NDArray[Any] | None
    look: Look

    def put(self, slot: int, inputs: Inputs, target: Target | None) -> None:
        """Copy one example in."""
        self.geometry[slot] = inputs.geometry
        self.em[slot] = np.moveaxis(inputs.em, -1, 1)
        if self.targets is not None:
            self.targets[slot] = target

    def swap(self, slot: int, *, dual: bool) -> None:
        """Exchange A and B of one example, in its answer too.

        Args:
            slot: Which.
            dual: Whether its task shows two segments; if not, pictures stay as they are, because
                both sides are united in A.
        """
        if dual:
            geometry, em = self.geometry[slot], self.em[slot]
            geometry[:, _SIDES] = geometry[:, _SIDES[::-1]]
            em[:, _EM_SIDES] = em[:, _EM_SIDES[::-1]]
        if self.targets is not None and self.targets.ndim > 1:
            sides = self.targets[slot]
            a, b = sides == SPLIT_MASK_A, sides == SPLIT_MASK_B
            sides[a], sides[b] = SPLIT_MASK_B, SPLIT_MASK_A


def shapes(task: Task, look: Look, n: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of the arrays of `Frames`, by name."""
    views, planes = len(look.views), len(look.planes)
    masks = task.target_kind == "split_mask"
    return {
        "geometry": ((n, views, len(CHANNELS), *_SIZE), "float16"),
        "em": ((n, planes, len(EM_CHANNELS), *_SIZE), "uint8"),
        "targets": ((n, views, *_SIZE), "uint8") if masks else ((n,), "float32"),
    }
