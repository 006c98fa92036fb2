"""What a synthetic volume is asked to be: a seed, a size and how often things happen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segmend.core.box import Point, Triple
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid

SMALLEST_NM = 300.0
"""Below this width there is no room for a neurite and its neighbours."""

COARSEST_NM = 60.0
"""Above this voxel size a thin axon is lost between two voxels."""

FINEST_NM = 1.0
"""Below this voxel size the smallest structures drawn (about 8 nm) are blurs."""


@dataclass(frozen=True, slots=True)
class TissueSpec:
    """One block of synthetic tissue. Equal specs give equal voxels.

    Attributes:
        seed: Any whole number from 0; different seeds give unrelated tissue.
        shape: Voxels per axis, ``(z, y, x)``; z counts sections.
        voxel_size: nm per voxel, ``(z, y, x)``; 1 to 60 nm on every axis.
        false_splits: Aimed-at false splits per cubic micrometre.
        false_merges: Aimed-at false merges per cubic micrometre.
        synapses: Aimed-at synapses per cubic micrometre.

    Raises:
        BadInputError: if the numbers describe no tissue.
    """

    seed: int
    shape: Triple = (256, 256, 256)
    voxel_size: Point = (20.0, 10.0, 10.0)
    false_splits: float = 3.6
    false_merges: float = 0.9
    synapses: float = 2.0

    def __post_init__(self) -> None:
        _check_whole("seed", (self.seed,), count=1, smallest=0)
        _check_whole("shape", self.shape, count=3, smallest=1)
        _check_voxel_size(self.voxel_size)
        for name in ("false_splits", "false_merges", "synapses"):
            rate = getattr(self, name)
            if not (isinstance(rate, (int, float)) and math.isfinite(rate) and rate >= 0):
                raise BadInputError(
                    f"synthetic tissue: {name} must be a finite rate per cubic micrometre, "
                    f"at least 0, got {rate!r}"
                )
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "voxel_size", tuple(float(v) for v in self.voxel_size))
        extent = self.extent
        if min(extent) < SMALLEST_NM:
            raise BadInputError(
                f"synthetic tissue of {self.shape} voxels of {self.voxel_size} nm is too small",
                found=f"it is {extent} nm wide (z, y, x)",
                fix=f"Give at least {SMALLEST_NM:.0f} nm on every axis",
            )

    @property
    def grid(self) -> VoxelGrid:
        """Where the voxels lie; the first corner is at 0 nm."""
        return VoxelGrid(self.voxel_size, (0.0, 0.0, 0.0), self.shape)

    @property
    def extent(self) -> Point:
        """Width in nm, ``(z, y, x)``."""
        (a, b, c), (u, v, w) = self.shape, self.voxel_size
        return (a * u, b * v, c * w)

    @property
    def cubic_micrometres(self) -> float:
        """Volume in cubic micrometres."""
        return math.prod(self.extent) / 1e9


def _check_whole(name: str, values: object, *, count: int, smallest: int) -> None:
    good = (
        isinstance(values, (tuple, list))
        and len(values) == count
        and all(isinstance(v, int) and not isinstance(v, bool) and v >= smallest for v in values)
    )
    if not good:
        what = "a whole number" if count == 1 else f"{count} whole numbers (z, y, x)"
        shown = values[0] if count == 1 and isinstance(values, tuple) else values
        raise BadInputError(
            f"synthetic tissue: {name} must be {what}, at least {smallest}, got {shown!r}"
        )


def _check_voxel_size(size: object) -> None:
    good = (
        isinstance(size, (tuple, list))
        and len(size) == 3
        and all(isinstance(v, (int, float)) and math.isfinite(v) for v in size)
        and all(FINEST_NM <= v <= COARSEST_NM for v in size)
    )
    if not good:
        raise BadInputError(
            "synthetic tissue: voxel_size must be three finite numbers of nm (z, y, x), each from "
            f"{FINEST_NM:.0f} to {COARSEST_NM:.0f}, got {size!r}"
        )
