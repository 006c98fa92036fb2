"""Arrays that a batch is decoded into: stored dtypes, channels first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.sample import (
    CHANNELS,
    EM_CHANNELS,
    IMAGE_SIZE,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    VIEWS,
    channel,
    em_channel,
)
from segmend.tasks.task import Inputs, Look, Target, Task

if TYPE_CHECKING:
    from segmend.loaders.packed.reader import PackedRows

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

    def inputs(self, slot: int) -> Inputs:
        """One example as views of these arrays."""
        em = np.moveaxis(self.em[slot], 1, -1)
        return Inputs(self.geometry[slot], em, self.look.views, self.look.planes)

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


class PictureList:
    """Pictures of one row that are wanted from a packed cache, and where they go."""

    def __init__(self, packed: PackedRows) -> None:
        self._packed = packed
        self._wanted: list[tuple[int, NDArray[Any]]] = []

    def views(self, column: str, views: tuple[str, ...], outs: NDArray[np.float16]) -> None:
        """Views of a geometry, (views, channels, 224, 224)."""
        blocks = self._packed.blocks(column, [VIEWS.index(view) for view in views])
        bits = outs.view(np.uint16).reshape(len(views), len(CHANNELS), -1)
        self._wanted += zip(blocks, bits, strict=True)

    def whole(self, column: str, out: NDArray[np.uint8]) -> None:
        """An EM slice (channels, 224, 224) or a split mask (224, 224)."""
        (block,) = self._packed.blocks(column)
        self._wanted.append((block, out.reshape(*out.shape[:-2], -1)))

    def read(self, position: int) -> None:
        """Read them all at once."""
        blocks, outs = zip(*sorted(self._wanted, key=lambda wanted: wanted[0]), strict=True)
        self._packed.read(position, blocks, outs)


def shapes(task: Task, look: Look, n: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of the arrays of `Frames`, by name."""
    views, planes = len(look.views), len(look.planes)
    masks = task.target_kind == "split_mask"
    return {
        "geometry": ((n, views, len(CHANNELS), *_SIZE), "float16"),
        "em": ((n, planes, len(EM_CHANNELS), *_SIZE), "uint8"),
        "targets": ((n, views, *_SIZE), "uint8") if masks else ((n,), "float32"),
    }
