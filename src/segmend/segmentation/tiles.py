"""Windows that cover a box, the context around them, and weights that blend where they overlap.

Along one axis, with a halo of context that is read and thrown away::

    tile 0   hhhh|--------window--------|hhhh
    tile 1                       hhhh|--------window--------|hhhh
    box          |===========================================|
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple
from segmend.core.errors import BadInputError


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a box is cut into tiles; all sizes in voxels ``(z, y, x)``.

    Attributes:
        tile: What the network sees at a time.
        halo: Context at each face that is read and thrown away.
        overlap: How far windows reach into each other at least, where answers are blended.
    """

    tile: Triple
    halo: Triple
    overlap: Triple

    def __post_init__(self) -> None:
        if any(s < 1 for s in self.step) or min(*self.halo, *self.overlap) < 0:
            raise BadInputError(
                "a tile must be larger than both halos and the overlap",
                found=f"tile {self.tile}, halo {self.halo}, overlap {self.overlap} (z, y, x)",
                fix="Choose larger tiles",
            )

    @property
    def window(self) -> Triple:
        """What of a tile's answer is used."""
        z, y, x = (t - 2 * h for t, h in zip(self.tile, self.halo, strict=True))
        return z, y, x

    @property
    def step(self) -> Triple:
        """From one window to the next."""
        z, y, x = (w - o for w, o in zip(self.window, self.overlap, strict=True))
        return z, y, x

    def starts(self, shape: Sequence[int]) -> Iterator[Triple]:
        """Where windows start in a box of that shape, z slowest; the last may reach beyond it.

        Every voxel of the box lies in at least one window.
        """
        axes = [
            range(0, max(1, n - o), s)
            for n, o, s in zip(shape, self.overlap, self.step, strict=True)
        ]
        yield from product(*axes)

    def weights(self) -> NDArray[np.float32]:
        """Weights of a window's voxels: they fall off linearly towards its faces, never to 0."""
        ramps = []
        for n, overlap in zip(self.window, self.overlap, strict=True):
            inwards = np.minimum(np.arange(n), np.arange(n)[::-1]) + 1.0
            ramps.append(np.minimum(inwards / (overlap + 1), 1.0))
        z, y, x = ramps
        return np.asarray(z[:, None, None] * y[:, None] * x, np.float32)


def tiling_for(
    shape: Sequence[int], *, tile: Triple, halo: Triple, stride: Triple, overlap: int = 8
) -> Tiling:
    """A tiling whose positions fit a network.

    Args:
        shape: Of the box to cover: a tile need not be larger than it with its halo.
        tile: The largest tile wanted.
        halo: Context thrown away: from `NetworkShape.reach` on, answers do not depend on how the
            box is cut; far less does where windows overlap.
        stride: What sizes and positions must be multiples of.
        overlap: Voxels that windows overlap, where there are several.
    """
    halo = _up(halo, stride)
    blend = _up([overlap if n > t - 2 * h else 0 for n, t, h in _zip(shape, tile, halo)], stride)
    wanted = [min(t, n + 2 * h) for n, t, h in _zip(shape, tile, halo)]
    # At least one step of progress per tile.
    least = [2 * h + b + s for h, b, s in _zip(halo, blend, stride)]
    return Tiling(_up([max(a, b) for a, b in zip(wanted, least, strict=True)], stride), halo, blend)


def _zip(a: Sequence[int], b: Sequence[int], c: Sequence[int]) -> list[tuple[int, int, int]]:
    return list(zip(a, b, c, strict=True))


def _up(sizes: Sequence[int], stride: Triple) -> Triple:
    """The next multiples."""
    z, y, x = (-(-n // s) * s for n, s in zip(sizes, stride, strict=True))
    return z, y, x
