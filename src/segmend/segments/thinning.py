"""Thinning to a skeleton of one voxel (Lee, Kashyap and Chu 1994), as scikit-image does it.

scikit-image visits every voxel of the box for every layer that is peeled; this visits the voxels of
the shape only, of which a neurite's box holds a few in a hundred. The result is the same, voxel by
voxel: tests compare it with scikit-image's.

A voxel may go if it borders the background on the side whose turn it is, is no end, and its removal
changes neither the Euler characteristic nor the number of parts of its 26 neighbours.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numba import njit
from numpy.typing import NDArray

_STEPS = [step for step in product((-1, 0, 1), repeat=3) if step != (0, 0, 0)]
_BIT = {step: np.uint32(1 << i) for i, step in enumerate(_STEPS)}

_TOUCHING = np.array(
    [
        sum(
            int(_BIT[other])
            for other in _STEPS
            if other != step and max(abs(a - b) for a, b in zip(step, other, strict=True)) == 1
        )
        for step in _STEPS
    ],
    np.uint32,
)
"""For each neighbour the neighbours that touch it, bit by bit."""


def _sharing(corner: tuple[int, ...]) -> int:
    """The neighbours that share a face, edge or vertex with the centre; 0 leaves an axis free."""
    spans = [(0,) if c == 0 else (0, c) for c in corner]
    return sum(int(_BIT[step]) for step in product(*spans) if step != (0, 0, 0))


_CELLS = np.array([_sharing(step) for step in _STEPS], np.uint32)
_SIGNS = np.array([(-1) ** (sum(map(abs, step)) + 1) for step in _STEPS], np.int64)
"""Each cell of the voxel's surface is a cell of the shape too unless all that share it are
background: faces count +1, edges -1, vertices +1."""

_OFFSETS = np.array(_STEPS, np.int64)
_TURNS = np.array([(0, -1, 0), (0, 1, 0), (0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0)], np.int64)
"""The sides in the order in which scikit-image takes them."""


def thinned(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The skeleton of a shape.

    Args:
        mask: bool ``(z, y, x)``; beyond the array is background.

    Returns:
        bool, the same shape.
    """
    image = np.pad(mask.astype(np.uint8), 1)
    live = np.flatnonzero(image)
    stride = np.array([image.shape[1] * image.shape[2], image.shape[2], 1], np.int64)
    _thin(image.reshape(-1), live, _OFFSETS @ stride, _TURNS @ stride, _TOUCHING, _CELLS, _SIGNS)
    return image[1:-1, 1:-1, 1:-1].astype(np.bool_)


@njit(cache=True, nogil=True)
def _thin(image, live, near, turns, touching, cells, signs):  # type: ignore[no-untyped-def]
    candidates = np.empty(len(live), np.int64)
    unchanged = 0
    while unchanged < len(turns):
        unchanged = 0
        for turn in turns:
            count = 0
            for at in live:
                if image[at] and not image[at + turn]:
                    around = _around(image, at, near)
                    if _may_go(around, touching, cells, signs):
                        candidates[count] = at
                        count += 1
            # Neighbours that went meanwhile may have made a voxel one that must stay.
            changed = False
            for i in range(count):
                at = candidates[i]
                if _is_simple(_around(image, at, near), touching):
                    image[at] = 0
                    changed = True
            unchanged += not changed
        kept = 0
        for at in live:
            if image[at]:
                live[kept] = at
                kept += 1
        live = live[:kept]


@njit(cache=True, nogil=True)
def _around(image, at, near):  # type: ignore[no-untyped-def]
    around = np.uint32(0)
    for i in range(len(near)):
        if image[at + near[i]]:
            around |= np.uint32(1) << np.uint32(i)
    return around


@njit(cache=True, nogil=True)
def _may_go(around, touching, cells, signs):  # type: ignore[no-untyped-def]
    if around & (around - np.uint32(1)) == 0 and around != 0:
        return False  # one neighbour: an end
    change = -1
    for i in range(len(cells)):
        if around & cells[i] == 0:
            change += signs[i]
    return change == 0 and _is_simple(around, touching)


@njit(cache=True, nogil=True)
def _is_simple(around, touching):  # type: ignore[no-untyped-def]
    """Whether the neighbours hang together without the voxel; none do."""
    reached = around & (~around + np.uint32(1))
    front = reached
    while front:
        grown = np.uint32(0)
        for i in range(len(touching)):
            if front & (np.uint32(1) << np.uint32(i)):
                grown |= touching[i]
        front = grown & around & ~reached
        reached |= front
    return reached == around
