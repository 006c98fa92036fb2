"""Decoding by blocks: as the whole where one block holds it, close to it where several do."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy import ndimage

import segmend as sg
from segmend.core.errors import BadInputError
from segmend.metrics.segmentation.contingency import contingency
from segmend.metrics.segmentation.information import variation_of_information
from segmend.patches.targets import Truth
from segmend.segmentation.affinities import offsets_for
from segmend.segmentation.blocks import decode_blocks, margin_for
from segmend.segmentation.decode import decode

SHAPE = (20, 48, 56)
OFFSETS = offsets_for((10, 10, 10))
MARGIN = (10, 10, 10)  # longer than the longest edge, 9


def tissue(seed: int) -> np.ndarray:
    """Convex cells that fill space, and one that runs through all of it: (z, y, x)."""
    points = np.random.default_rng(seed).uniform(0, SHAPE, (14, 3))
    space = np.stack(np.indices(SHAPE), axis=-1)
    cells = np.linalg.norm(space[..., None, :] - points, axis=-1).argmin(axis=-1) + 1
    cells[8:14, 20:28] = 99
    return cells.astype(np.int32)


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    return tissue(2)


def affinities(cells: np.ndarray, noise: float = 0) -> np.ndarray:
    known = np.ones(cells.shape, np.uint8)
    values, valid = sg.Affinities(OFFSETS).of(Truth(cells, known, None, (10, 10, 10)))
    perfect = np.where(valid, values, 1) * 255.0
    if noise:
        perfect = perfect * 0.7 + 40 + np.random.default_rng(0).normal(0, noise, perfect.shape)
    return np.clip(perfect, 0, 255).astype(np.uint8)


def by_blocks(given, **how) -> np.ndarray:
    out = np.full(given.shape[1:], 2**63, np.uint64)
    decode_blocks(given, partial(decode, offsets=OFFSETS), out, **how)
    return out


def vi(found, truth) -> float:
    return variation_of_information(contingency(found, truth.astype(np.uint64))).total


def test_one_block_is_the_whole(cells) -> None:
    given = affinities(cells)
    whole = decode(given, OFFSETS)
    np.testing.assert_array_equal(by_blocks(given, block=SHAPE, margin=MARGIN), whole)


@pytest.mark.parametrize("block", [(20, 16, 56), (10, 24, 28), (7, 48, 19)])
def test_blocks_are_stitched_to_what_the_whole_gives(cells, block) -> None:
    given = affinities(cells, noise=12)
    whole = decode(given, OFFSETS)
    found = by_blocks(given, block=block, margin=MARGIN)
    ids = np.unique(found)
    assert ids[0] == 1  # every voxel is in a segment, numbered without gaps
    assert len(ids) == ids[-1]
    assert vi(found, whole) < 0.1
    assert vi(found, cells) < vi(whole, cells) + 0.1
    # The cell that runs through every block is one segment.
    through, counts = np.unique(found[cells == 99], return_counts=True)
    assert counts.max() > 0.98 * counts.sum()
    assert (found == through[counts.argmax()]).sum() < 1.05 * counts.sum()


@pytest.mark.parametrize("seed", [30, 31, 32, 33])
def test_cells_that_touch_are_not_joined_where_blocks_meet(seed) -> None:
    # Margins shorter than the longest edge joined cells; so did all of the margin, voxel by voxel.
    given = affinities(tissue(seed), noise=12)
    whole = decode(given, OFFSETS)
    for block in ((10, 24, 28), (7, 48, 19)):
        found = by_blocks(given, block=block, margin=MARGIN)
        table = contingency(found, whole)
        assert variation_of_information(table).merge < 0.02


def test_without_stitching_there_would_be_more_segments(cells) -> None:
    given = affinities(cells)
    apart = by_blocks(given, block=(10, 24, 28), margin=(0, 0, 0))
    stitched = by_blocks(given, block=(10, 24, 28), margin=MARGIN)
    assert vi(apart, cells) > 1
    assert vi(stitched, cells) < 0.05


def test_segments_that_were_apart_in_a_block_may_be_one_through_another() -> None:
    """A horseshoe: its legs are two segments until the block with the bend comes."""
    cells = np.ones((8, 12, 24), np.int32)
    cells[:, 2:10, 1:22] = 2
    cells[:, 5:7, 1:16] = 1
    labels = cells.copy()

    def components(block: np.ndarray) -> np.ndarray:
        found, count = ndimage.label(block[0] == 2)
        return np.where(found, found, count + 1).astype(np.uint64)

    out = np.zeros(cells.shape, np.uint64)
    decode_blocks(
        labels[None].astype(np.uint8), components, out, block=(8, 12, 8), margin=(0, 0, 4)
    )
    assert len(np.unique(out[cells == 2])) == 1
    assert not set(np.unique(out[cells == 2])) & set(np.unique(out[cells == 1]))


def test_margins_are_longer_than_every_edge() -> None:
    for voxel in ((10, 10, 10), (50, 4.6, 4.6), (4, 40, 40)):
        offsets = offsets_for(voxel)
        longest = np.abs(offsets).max(axis=0)
        assert (margin_for(offsets) > longest).all()


def test_what_makes_no_blocks_is_refused(cells) -> None:
    with pytest.raises(BadInputError, match="block needs voxels"):
        by_blocks(affinities(cells[:4, :8, :8]), block=(0, 8, 8), margin=MARGIN)
