"""How the voxels of every automatic segment are shared out among the true neurons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit, types
from numba.typed import Dict
from numpy.typing import NDArray

from segmend.core.errors import SegmentNotFoundError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.segments.contacts import added, check_labels

_PAIR = types.UniTuple(types.uint64, 2)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Overlap:
    """One automatic segment.

    Attributes:
        segment: Its id.
        voxels: Its size, voxels.
        neurons: True neurons in it with their voxels, largest first (among equals the smaller id);
            voxels without ground truth (neuron 0) count in ``voxels`` but not here.
    """

    segment: int
    voxels: int
    neurons: tuple[tuple[int, int], ...]

    @property
    def dominant(self) -> int:
        """The neuron that holds most of it; 0 if it has no ground truth at all."""
        return self.neurons[0][0] if self.neurons else 0

    @property
    def purity(self) -> float:
        """Share of the dominant neuron in all voxels of the segment, 0 to 1."""
        return self.neurons[0][1] / self.voxels if self.neurons else 0.0

    def sides(self, min_voxels: int) -> tuple[tuple[int, int], ...]:
        """The neurons with at least that many voxels in it, with their voxels, largest first."""
        return tuple(side for side in self.neurons if side[1] >= min_voxels)


def overlap_table(automatic: Ids, neurons: Ids, grid: VoxelGrid) -> dict[int, Overlap]:
    """Count the voxels that automatic segments share with true neurons.

    Args:
        automatic: uint64 ``(z, y, x)``; 0 is no segment.
        neurons: uint64 ``(z, y, x)``; 0 is no ground truth.
        grid: The grid of both.

    Returns:
        Every automatic segment by id, ascending.

    Raises:
        BadInputError: if an array is not 3-D uint64.
        GridMismatchError: if an array does not fit the grid.
    """
    check_labels(automatic, grid, name="automatic")
    check_labels(neurons, grid, name="neurons")
    counts = OverlapCounts()
    counts.add(automatic, neurons)
    return counts.table()


class OverlapCounts:
    """Voxels that automatic segments share with true neurons, counted block by block."""

    def __init__(self) -> None:
        self._pairs: Ids = np.empty((0, 2), np.uint64)
        self._voxels: NDArray[np.int64] = np.empty((0, 1), np.int64)

    def add(self, automatic: Ids, neurons: Ids) -> None:
        """Count a block; arguments as for `overlap_table`."""
        pairs, voxels = _count_pairs(automatic, neurons)
        self._pairs, self._voxels = added(
            np.concatenate([self._pairs, pairs]), np.concatenate([self._voxels, voxels[:, None]])
        )

    def table(self) -> dict[int, Overlap]:
        """Every automatic segment by id, ascending."""
        pairs, voxels = self._pairs, self._voxels[:, 0]
        # Segment ascending, then voxels descending, then neuron ascending.
        order = np.lexsort((pairs[:, 1], -voxels, pairs[:, 0]))
        shares: dict[int, list[tuple[int, int]]] = {}
        for (segment, neuron), count in zip(
            pairs[order].tolist(), voxels[order].tolist(), strict=True
        ):
            shares.setdefault(segment, []).append((neuron, count))
        return {segment: _overlap(segment, share) for segment, share in shares.items()}


def overlap_of(table: Mapping[int, Overlap], segment: int) -> Overlap:
    """Look a segment up.

    Raises:
        SegmentNotFoundError: if no voxel carries the id.
    """
    if segment not in table:
        raise SegmentNotFoundError(
            f"there is no automatic segment {segment}",
            found=f"the volume holds {len(table)} segments, none with that id",
            fix="Check that edits, synapses and segmentation are of one version",
        )
    return table[segment]


def _overlap(segment: int, share: list[tuple[int, int]]) -> Overlap:
    known = tuple(side for side in share if side[0] != 0)
    return Overlap(segment, sum(voxels for _, voxels in share), known)


@njit(cache=True, nogil=True)
def _count_pairs(automatic, neurons):  # type: ignore[no-untyped-def]
    """Pairs ``(n, 2)`` of non-zero segment and neuron, and their voxels ``(n,)``."""
    counts = Dict.empty(_PAIR, types.int64)
    last = (np.uint64(0), np.uint64(0))
    run = 0
    for z in range(automatic.shape[0]):
        for y in range(automatic.shape[1]):
            for x in range(automatic.shape[2]):
                pair = (automatic[z, y, x], neurons[z, y, x])
                # Neighbours mostly agree: look the table up once per run.
                if pair != last:
                    if run:
                        counts[last] = counts.get(last, 0) + run
                    last, run = pair, 0
                run += pair[0] != 0
    if run:
        counts[last] = counts.get(last, 0) + run
    pairs = np.empty((len(counts), 2), np.uint64)
    values = np.empty(len(counts), np.int64)
    for i, (pair, value) in enumerate(counts.items()):
        pairs[i, 0], pairs[i, 1] = pair
        values[i] = value
    return pairs, values
