"""Changes of patches: what moves moves together, by the nm that were asked for, from its seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

import segmend as sg
from segmend.core.errors import BadInputError
from segmend.patches.artefacts import Artefacts
from segmend.patches.augment import CutOut, Flips, Intensity, Sections
from segmend.patches.deform import Elastic, Misalignment, _smooth, _warp
from segmend.volumes.drivers.memory import from_array

ROOT = 864_691_136_617_970_907
ISOTROPIC, THICK = (8.0, 8.0, 8.0), (40.0, 4.0, 4.0)
EVERY = (
    Flips(),
    Elastic(chance=1),
    Misalignment(0.3, 0.3),
    Intensity(),
    Sections(0.3),
    Artefacts(0.3),
    CutOut(1.0),
)


def places(shape=(12, 40, 48)):
    """Every voxel's own number as its id, one apart: no two are one float."""
    return np.arange(np.prod(shape), dtype=np.uint64).reshape(shape) + np.uint64(ROOT)


def indices(ids):
    """From which voxel each one was taken."""
    return np.stack(np.unravel_index((ids - np.uint64(ROOT)).astype(np.int64), (12, 40, 48)))


def draw(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("change", EVERY, ids=lambda c: type(c).__name__)
def test_every_change_is_a_function_of_its_draw_and_leaves_what_was_read(change):
    image = draw(1).integers(1, 255, (12, 40, 48)).astype(np.uint8)
    ids, known = places(), np.ones(image.shape, np.uint8)
    before = [layer.copy() for layer in (image, ids, known)]
    one, again, other = (change([image, ids, known], THICK, draw(seed)) for seed in (3, 3, 4))
    for a, b, old, new in zip(one, again, before, (image, ids, known), strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(old, new)
        assert (a.dtype, a.shape) == (old.dtype, old.shape)
    assert not np.array_equal(one[0], other[0])
    assert one[2].all()
    assert set(np.unique(one[1])) <= set(np.unique(ids))  # no id that was not there


def test_samples_do_not_depend_on_threads_whatever_changes_them():
    image = from_array(draw(0).integers(0, 255, (14, 60, 60)).astype(np.uint8), THICK)
    labels = from_array(draw(1).integers(1, 9, (14, 60, 60)).astype(np.uint64), THICK)
    from segmend.patches.sources import Source

    mix = sg.mix({Source("a", image, labels): 1})
    patches = sg.Patches(mix, (6, 32, 32), targets=[sg.Affinities([(1, 0, 0)])], augment=EVERY)
    sampler = sg.RandomSampler(mix, (6, 32, 32), 6, seed=5)
    alone = list(sg.batches(patches, sampler, threads=0))
    for a, b in zip(alone, sg.batches(patches, sampler, threads=3), strict=True):
        for key in ("image", "labels", "affinities"):
            assert np.array_equal(a[key], b[key])


def test_elastic_moves_labels_with_the_image():
    ids = places()
    shape = ids.shape
    ramp = [
        np.broadcast_to(np.arange(n).reshape(s), shape)
        for n, s in zip(shape, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True)
    ]
    for axis, scale in ((0, 20), (1, 6), (2, 5)):
        image = (ramp[axis] * scale).astype(np.uint8)
        bent, moved = Elastic(12, 80, 1)([image, ids], ISOTROPIC, draw(2))
        taken = indices(moved)[axis] * scale
        # The image says where it was taken from to the part of a voxel, the ids to the nearest.
        assert np.abs(bent.astype(float) - taken).max() <= scale / 2 + 0.51
        assert np.abs(taken - ramp[axis] * scale).max() >= scale  # it does move


def test_elastic_is_in_nm_keeps_faces_and_stays_within_thick_sections():
    for size in (ISOTROPIC, THICK):
        far = []
        for seed in range(12):
            _, moved = Elastic(10, 60, 1)(
                [np.zeros((12, 40, 48), np.uint8), places()], size, draw(seed)
            )
            way = indices(moved) - np.indices((12, 40, 48))
            assert (way[2][..., [0, -1]] == 0).all()
            assert (way[1][:, [0, -1]] == 0).all()
            if size == THICK:
                assert (way[0] == 0).all()
            far.append(way[2][:, 15:25, 20:28] * size[2])
        assert 5 < np.std(far) < 14  # nm
    never = Elastic(chance=0)([np.zeros((2, 8, 8), np.uint8)], THICK, draw())
    assert len(never) == 1


def test_the_warp_is_that_of_scipy():
    image = draw(0).integers(0, 255, (5, 17, 19)).astype(np.uint8)
    moved = np.stack([_smooth(image.shape, (8, 8, 8), 40, draw(k)) for k in range(3)])
    out, source = np.empty_like(image), np.empty((3, *image.shape), np.int32)
    _warp(image, moved, out, source)
    at = np.indices(image.shape) + moved
    at = np.clip(at, 0, np.array(image.shape).reshape(3, 1, 1, 1) - 1)
    expected = map_coordinates(image.astype(float), at, order=1, mode="nearest")
    assert np.abs(out - expected).max() <= 0.51
    assert np.abs(source - at).max() <= 0.5001


def test_a_slip_moves_one_section_and_a_shift_all_that_follow():
    blank = np.zeros((12, 40, 48), np.uint8)
    y, x = np.indices((40, 48))
    for slip, shift in ((0.2, 0.0), (0.0, 0.2)):
        seen = set()
        for seed in range(30):
            _, moved = Misalignment(slip, shift, 24)([blank, places()], THICK, draw(seed))
            way = indices(moved) - np.indices(blank.shape)
            assert (way[0] == 0).all()  # a section stays in its place in the pile
            inside = way[1:, :, 18:22, 22:26]
            steps = inside[:, :, 0, 0].T
            assert (inside == steps.T[:, :, None, None]).all()  # every section moves as a whole
            moves = np.flatnonzero(steps.any(axis=1))
            if shift and len(moves):
                changes = np.flatnonzero(np.diff(steps, axis=0).any(axis=1))
                assert steps[0].tolist() == [0, 0]
                seen.add(len(changes))
                assert np.abs(np.diff(steps, axis=0)).max() <= 7  # 24 nm each, rounded
            if slip and len(moves):
                assert np.abs(steps).max() <= 6  # 24 nm are 6 voxels of 4 nm
                seen.add(len(moves))
        assert len(seen) > 1
    assert y.shape == x.shape


def test_image_and_labels_are_misaligned_alike():
    ids = places()
    image = (ids % np.uint64(251)).astype(np.uint8)
    moved, same = Misalignment(0.5, 0.5)([image, ids], THICK, draw(1))
    assert not np.array_equal(same, ids)
    assert np.array_equal(moved, (same % np.uint64(251)).astype(np.uint8))


def test_artefacts_change_a_share_of_sections_and_no_label():
    image = np.full((400, 32, 32), 180, np.uint8)
    ids = np.ones(image.shape, np.uint64)
    dirty, same = Artefacts(0.25)([image, ids], THICK, draw(0))
    assert same is ids
    changed = (dirty != 180).any(axis=(1, 2)).mean()
    assert 0.15 < changed < 0.32
    assert dirty[dirty != 180].max() < 180  # what is drawn is dark


def test_your_own_artefacts_are_pasted_where_they_are_opaque():
    values = np.full((6, 4), 7, np.uint8)
    opacity = np.zeros((6, 4), np.float32)
    opacity[1:5] = 1
    image = np.full((60, 20, 20), 100, np.uint8)
    made = Artefacts(1.0, [(values, opacity)])([image], THICK, draw(0))[0]
    assert set(np.unique(made)) == {7, 100}
    counts = (made == 7).sum(axis=(1, 2))
    assert counts.max() == 16
    assert counts.min() >= 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Elastic(0), "amplitude"),
        (lambda: Elastic(100, 200), "three"),
        (lambda: Misalignment(1.5), "chances"),
        (lambda: Misalignment(most=0), "largest move"),
        (lambda: Artefacts(2), "share"),
        (lambda: Artefacts(0.1, [(np.zeros((2, 2)), np.zeros((2, 2)))]), "artefact 0"),
        (
            lambda: Artefacts(0.1, [(np.zeros((2, 2), np.uint8), np.full((2, 2), 2.0))]),
            "artefact 0",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, words):
    with pytest.raises(BadInputError, match=words):
        make()
