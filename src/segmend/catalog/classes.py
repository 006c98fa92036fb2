"""The common classes of a data set, computed on reading from whatever layers say something of them.

Identity is never lost by it: neurons, clefts and mitochondria stay layers of their own, and a
class volume says only what is where.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from segmend.catalog.labels import IGNORED, VOCABULARY, LabelSpec, class_values
from segmend.core.box import VoxelBox
from segmend.core.errors import SchemaError
from segmend.core.grid import VoxelGrid
from segmend.core.registry import unknown_name
from segmend.volumes.align import common_grid
from segmend.volumes.volume import Volume

As = Literal["background", "ignored"]

DETECT_VOXELS = 2**26
"""Voxels read at a time to find out what a layer holds."""


@dataclass(frozen=True, slots=True)
class ClassDriver:
    """Classes of label layers that lie on one grid.

    Attributes:
        layers: Volumes and the meaning of their values, in the order of `VOCABULARY`: where two
            say something else of a voxel, the later one holds, as in the offset codes of CREMI
            (a cleft lies over its neurons).
        table: What each class counts as, uint8 by position in `VOCABULARY`.
        grid: Where the voxels lie.
        source: For messages.
    """

    layers: tuple[tuple[Volume, LabelSpec], ...]
    table: tuple[int, ...]
    grid: VoxelGrid
    source: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        return np.dtype(np.uint8)

    def read(self, voxels: VoxelBox, out: NDArray[Any]) -> Sequence[VoxelBox]:
        """Classes of a box; voxels that no layer says anything of are absent."""
        table = np.full(256, IGNORED, np.uint8)
        table[: len(self.table)] = self.table
        out[...] = 0
        absent: list[VoxelBox] = []
        for volume, spec in self.layers:
            block = volume.read_voxels(voxels)
            values = class_values(block.data, spec, source=volume.source)
            absent += [box.shift(voxels.start) for box in block.coverage.absent]
            np.copyto(out, values, where=values > 0)
        out[...] = table[out]
        return _disjoint(absent)


def class_volume(
    name: str,
    layers: Mapping[str, tuple[Volume, LabelSpec]],
    *,
    ignore: Collection[str] = (),
    ignored_as: As = "background",
) -> Volume:
    """A volume of classes.

    Args:
        name: Of the data set, for messages.
        layers: Label layers by name; those that say nothing of the vocabulary are left out.
        ignore: Classes of `VOCABULARY` that are not wanted.
        ignored_as: What their voxels become: ``background`` (0), or ``ignored`` (255), which no
            loss and no metric may count.

    Returns:
        uint8: positions in `VOCABULARY`; 255 where a layer says "not labelled".

    Raises:
        SchemaError: if no layer says anything of the vocabulary.
        UnknownNameError: for a class that is not in it.
        GridMismatchError: if the layers lie on different grids.
    """
    for unwanted in ignore:
        if unwanted not in VOCABULARY:
            raise unknown_name("class", unwanted, dict.fromkeys(VOCABULARY))
    telling = {name: (v, spec) for name, (v, spec) in layers.items() if tells_classes(spec)}
    stored = {k: v for k, v in telling.items() if v[1].kind == "semantic"}
    if not telling:
        raise SchemaError(
            f"no layer of '{name}' says anything of the common classes",
            found=f"label layers: {sorted(layers) or 'none'}",
        )
    # A stored semantic layer that knows every class says it all; else each layer says its own.
    chosen = stored if any(not spec.classes for _, spec in stored.values()) else telling
    ordered = sorted(chosen.values(), key=lambda item: _last_class(item[1]))
    replaced = IGNORED if ignored_as == "ignored" else 0
    table = tuple(replaced if c in ignore else i for i, c in enumerate(VOCABULARY))
    grid = common_grid({k: v for k, (v, _) in chosen.items()})
    return Volume(ClassDriver(tuple(ordered), table, grid, f"classes of {name}"))


def tells_classes(spec: LabelSpec) -> bool:
    """Whether a layer says anything of the common classes."""
    return spec.kind != "instance" or bool(spec.as_class)


def detected(volume: Volume, spec: LabelSpec) -> LabelSpec:
    """The meaning of a layer whose release does not say whether it holds classes or ids.

    MitoEM 2.0 was described with classes (0, 1, 2) and read elsewhere as instance ids
    (reference/datasets.md, D): the values decide, and the whole layer is read once for it.

    Args:
        volume: The layer.
        spec: Its recorded meaning; returned unchanged unless its kind is ``detect``.
    """
    if spec.kind != "detect":
        return spec
    largest = max(int(v) for v in spec.classes)
    depth = max(1, DETECT_VOXELS // max(1, volume.grid.shape[1] * volume.grid.shape[2]))
    for z in range(0, volume.grid.shape[0], depth):
        slab = volume.grid.voxels.clip(0, z, z + depth)
        if slab.size and int(volume.read_voxels(slab).data.max()) > largest:
            return msgspec.structs.replace(spec, kind="instance", classes={})
    return msgspec.structs.replace(spec, kind="semantic", as_class="")


def _last_class(spec: LabelSpec) -> int:
    named = [spec.as_class] if spec.as_class else [*spec.classes.values(), *spec.codes]
    return max((VOCABULARY.index(c) for c in named), default=len(VOCABULARY))


def _disjoint(boxes: list[VoxelBox]) -> list[VoxelBox]:
    """The same voxels as boxes that do not overlap (layers of one chunking repeat their boxes)."""
    kept: list[VoxelBox] = []
    for box in dict.fromkeys(boxes):
        parts = [box]
        for other in kept:
            parts = [piece for part in parts for piece in part.without(other)]
        kept += parts
    return kept
