"""Targets of labels, compiled: one pass per channel, no lock of the interpreter held."""

from __future__ import annotations

import numba


@numba.njit(cache=True, nogil=True)
def affinities(labels, seen, all_seen, width, offsets, values, valid):  # type: ignore[no-untyped-def]
    """Channel by channel: 1 where a voxel and the one at the offset share an id other than 0.

    Sections are flat, ``(z, y * x)`` and ``(c, z, y * x)``: one offset is one shift, so that whole
    sections are compared without a branch, which becomes SIMD. ``values`` and ``valid`` are uint8
    and written wholly, kept at the source; ``all_seen`` says that ``seen`` is 1 everywhere.
    """
    depth, height = labels.shape[0], labels.shape[1] // width
    for c in range(offsets.shape[0]):
        oz, oy, ox = offsets[c, 0], offsets[c, 1], offsets[c, 2]
        low, high = max(0, -oy), min(height, height - oy)
        left, right = max(0, -ox), max(0, ox)
        start, stop, shift = low * width + left, high * width - right, oy * width + ox
        for z in range(depth):
            row, counts = values[c, z], valid[c, z]
            if not (0 <= z + oz < depth and low < high and left + right < width):
                row[:] = 0
                counts[:] = 0
                continue
            row[:start] = 0
            row[stop:] = 0
            counts[:start] = 0
            counts[stop:] = 0
            one, other = labels[z, start:stop], labels[z + oz, start + shift : stop + shift]
            out = row[start:stop]
            for i in range(out.size):
                out[i] = (one[i] == other[i]) & (one[i] != 0)
            out = counts[start:stop]
            if all_seen:
                out[:] = 1
            else:
                here, far = seen[z, start:stop], seen[z + oz, start + shift : stop + shift]
                for i in range(out.size):
                    out[i] = here[i] & far[i]
            if left + right:  # edges that leave their row have met the next one
                for y in range(low, high):
                    for x in range(y * width, y * width + left):
                        row[x] = counts[x] = 0
                    for x in range((y + 1) * width - right, (y + 1) * width):
                        row[x] = counts[x] = 0


@numba.njit(cache=True, nogil=True)
def boundaries(labels, inner, values):  # type: ignore[no-untyped-def]
    """1 at voxels with a face to another id; ``inner``: background itself is no boundary.

    Ids are integers of any width; ``values`` is uint8 and written wholly.
    """
    depth, height, width = labels.shape
    for z in range(depth):
        below, above = max(z - 1, 0), min(z + 1, depth - 1)
        for y in range(height):
            up, down = max(y - 1, 0), min(y + 1, height - 1)
            row, out = labels[z, y], values[z, y]
            a, b, c, d = labels[below, y], labels[above, y], labels[z, up], labels[z, down]
            for x in range(1, width - 1):  # without a branch, which becomes SIMD
                v = row[x]
                across = (row[x - 1] ^ v) | (row[x + 1] ^ v)
                out[x] = ((a[x] ^ v) | (b[x] ^ v) | (c[x] ^ v) | (d[x] ^ v) | across) != 0
            for x in range(0, width, max(1, width - 1)):  # both ends
                v = row[x]
                across = (row[max(x - 1, 0)] ^ v) | (row[min(x + 1, width - 1)] ^ v)
                out[x] = ((a[x] ^ v) | (b[x] ^ v) | (c[x] ^ v) | (d[x] ^ v) | across) != 0
            if inner:
                for x in range(width):
                    out[x] &= row[x] != 0


@numba.njit(cache=True, nogil=True)
def to_centres(labels, sums, counts, voxel_size, values):  # type: ignore[no-untyped-def]
    """Vector from each voxel to its segment's centre in the patch, nm; 0 in the background."""
    depth, height, width = labels.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                v = labels[z, y, x]
                counts[v] += 1
                sums[v, 0] += z
                sums[v, 1] += y
                sums[v, 2] += x
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                v = labels[z, y, x]
                if v == 0:
                    values[0, z, y, x] = 0
                    values[1, z, y, x] = 0
                    values[2, z, y, x] = 0
                else:
                    values[0, z, y, x] = (sums[v, 0] / counts[v] - z) * voxel_size[0]
                    values[1, z, y, x] = (sums[v, 1] / counts[v] - y) * voxel_size[1]
                    values[2, z, y, x] = (sums[v, 2] / counts[v] - x) * voxel_size[2]
