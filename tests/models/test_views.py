"""Reduced views and the positions of their pixels, against drawings of known bodies."""

from __future__ import annotations

import numpy as np
import pytest

from segmend.core.errors import SchemaError
from segmend.core.sample import VIEWS, channel
from segmend.models.views import frames, reduce_em, reduce_geometry, world_positions
from segmend.testing.capsules import Capsule, draw


@pytest.fixture(scope="module")
def ball() -> tuple[np.ndarray, np.ndarray, float]:
    """A ball off the centre: its geometry, centre and radius."""
    centre = np.array([0.3, -0.2, 0.1])
    geometry, _ = draw([Capsule(centre, centre, 0.25, 0)])
    return geometry, centre, 0.25


def test_positions_from_every_view_lie_on_the_body(ball) -> None:
    geometry, centre, radius = ball
    for view, image in zip(VIEWS, geometry.astype(np.float64), strict=True):
        held = image[channel("silhouette")] > 0
        positions = world_positions(view, image[channel("depth")])[:, held]
        distance = np.linalg.norm(positions - centre[:, None], axis=0)
        # float16 keeps 11 bits of a depth that spans 2.4 half-widths.
        np.testing.assert_allclose(distance, radius, atol=2.4 / 2**11)


def test_positions_agree_with_the_drawn_normals(ball) -> None:
    geometry, centre, radius = ball
    for view, image in zip(VIEWS, geometry.astype(np.float64), strict=True):
        held = image[channel("silhouette")] > 0
        positions = world_positions(view, image[channel("depth")])[:, held]
        normals = image[channel("normal_x") : channel("normal_z") + 1][:, held]
        np.testing.assert_allclose((positions - centre[:, None]) / radius, normals, atol=0.01)


def test_reduction_keeps_single_pixels_and_does_not_blend_edges() -> None:
    geometry = np.zeros((1, 7, 224, 224), np.float16)
    names = ("silhouette", "mask_a", "depth", "normal_z")
    geometry[0, [channel(n) for n in names], 5, 8] = [1, 1, 0.5, -1]
    reduced = reduce_geometry(geometry)
    assert [reduced[0, channel(n), 2, 4] for n in names] == [1, 1, 0.5, -1]
    assert np.count_nonzero(reduced) == 4


def test_reduction_averages_the_foreground_of_a_block() -> None:
    geometry = np.zeros((1, 7, 224, 224), np.float16)
    geometry[0, channel("silhouette"), 0, :2] = 1
    geometry[0, channel("depth"), 0, :2] = [0.25, 0.75]
    assert reduce_geometry(geometry)[0, channel("depth"), 0, 0] == 0.5


def test_em_is_averaged_and_its_masks_are_not() -> None:
    em = np.zeros((2, 224, 224, 3), np.uint8)
    em[1, 0, 1] = [200, 255, 0]
    reduced = reduce_em(em)
    assert reduced.shape == (2, 3, 112, 112)
    assert reduced[1, :, 0, 0].tolist() == [50, 255, 0]


def test_frames_name_what_they_hold(ball) -> None:
    frame = next(frames(reduce_geometry(ball[0])))
    assert frame.a.any()
    assert not frame.b.any()
    np.testing.assert_allclose(np.linalg.norm(frame.normals[:, frame.a], axis=0), 1, atol=0.05)


@pytest.mark.parametrize("shape", [(3, 6, 224, 224), (7, 224, 224), (3, 7, 112, 112)])
def test_other_shapes_are_refused(shape) -> None:
    with pytest.raises(SchemaError, match="geometry must be"):
        reduce_geometry(np.zeros(shape, np.float16))
    with pytest.raises(SchemaError, match="EM must be"):
        reduce_em(np.zeros((224, 224, 3), np.uint8))
