"""Affinities: whether a voxel and the one at an offset from it lie in one segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple
from segmend.patches import kernels
from segmend.patches.relabel import dense

NEAREST: tuple[Triple, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
"""The three faces of a voxel; every list of offsets here starts with them."""


def offsets_for(voxel_size: Sequence[float]) -> tuple[Triple, ...]:
    """Nearest and long-range offsets for voxels of a size, nm ``(z, y, x)``.

    The long ones reach about nine voxels of the finest axis; along an axis whose voxels are that
    long they reach one further section, so that a missing one does not cut everything.
    """
    finest = min(voxel_size)
    reach = [max(2, round(9 * finest / size)) for size in voxel_size]
    z, y, x = reach
    return (*NEAREST, (z, 0, 0), (0, y, 0), (0, 0, x), (0, y, x), (0, y, -x))


def affinity_targets(
    labels: NDArray[Any], offsets: Sequence[Triple], *, zero_is: str = "unknown"
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Affinities of a label array.

    The edge between voxels ``v`` and ``v + offset`` is kept at ``v`` ("at its source").

    Args:
        labels: Ids, any integer dtype, ``(z, y, x)``.
        offsets: Voxels ``(z, y, x)``, one per channel.
        zero_is: ``unknown``: edges that touch id 0 are not valid; ``boundary``: they are cut.

    Returns:
        1 where the ids are equal and not 0, else 0, uint8 ``(c, z, y, x)``; and which edges are
        valid, bool: not those that leave the array.
    """
    values = np.empty((len(offsets), *labels.shape), np.uint8)
    valid = np.empty(values.shape, np.uint8)
    kernels.affinities(
        dense(labels).labels,
        np.ones(labels.shape, np.uint8),
        np.array(offsets, np.int64).reshape(-1, 3),
        zero_is == "boundary",
        values,
        valid,
    )
    return values, valid.view(np.bool_)
