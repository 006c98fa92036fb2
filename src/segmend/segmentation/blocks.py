"""Decoding a box larger than memory: overlapping blocks, stitched where they meet.

Every block is decoded with a margin around it. A segment of it and one of a block before it are
joined if, in the half of the margin next to the block, more than half of the smaller one lies in
the other: what is apart in one block may be one through another. The outer half lacks context, and
a few voxels are no evidence: with either, cells that touch were joined (docs/segmentation.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple, VoxelBox
from segmend.core.errors import BadInputError
from segmend.core.ids import Ids
from segmend.metrics.segmentation.contingency import contingency
from segmend.segmentation.inference import Report, quiet
from segmend.volumes.export.plan import pieces

BLOCK: Triple = (64, 512, 512)
"""Voxels decoded at a time, margins aside: about 4 GiB while a mutex watershed runs."""

MARGIN: Triple = (8, 32, 32)
"""Voxels around a block that are decoded with it, at least; see `margin_for`."""

LEAST = 32
"""Voxels that two segments must share at least to be joined; chosen on drawn cells (see docs)."""

Decode = Callable[[NDArray[np.uint8]], Ids]
"""Affinities of a block ``(c, z, y, x)`` to ids from 1 on, every voxel in a segment."""


def margin_for(offsets: Sequence[Triple]) -> Triple:
    """A margin longer than every edge: with a shorter one, cells that touch were joined."""
    z, y, x = (
        max(least, 1 + max((abs(offset[axis]) for offset in offsets), default=0))
        for axis, least in enumerate(MARGIN)
    )
    return z, y, x


def decode_blocks(
    affinities: NDArray[np.uint8],
    decode: Decode,
    out: Ids,
    *,
    margin: Triple,
    block: Triple = BLOCK,
    report: Report = quiet,
) -> None:
    """Decode a box block by block; a box of one block is decoded as a whole.

    Args:
        affinities: Shares of 255, uint8 ``(c, z, y, x)``; may be mapped from a file.
        decode: Decodes one block.
        out: Written wholly, uint64 ``(z, y, x)``, ids from 1 on; may be mapped from a file.
        margin: Voxels around a block that are decoded with it (`margin_for`).
        block: Voxels decoded at a time.
        report: Told how many blocks are done.

    Raises:
        BadInputError: for a block without voxels, or a negative margin.
    """
    if min(block) < 1 or min(margin) < 0:
        raise BadInputError(
            "a block needs voxels, and a margin of no fewer than 0",
            found=f"block {block}, margin {margin}",
        )
    whole = VoxelBox((0, 0, 0), (out.shape[0], out.shape[1], out.shape[2]))
    cores = list(pieces(whole, block))
    parents = np.zeros(1, np.int64)  # of every id so far; its own where it is joined to none
    for done, core in enumerate(cores):
        around = _grown(core, margin, whole)
        found = decode(np.ascontiguousarray(affinities[(slice(None), *around.slices)]))
        first = len(parents)
        parents = np.concatenate([parents, np.arange(first, first + int(found.max()))])
        found = found + np.uint64(first - 1)
        near = _grown(core, [-(-m // 2) for m in margin], whole)
        for before in cores[:done]:
            shared = before.intersect(near)
            if shared is not None:
                mine = found[shared.shift([-a for a in around.start]).slices]
                _join(parents, out[shared.slices], mine)
        out[core.slices] = found[core.shift([-a for a in around.start]).slices]
        report("decoding", done + 1, len(cores))
    _renumber(out, parents, cores)


def _grown(core: VoxelBox, margin: Sequence[int], whole: VoxelBox) -> VoxelBox:
    z, y, x = (a - m for a, m in zip(core.start, margin, strict=True))
    up, right, far = (b + m for b, m in zip(core.stop, margin, strict=True))
    grown = VoxelBox((z, y, x), (up, right, far)).intersect(whole)
    assert grown is not None
    return grown


def _join(parents: NDArray[np.int64], before: Ids, now: Ids) -> None:
    """Join ids where more than half of the smaller one lies in the other."""
    table = contingency(before, now)
    counts = table.voxels.astype(np.int64)
    (_, a), (_, b) = (np.unique(ids, return_inverse=True) for ids in (table.segments, table.truth))
    smaller = np.minimum(np.bincount(a, counts)[a], np.bincount(b, counts)[b])
    for k in np.flatnonzero((2 * counts > smaller) & (counts >= LEAST)):
        one, other = (_root(parents, int(ids[k])) for ids in (table.segments, table.truth))
        parents[max(one, other)] = min(one, other)


def _root(parents: NDArray[np.int64], of: int) -> int:
    while parents[of] != of:
        parents[of] = parents[parents[of]]  # halves the way for those who come later
        of = int(parents[of])
    return of


def _renumber(out: Ids, parents: NDArray[np.int64], cores: Sequence[VoxelBox]) -> None:
    """Ids 1, 2, ... in the order in which blocks hold them first."""
    roots = np.array([_root(parents, k) for k in range(len(parents))], np.int64)
    numbers: NDArray[Any] = np.zeros(len(parents), np.uint64)
    count = 0
    for core in cores:
        ids, first, which = np.unique(
            roots[out[core.slices]], return_index=True, return_inverse=True
        )
        for k in np.argsort(first):
            if not numbers[ids[k]]:
                count += 1
                numbers[ids[k]] = count
        out[core.slices] = numbers[ids][which].reshape(core.shape)
