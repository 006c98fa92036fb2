"""Exact Euclidean distances to a mask, in nm, wanted only in a part of the array.

Three passes, one per axis, each a lower envelope of parabolas (Felzenszwalb & Huttenlocher 2012,
"Distance transforms of sampled functions"); after each pass only the wanted part of its axis is
kept, so that a small part of a large array costs little more than reading the array once.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def distances(mask, start, stop, size):  # type: ignore[no-untyped-def]
    """Distance from voxel centres to the nearest voxel centre of a mask.

    Args:
        mask: bool ``(z, y, x)``.
        start: First wanted voxel, ``(z, y, x)``.
        stop: One past the last wanted voxel.
        size: float64 ``(3,)``, nm per voxel.

    Returns:
        float64 ``stop - start``, nm; infinity everywhere if the mask is empty.
    """
    nz, ny, nx = mask.shape
    wide, deep = stop[2] - start[2], stop[1] - start[1]
    line, place, turn = (
        np.empty(max(mask.shape)),
        np.empty(max(mask.shape)),
        np.empty(max(mask.shape)),
    )
    along_x = np.empty((nz, ny, wide))
    for z in range(nz):
        for y in range(ny):
            count = 0
            for x in range(nx):
                if mask[z, y, x]:
                    line[count], place[count] = 0.0, x * size[2]
                    count += 1
            _nearest(line, place, turn, count, start[2], size[2], along_x[z, y])
    along_y = np.empty((nz, deep, wide))
    for z in range(nz):
        for x in range(wide):
            count = _gathered(along_x[z, :, x], size[1], line, place)
            _nearest(line, place, turn, count, start[1], size[1], along_y[z, :, x])
    out = np.empty((stop[0] - start[0], deep, wide))
    for y in range(deep):
        for x in range(wide):
            count = _gathered(along_y[:, y, x], size[0], line, place)
            _nearest(line, place, turn, count, start[0], size[0], out[:, y, x])
    return np.sqrt(out)


@njit(cache=True, nogil=True)
def _gathered(values, size, line, place):  # type: ignore[no-untyped-def]
    """Collect the finite values of a line and where they lie; return how many there are."""
    count = 0
    for i in range(values.shape[0]):
        if values[i] < np.inf:
            line[count], place[count] = values[i], i * size
            count += 1
    return count


@njit(cache=True, nogil=True)
def _nearest(line, place, turn, count, start, size, out):  # type: ignore[no-untyped-def]
    """Smallest ``line + (distance to place)**2`` at regular points.

    Args:
        line: Squared distances so far; the first ``count`` count, overwritten.
        place: Where they lie, nm, ascending; overwritten.
        turn: Space for where one parabola of the envelope takes over from the one before.
        count: How many.
        start: Number of the first point.
        size: nm between points.
        out: Overwritten.
    """
    last = -1
    for q in range(count):
        cross = -np.inf
        while last >= 0:
            # Where the parabola of q crosses the last one of the envelope.
            rise = line[q] + place[q] ** 2 - line[last] - place[last] ** 2
            cross = rise / (2 * (place[q] - place[last]))
            if cross > turn[last]:
                break
            last -= 1
        last += 1
        line[last], place[last], turn[last] = line[q], place[q], cross if last else -np.inf
    at = 0
    for i in range(out.shape[0]):
        point = (start + i) * size
        while at < last and turn[at + 1] < point:
            at += 1
        out[i] = line[at] + (point - place[at]) ** 2 if last >= 0 else np.inf
