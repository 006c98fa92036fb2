"""Do layers lie on one grid?"""

from __future__ import annotations

from collections.abc import Mapping

from segmend.core.errors import GridMismatchError
from segmend.core.grid import VoxelGrid
from segmend.volumes.volume import Volume


def common_grid(layers: Mapping[str, Volume]) -> VoxelGrid:
    """The grid that all layers share.

    Args:
        layers: Volumes by name, at least one.

    Raises:
        GridMismatchError: naming the first two layers that differ and how.
    """
    (first, volume), *others = layers.items()
    for name, other in others:
        if other.grid != volume.grid:
            raise GridMismatchError(
                f"the layers '{first}' and '{name}' lie on different grids",
                found=f"{volume.source} has {volume.grid}, {other.source} has {other.grid}",
                fix="Resample one of them; segmend does not guess which is right",
            )
    return volume.grid
