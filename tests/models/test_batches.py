"""Changes for training: each leaves a row that could have been rendered."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segmend.core.random import keyed_generator
from segmend.core.sample import VIEWS, channel, em_channel
from segmend.models.batches import Changes, batch_of, flip_view
from segmend.models.packed import Packed
from segmend.models.sites import swapped
from segmend.models.views import VIEW_AXES, reduce_geometry
from segmend.testing.capsules import Capsule, draw

SIDES = [channel("mask_a"), channel("mask_b")]


def bodies(mirror: np.ndarray) -> list[Capsule]:
    """Two rods, mirrored by a factor per world axis."""
    ends = [((-0.5, 0.1, 0.2), (0.4, 0.5, -0.3)), ((0.1, -0.6, 0.3), (0.2, 0.3, 0.6))]
    return [
        Capsule(np.array(a) * mirror, np.array(b) * mirror, 0.15, side)
        for side, (a, b) in enumerate(ends)
    ]


def packed(rows: int = 4) -> Packed:
    generator = keyed_generator("packed")
    geometry = np.repeat(reduce_geometry(draw(bodies(np.ones(3)))[0])[None], rows, axis=0)
    em = generator.integers(0, 256, (rows, 4, 3, 112, 112)).astype(np.uint8)
    labels = np.array([0, 1] * (rows // 2), np.float32)
    species = np.array(["fly"] * rows)
    return Packed(geometry.astype(np.float16), em, labels, tuple("abcd"[:rows]), VIEWS, species)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_flipped_view_is_the_view_of_the_mirrored_body(view, axis) -> None:
    right, up, _ = VIEW_AXES[view]
    mirror = np.ones(3)
    mirror[np.flatnonzero(up if axis == 0 else right)] = -1
    index = VIEWS.index(view)
    flipped = reduce_geometry(draw(bodies(np.ones(3)))[0])[index]
    flip_view(flipped, view, axis=axis)
    expected = reduce_geometry(draw(bodies(mirror))[0])[index]
    np.testing.assert_allclose(flipped, expected, atol=2e-3)


def test_swapping_exchanges_both_sides_everywhere_and_twice_is_nothing() -> None:
    batch = batch_of(packed(), np.arange(4), positions=False)
    shown, other = batch.sites, swapped(batch.sites)
    assert torch.equal(other.geometry[:, :, SIDES], shown.geometry[:, :, SIDES[::-1]])
    em = [em_channel("mask_a"), em_channel("mask_b")]
    assert torch.equal(other.em[:, :, em], shown.em[:, :, em[::-1]])
    assert torch.equal(other.geometry[:, :, :5], shown.geometry[:, :, :5])
    again = swapped(other)
    assert torch.equal(again.geometry, shown.geometry)
    assert torch.equal(again.em, shown.em)


def test_changes_touch_neither_the_file_nor_the_answers() -> None:
    rows = packed()
    before = rows.geometry.copy(), rows.em.copy()
    changes = Changes((1,), np.arange(2), swap=True, flip=True)
    batch = batch_of(rows, np.array([3, 0]), positions=False, changes=changes)
    np.testing.assert_array_equal(rows.geometry, before[0])
    np.testing.assert_array_equal(rows.em, before[1])
    assert batch.targets.tolist() == [1, 0]
    assert not np.array_equal(batch.sites.geometry.numpy(), before[0][[3, 0]].astype(np.float32))
    assert 0 <= batch.sites.em.min() <= batch.sites.em.max() <= 1


def test_without_swap_a_stays_a() -> None:
    changes = Changes((1,), np.arange(4), swap=False, flip=False)
    batch = batch_of(packed(), np.arange(4), positions=False, changes=changes)
    plain = batch_of(packed(), np.arange(4), positions=False)
    assert torch.equal(batch.sites.geometry, plain.sites.geometry)


def test_positions_lie_on_the_bodies_and_background_has_none() -> None:
    batch = batch_of(packed(), np.arange(1), positions=True)
    (front, side, top) = batch.sites.geometry[0].numpy()
    for image in (front, side, top):
        held = image[channel("silhouette")] > 0
        assert not image[7:, ~held].any()
        assert np.abs(image[7:, held]).max() < 1
    # The same point of the tissue has the same position from wherever it is seen.
    highest = [image[9].max() for image in (front, side, top)]
    np.testing.assert_allclose(highest, 0.75, atol=0.03)
