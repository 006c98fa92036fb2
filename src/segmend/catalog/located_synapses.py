"""Synapses of a table, as pairs of supervoxels in a box of the segmentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segmend.annotations.columns import Lists, Places
from segmend.annotations.synapses import Synapses
from segmend.catalog.annotations import Annotations
from segmend.core.errors import SchemaError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.synthetic.history import Synapse

SIDES = ("axons", "dendrites")
"""Tables that the ids of a synapse's partners are rows of."""


def located_synapses(
    annotations: Annotations, supervoxels: Ids, grid: VoxelGrid, *, whole: VoxelGrid
) -> tuple[tuple[Synapse, ...], Counter[str]]:
    """The synapses whose cleft lies in a box, each with the supervoxels at its two positions.

    A synapse of the table is onto sets of supervoxels; the pair that is asked about holds the
    positions that the table states for the two sides. Nothing else is tried.

    Args:
        annotations: The tables of a data set: ``synapses``, ``axons`` and ``dendrites``.
        supervoxels: uint64 ``(z, y, x)``, the box.
        grid: Its grid.
        whole: The grid of the whole segmentation, on which the voxels of the table count.

    Returns:
        Synapses, whose neurons are ids of axons, and of dendrites after those (the ids of
        `segmend.catalog.agglomerated.stacked_neurites`), and the count of those in the box that
        were left out, by reason.

    Raises:
        SchemaError: if a synapse names an axon or dendrite that its table lacks.
        ReadFailedError: if a table is not there or damaged.
    """
    table = annotations["synapses"]
    counts = [len(annotations[side]) for side in SIDES]
    for ids, side, most in zip((table.axon_ids, table.dendrite_ids), SIDES, counts, strict=True):
        if ids.size and int(ids.max()) > most:
            raise SchemaError(
                f"synapse {int(np.argmax(ids > most)) + 1} of '{annotations.record.name}' names "
                f"number {ids.max()} of its {side}",
                found=f"there are {most}",
                fix="Fetch tables of one version",
            )
    outcomes = list(_outcomes(table, supervoxels, _voxels(table.places, grid, whole), grid, whole))
    found = tuple(
        _synapse(table, row, pair, whole, first_dendrite=counts[0])
        for row, pair in outcomes
        if not isinstance(pair, str)
    )
    return found, Counter(pair for _, pair in outcomes if isinstance(pair, str))


def _outcomes(
    table: Synapses,
    supervoxels: Ids,
    at: NDArray[np.int64],
    grid: VoxelGrid,
    whole: VoxelGrid,
) -> Iterator[tuple[int, tuple[int, int] | str]]:
    """Row and pair, or reason, of every synapse in the box."""
    pre_at, post_at = (
        _voxels(places, grid, whole) for places in (table.pre_places, table.post_places)
    )
    inside = table.places.known & _within(at, grid.shape)
    for row in np.flatnonzero(inside).tolist():
        if not table.axon_ids[row] or not table.dendrite_ids[row]:
            yield row, "partner not reconstructed"
            continue
        pre = _at(supervoxels, pre_at[row], table.pre_segments, row)
        post = _at(supervoxels, post_at[row], table.post_segments, row)
        if pre is None or post is None:
            yield row, "position in none of its segments"
        else:
            yield row, (pre, post)


def _voxels(places: Places, grid: VoxelGrid, whole: VoxelGrid) -> NDArray[np.int64]:
    """Voxels of the whole as voxels of the box; outside it where there is none."""
    voxels = places.voxels - np.array(whole.to_voxels(grid.box).start)
    voxels[~places.known] = -1
    return voxels


def _within(voxels: NDArray[np.int64], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    within: NDArray[np.bool_] = np.all((voxels >= 0) & (voxels < np.array(shape)), axis=1)
    return within


def _at(supervoxels: Ids, voxel: NDArray[np.int64], lists: Lists, row: int) -> int | None:
    """The supervoxel at a voxel, if the synapse lists it."""
    if not _within(voxel[None], (supervoxels.shape[0], *supervoxels.shape[1:]))[0]:
        return None
    found = supervoxels[tuple(voxel.tolist())]
    return int(found) if found in lists[row] else None


def _synapse(
    table: Synapses, row: int, pair: tuple[int, int], whole: VoxelGrid, *, first_dendrite: int
) -> Synapse:
    points = [
        tuple(whole.centers(places.voxels[row : row + 1])[0].tolist())
        for places in (table.places, table.pre_places, table.post_places)
    ]
    return Synapse(
        cleft_id=row + 1,
        pre_neuron=int(table.axon_ids[row]),
        post_neuron=int(table.dendrite_ids[row]) + first_dendrite,
        pre_segment=pair[0],
        post_segment=pair[1],
        center_nm=points[0],
        pre_point_nm=points[1],
        post_point_nm=points[2],
    )
