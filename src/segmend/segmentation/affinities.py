"""Which affinities are learnt: the edges from a voxel to those at some offsets from it."""

from __future__ import annotations

from collections.abc import Sequence

from segmend.core.box import Triple

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
