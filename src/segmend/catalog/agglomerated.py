"""A layer of supervoxels, mapped to the neurites that tables make of them, on reading."""

from __future__ import annotations

import operator
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.annotations.agglomeration import Agglomeration, stack
from segmend.catalog.annotations import Annotations
from segmend.core.box import VoxelBox
from segmend.core.grid import VoxelGrid
from segmend.volumes.volume import Volume


@dataclass(frozen=True, slots=True)
class AgglomeratedDriver:
    """Supervoxels of a volume as neurites.

    Attributes:
        supervoxels: The volume.
        annotations: The tables of its data set: they travel by name, not by value.
        names: Tables whose neurites count, in the order of their ids.
        source: For messages.
    """

    supervoxels: Volume
    annotations: Annotations
    names: tuple[str, ...]
    source: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint64."""
        return np.dtype(np.uint64)

    @property
    def grid(self) -> VoxelGrid:
        """That of the supervoxels."""
        return self.supervoxels.grid

    def read(self, voxels: VoxelBox, out: NDArray[Any]) -> Sequence[VoxelBox]:
        """Neurites of a box, 0 where there is none."""
        block = self.supervoxels.read_voxels(voxels)
        neurites = stacked_neurites(self.annotations, self.names)
        if out.flags.c_contiguous:
            neurites.relabel(block.data, out=out)
        else:
            out[...] = neurites.relabel(block.data)
        return [box.shift(voxels.start) for box in block.coverage.absent]


def stacked_neurites(annotations: Annotations, names: tuple[str, ...]) -> Agglomeration:
    """The neurites of several tables as one: ids of the second follow those of the first.

    Args:
        annotations: The tables of a data set.
        names: Tables of neurites.

    Raises:
        SchemaError: if a table holds no neurites.
        BadInputError: if two tables share a supervoxel.
    """
    tables = tuple(annotations.supervoxels(name) for name in names)
    with _lock:
        for known, made in _kept:
            if len(known) == len(tables) and all(map(operator.is_, known, tables)):
                return made
        made = stack(tables)
        _kept[:] = [(tables, made)]
        return made


_lock = threading.Lock()
_kept: list[tuple[tuple[Agglomeration, ...], Agglomeration]] = []
"""The last neurites and their tables: stacking ten million supervoxels takes seconds, a read much
less."""
