"""Compiled loops over the pixels of a row; they hold no interpreter lock, so that threads scale.

Only where numba is installed (``segmend[build]``); Pillow and NumPy do the same without it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_ONE = np.uint16(0x3C00)  # 1.0 as the bits of a half


@njit(cache=True, nogil=True)
def unfilter(filtered: NDArray[np.uint8], step: int, out: NDArray[np.uint8]) -> bool:
    """Undo the filters of a PNG (W3C, third edition, section 9.2).

    Args:
        filtered: ``(rows, 1 + bytes)``: in each row the filter, then the filtered bytes.
        step: Bytes per pixel.
        out: ``(rows, bytes)``, filled with the pixels.

    Returns:
        Whether all filters exist; if not, ``out`` means nothing.
    """
    rows, width = out.shape
    zeros = np.zeros(width, np.uint8)
    for y in range(rows):
        kind, source, row = filtered[y, 0], filtered[y, 1:], out[y]
        above = out[y - 1] if y > 0 else zeros
        if kind == 0:
            row[:] = source
        elif kind == 1:
            row[:step] = source[:step]
            for x in range(step, width):
                row[x] = source[x] + row[x - step]
        elif kind == 2:
            for x in range(width):
                row[x] = source[x] + above[x]
        elif kind == 3:
            for x in range(width):
                left = np.int32(row[x - step]) if x >= step else np.int32(0)
                row[x] = source[x] + np.uint8((left + np.int32(above[x])) >> 1)
        elif kind == 4 and step == 3:
            _paeth_rgb(source, above, row)
        elif kind == 4:
            _paeth(source, above, step, row)
        else:
            return False
    return True


@njit(cache=True, nogil=True, inline="always")
def _nearest(left: Any, up: Any, corner: Any) -> Any:
    """The neighbour nearest to ``left + up - corner``; ties go to left, then up (section 9.4).

    Written with a threshold, which needs no absolute values: corner is nearest as long as
    ``3 corner - left - up`` lies between its neighbours.
    """
    threshold = 3 * corner - left - up
    low, high = min(left, up), max(left, up)
    upper = low if high <= threshold else corner
    return high if threshold <= low else upper


@njit(cache=True, nogil=True)
def _paeth(
    source: NDArray[np.uint8], above: NDArray[np.uint8], step: int, row: NDArray[np.uint8]
) -> None:
    for first in range(step):
        left, corner = np.int32(0), np.int32(0)
        for x in range(first, len(row), step):
            up = np.int32(above[x])
            left = (np.int32(source[x]) + _nearest(left, up, corner)) & 255
            row[x] = np.uint8(left)
            corner = up


@njit(cache=True, nogil=True)
def _paeth_rgb(source: NDArray[np.uint8], above: NDArray[np.uint8], row: NDArray[np.uint8]) -> None:
    # Each pixel waits for the one to its left; the three channels wait side by side. Indices are
    # unsigned, because numba lets negative ones count from the end, which takes longer.
    left_r = left_g = left_b = corner_r = corner_g = corner_b = np.int32(0)
    for i in range(np.uint64(len(row) // 3)):
        r = np.uint64(3) * np.uint64(i)
        g, b = r + np.uint64(1), r + np.uint64(2)
        up_r, up_g, up_b = np.int32(above[r]), np.int32(above[g]), np.int32(above[b])
        near_r = np.int32(_nearest(left_r, up_r, corner_r))
        near_g = np.int32(_nearest(left_g, up_g, corner_g))
        near_b = np.int32(_nearest(left_b, up_b, corner_b))
        left_r = np.int32((np.int32(source[r]) + near_r) & 255)
        left_g = np.int32((np.int32(source[g]) + near_g) & 255)
        left_b = np.int32((np.int32(source[b]) + near_b) & 255)
        row[r], row[g], row[b] = left_r, left_g, left_b
        corner_r, corner_g, corner_b = up_r, up_g, up_b


@njit(cache=True, nogil=True)
def cut_masks(image: NDArray[np.uint8]) -> Any:
    """Cut the masks of an EM slice at half, in place.

    Args:
        image: ``(rows, 3 columns)``: EM, mask A and mask B by turns.

    Returns:
        Values changed, and whether anything of A and of B is left.
    """
    rows, width = image.shape
    # What a byte keeps: all of EM, nothing of masks. Bytes of a row are then all alike, and the
    # loop over them becomes vector instructions.
    kept, seen = np.zeros(width, np.uint8), np.zeros(width, np.uint8)
    kept[::3] = 255
    changed = 0
    for y in range(rows):
        row, here = image[y], np.uint16(0)
        for x in range(width):
            value = row[x]
            cut = np.uint8(255) if value > 127 else np.uint8(0)
            new = np.uint8((value & kept[x]) | (cut & ~kept[x]))
            here += np.uint16(new != value)
            seen[x] |= new
            row[x] = new
        changed += int(here)
    return changed, seen[1::3].any(), seen[2::3].any()


@njit(cache=True, nogil=True)
def repair_drawn(
    planes: NDArray[np.uint16],
    masks: NDArray[np.uint16],
    smallest: int,
    linear: NDArray[np.float32],
    clear: bool,
) -> Any:
    """Correct depth and background of the views of a row, in place, and look at the rest.

    Args:
        planes: Bits of halves ``(views, 5, pixels)``: silhouette, depth, normals; changed.
        masks: Bits of masks A and B, ``(views, 2, pixels)``.
        smallest: Bits of the least depth of a drawn pixel.
        linear: For the bits of a coded component the linear one; NaN where it is no code.
        clear: Whether the background is cleared.

    Returns:
        Pixels of the background that were not 0, pixels of both masks, depths that were raised,
        drawn pixels, and how far the lengths of the normals, made linear, are from 1 in sum.
    """
    background, both, raised, count, off = 0, 0, 0, 0, 0.0
    for view in range(len(planes)):
        drawn, depth = planes[view, 0], planes[view, 1]
        x, y, z = planes[view, 2], planes[view, 3], planes[view, 4]
        a, b = masks[view, 0], masks[view, 1]
        for i in range(len(drawn)):
            if drawn[i] == _ONE:
                count += 1
                both += (a[i] & b[i]) != 0
                if depth[i] < smallest:
                    depth[i] = smallest
                    raised += 1
                u, v, w = linear[x[i]], linear[y[i]], linear[z[i]]
                off += abs(np.sqrt(u * u + v * v + w * w) - np.float32(1))
            else:
                both += (a[i] & b[i]) != 0
                if clear and (depth[i] | x[i] | y[i] | z[i]):
                    background += 1
                    depth[i] = x[i] = y[i] = z[i] = 0
    return background, both, raised, count, off


@njit(cache=True, nogil=True)
def straighten(planes: NDArray[np.uint16], halves: NDArray[np.uint16]) -> None:
    """Make coded normals linear where something is drawn, in place.

    Args:
        planes: Bits of halves ``(views, 5, pixels)``: silhouette, depth, normals; changed.
        halves: For the bits of a coded component those of the linear one.
    """
    for view in range(len(planes)):
        drawn = planes[view, 0]
        for axis in range(2, 5):
            plane = planes[view, axis]
            for i in range(len(drawn)):
                if drawn[i] == _ONE:
                    plane[i] = halves[plane[i]]
