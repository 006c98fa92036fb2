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
    SchemaVersion,
    channel,
    em_channel,
    em_column,
)
from segmend.tasks.task import Inputs, Look, Task, split_sides

if TYPE_CHECKING:
    from segmend.loaders.packed.reader import PackedRows

_SIZE = (IMAGE_SIZE, IMAGE_SIZE)
_PIXELS = IMAGE_SIZE * IMAGE_SIZE
_NO_EM = np.zeros((0, len(EM_CHANNELS), _PIXELS), np.uint8)
_NO_SIDES = np.zeros((0, _PIXELS), np.uint8)
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

    def copy(self, source: int, slot: int) -> None:
        """Put the example of one place into another too."""
        for array in (self.geometry, self.em, self.targets):
            if array is not None:
                array[slot] = array[source]

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


class PackedPictures:
    """Takes the examples of a task, or a part of each, from a packed cache.

    Args:
        packed: The cache.
        task: The question.
        look: What is shown.
        targets: Whether there are answers.
        version: Schema of the rows.
    """

    def __init__(
        self, packed: PackedRows, task: Task, look: Look, *, targets: bool, version: SchemaVersion
    ) -> None:
        from segmend.loaders.packed.reader import Wanted

        self._packed = packed
        masks = targets and task.target_kind == "split_mask"
        views = [VIEWS.index(view) for view in look.views]
        shown = task.picture_columns(Look(look.views, ()), version)
        sides = task.answer_columns(look, version) if masks and version != "v1" else ()
        self._wanted = Wanted(
            tuple(number for column in shown for number in packed.blocks(column, views)),
            tuple(n for plane in look.planes for n in packed.blocks(em_column(plane, version))),
            tuple(number for column in sides for number in packed.blocks(column)),
            unite=not task.dual,
        )
        self._dual = Wanted(packed.blocks("geometry", views)) if masks and version == "v1" else None

    def read(self, position: int, frames: Frames, slot: int) -> None:
        """Unpack the example at a position of the benchmark into its place.

        Targets are filled as far as they are pictures.

        Raises:
            ReadFailedError: if the row lacks a picture, or bytes are damaged.
        """
        from segmend.loaders.packed.reader import Pictures

        targets = frames.targets if self._wanted.sides else None
        sides = _NO_SIDES if targets is None else targets[slot].reshape(len(targets[slot]), -1)
        geometry, em = frames.geometry[slot], frames.em[slot]
        flat = geometry.view(np.uint16).reshape(*geometry.shape[:2], _PIXELS)
        if self._wanted.blocks.size:
            out = Pictures(flat, em.reshape(*em.shape[:2], _PIXELS), sides)
            self._packed.read(position, self._wanted, out)
        if self._dual is not None and frames.targets is not None:
            dual = np.empty(geometry.shape, np.float16)
            bits = dual.view(np.uint16).reshape(flat.shape)
            self._packed.read(position, self._dual, Pictures(bits, _NO_EM, _NO_SIDES))
            frames.targets[slot] = split_sides(dual)


def shapes(task: Task, look: Look, n: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of the arrays of `Frames`, by name."""
    views, planes = len(look.views), len(look.planes)
    masks = task.target_kind == "split_mask"
    return {
        "geometry": ((n, views, len(CHANNELS), *_SIZE), "float16"),
        "em": ((n, planes, len(EM_CHANNELS), *_SIZE), "uint8"),
        "targets": ((n, views, *_SIZE), "uint8") if masks else ((n,), "float32"),
    }
