"""Targets of dense labels, compiled: one pass per channel, no lock of the interpreter held."""

from __future__ import annotations

import numba


@numba.njit(cache=True, nogil=True)
def affinities(labels, known, offsets, zero_known, values, valid):  # type: ignore[no-untyped-def]
    """Channel by channel: 1 where a voxel and the one at the offset share an id other than 0.

    ``values`` and ``valid`` are uint8 ``(c, z, y, x)`` and written wholly, kept at the source.
    """
    depth, height, width = labels.shape
    for c in range(offsets.shape[0]):
        oz, oy, ox = offsets[c, 0], offsets[c, 1], offsets[c, 2]
        first, last = max(0, -ox), min(width, width - ox)
        for z in range(depth):
            for y in range(height):
                there = 0 <= z + oz < depth and 0 <= y + oy < height and first < last
                if not there:
                    values[c, z, y, :] = 0
                    valid[c, z, y, :] = 0
                    continue
                values[c, z, y, :first] = 0
                valid[c, z, y, :first] = 0
                values[c, z, y, last:] = 0
                valid[c, z, y, last:] = 0
                # Rows cut to equal length, without a branch: this becomes SIMD.
                one, other = (
                    labels[z, y, first:last],
                    labels[z + oz, y + oy, first + ox : last + ox],
                )
                here, far = known[z, y, first:last], known[z + oz, y + oy, first + ox : last + ox]
                row, seen = values[c, z, y, first:last], valid[c, z, y, first:last]
                for x in range(one.size):
                    row[x] = (one[x] == other[x]) & (one[x] != 0)
                if zero_known:
                    for x in range(one.size):
                        seen[x] = here[x] & far[x]
                else:
                    for x in range(one.size):
                        seen[x] = here[x] & far[x] & (one[x] != 0) & (other[x] != 0)


@numba.njit(cache=True, nogil=True)
def boundaries(labels, inner, values):  # type: ignore[no-untyped-def]
    """1 at voxels with a face to another id; ``inner``: background itself is no boundary."""
    depth, height, width = labels.shape
    for z in range(depth):
        below, above = max(z - 1, 0), min(z + 1, depth - 1)
        for y in range(height):
            up, down = max(y - 1, 0), min(y + 1, height - 1)
            row, out = labels[z, y], values[z, y]
            a, b, c, d = labels[below, y], labels[above, y], labels[z, up], labels[z, down]
            for x in range(width):
                v = row[x]
                out[x] = (a[x] != v) | (b[x] != v) | (c[x] != v) | (d[x] != v)
            for x in range(width - 1):
                differs = row[x] != row[x + 1]
                out[x] |= differs
                out[x + 1] |= differs
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
