"""Where a voxel looks for tissue: a smooth warp that bends it, and the jitter of its section.

Neurites are laid out in *layout space* (nm). A position in the volume is displaced by its section's
jitter and a smooth warp, then looked up in layout space.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.random import keyed_digest, keyed_generator
from segmend.synthetic.noise import vector_noise
from segmend.synthetic.spec import TissueSpec

BEND_PITCH, BEND = 320.0, 48.0
RIPPLE_PITCH, RIPPLE = 85.0, 9.0
"""Two octaves: period and amplitude in nm. Slopes stay below 1, so that the warp has an inverse."""

LARGEST_SHIFT = BEND + RIPPLE
NORMAL, DARK, BLURRED, MISSING = 0, 1, 2, 3
"""Kinds of section."""


class Sections(NamedTuple):
    """Per section: kind, in-plane jitter ``(n, 2)`` y, x nm, gain and offset of the grey values."""

    kind: NDArray[np.uint8]
    jitter: NDArray[np.float64]
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]


def hash_seed(spec: TissueSpec, purpose: str) -> np.uint64:
    """64 bits that depend on the tissue's seed and a purpose."""
    return np.uint64(int.from_bytes(keyed_digest("synthetic", spec.seed, purpose)[:8], "little"))


def cut_sections(spec: TissueSpec) -> Sections:
    """Draw the sections: jitter of about 3 nm with slips, uneven staining, a few damaged ones."""
    count = spec.shape[0]
    rng = keyed_generator("synthetic", spec.seed, "sections")
    jitter = rng.normal(0.0, 2.5, (count, 2))
    jitter += rng.normal(0.0, 9.0, (count, 2)) * (rng.random((count, 1)) < 0.03)
    gain, offset = rng.normal(1.0, 0.03, count), rng.normal(0.0, 3.0, count)
    draw = rng.random(count)
    kind = np.full(count, NORMAL, np.uint8)
    kind[draw < 0.045] = BLURRED
    kind[draw < 0.02] = DARK
    # One missing section in every 128, never two together and never the first or last few.
    for first in range(0, count - 31, 128):
        last = min(first + 128, count)
        kind[rng.integers(first + 8, last - 8)] = MISSING
    gain[kind == DARK] *= 0.6
    offset[kind == DARK] -= 25.0
    return Sections(kind, jitter, gain, offset)


@njit(cache=True, nogil=True)
def bend(seed: np.uint64, z: float, y: float, x: float) -> tuple[float, float, float]:
    """Layout position of a position that has its section's jitter added already; nm."""
    a = vector_noise(seed, z / BEND_PITCH, y / BEND_PITCH, x / BEND_PITCH)
    b = vector_noise(seed, z / RIPPLE_PITCH + 0.5, y / RIPPLE_PITCH + 0.5, x / RIPPLE_PITCH + 0.5)
    return (
        z + BEND * a[0] + RIPPLE * b[0],
        y + BEND * a[1] + RIPPLE * b[1],
        x + BEND * a[2] + RIPPLE * b[2],
    )


@njit(cache=True, nogil=True)
def _unbend(seed: np.uint64, points: NDArray[np.float64]) -> NDArray[np.float64]:
    found = points.copy()
    for n in range(len(points)):
        # Fixed point of x = layout - displacement(x), a contraction.
        for _ in range(24):
            z, y, x = found[n]
            u, v, w = bend(seed, z, y, x)
            found[n, 0] = points[n, 0] - (u - z)
            found[n, 1] = points[n, 1] - (v - y)
            found[n, 2] = points[n, 2] - (w - x)
    return found


def to_volume(
    spec: TissueSpec, sections: Sections, points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Positions in the volume of layout positions, ``(n, 3)`` nm, order ``(z, y, x)``."""
    found = _unbend(hash_seed(spec, "warp"), np.ascontiguousarray(points, np.float64))
    section = np.floor(found[:, 0] / spec.voxel_size[0]).astype(np.int64)
    section = np.clip(section, 0, spec.shape[0] - 1)
    found[:, 1:] -= sections.jitter[section]
    return found
