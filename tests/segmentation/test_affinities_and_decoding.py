"""Segments back from perfect and from damaged affinities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

import segmend as sg
from segmend.core.errors import BadInputError
from segmend.metrics.segmentation.contingency import contingency
from segmend.metrics.segmentation.information import variation_of_information
from segmend.patches.relabel import dense
from segmend.patches.targets import Truth
from segmend.segmentation.affinities import NEAREST, offsets_for
from segmend.segmentation.baselines import BASELINES
from segmend.segmentation.decode import DECODERS, decode, numbered, without_small


def test_offsets_reach_about_as_far_on_every_axis() -> None:
    assert offsets_for((10, 10, 10))[:6] == (*NEAREST, (9, 0, 0), (0, 9, 0), (0, 0, 9))
    # 40 nm sections: two, so that a missing one does not cut everything.
    assert offsets_for((40, 4, 4))[3] == (2, 0, 0)


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    """Convex cells that fill space: every voxel belongs to the nearest of 14 points."""
    rng = np.random.default_rng(2)
    points = rng.uniform(0, (16, 32, 32), (8, 3))
    space = np.stack(np.indices((16, 32, 32)), axis=-1)
    nearest = np.linalg.norm(space[..., None, :] - points, axis=-1).argmin(axis=-1)
    return nearest.astype(np.uint64) + 1


def perfect(labels: np.ndarray) -> tuple[np.ndarray, tuple]:
    offsets = offsets_for((10, 10, 10))
    known = np.ones(labels.shape, np.uint8)
    values, valid = sg.Affinities(offsets).of(
        Truth(dense(labels).labels, known, None, (10, 10, 10))
    )
    return np.where(valid, values, 1).astype(np.uint8) * 255, offsets


def vi(found: np.ndarray, truth: np.ndarray) -> float:
    return variation_of_information(contingency(found, truth)).total


def test_mutex_watershed_gives_perfect_affinities_their_segments(cells) -> None:
    affinities, offsets = perfect(cells)
    found = decode(affinities, offsets, decoder="mutex")
    assert vi(found, cells) < 0.01  # a voxel that touches its cell by an edge alone is on its own
    # Numbered from 1 by their first voxels, uint64.
    assert found.dtype == np.uint64
    _, first = np.unique(found, return_index=True)
    assert found.flat[0] == 1
    assert (np.diff(first) > 0).all()


def test_watershed_gives_perfect_affinities_their_segments_but_for_borders(cells) -> None:
    affinities, offsets = perfect(cells)
    found = decode(affinities, offsets, decoder="watershed")
    inside = ndimage.grey_erosion(cells, size=3) == ndimage.grey_dilation(cells, size=3)
    assert vi(found[inside], cells[inside]) < 0.1


def test_decoding_survives_noise(cells) -> None:
    affinities, offsets = perfect(cells)
    rng = np.random.default_rng(0)
    noisy = np.clip(affinities * 0.6 + 50 + rng.normal(0, 25, affinities.shape), 0, 255)
    for decoder in DECODERS:
        found = decode(noisy.astype(np.uint8), offsets, decoder=decoder, min_voxels=50)
        assert vi(found, cells) < 0.5, decoder


def test_small_segments_go_to_their_neighbours() -> None:
    segments = np.ones((1, 6, 6), np.uint64)
    segments[:, :, 3:] = 2
    segments[0, 1, 1] = 7
    boundary = np.zeros(segments.shape, np.float32)
    kept = numbered(without_small(segments, boundary, 2))
    np.testing.assert_array_equal(kept, np.where(np.arange(6) < 3, 1, 2) * np.ones((1, 6, 1)))
    np.testing.assert_array_equal(without_small(segments, boundary, 100), segments)


def test_baselines_answer_in_segments() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (6, 20, 20)).astype(np.uint8)
    for baseline in BASELINES.values():
        found = baseline(image)
        assert (found.shape, found.dtype) == (image.shape, np.uint64)
        assert found.min() == 1
    flat = np.full((4, 9, 9), 77, np.uint8)  # nothing to threshold
    assert BASELINES["intensity + watershed"](flat).max() == 1


def test_dark_membranes_cut_the_baseline() -> None:
    image = np.full((8, 30, 30), 200, np.uint8)
    image[:, :, 14:16] = 20
    found = BASELINES["intensity + watershed"](image)
    assert set(np.unique(found[:, :, :12])).isdisjoint(np.unique(found[:, :, 18:]))


def test_what_cannot_be_decoded_is_refused(cells) -> None:
    affinities, offsets = perfect(cells[:4, :8, :8])
    with pytest.raises(BadInputError, match="no decoder 'waterz'"):
        decode(affinities, offsets, decoder="waterz")
    with pytest.raises(BadInputError, match="between 0 and 1"):
        decode(affinities, offsets, threshold=1.5)
    with pytest.raises(BadInputError, match="must be uint8"):
        decode(affinities / 255, offsets)
    with pytest.raises(BadInputError, match="an offset for each channel"):
        decode(affinities, offsets[:4])
    with pytest.raises(BadInputError, match="the first offsets must be"):
        decode(affinities[::-1], offsets[::-1])
