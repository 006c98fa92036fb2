"""Tiles cover every voxel, blending keeps what agrees, and context makes cuts invisible."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.box import VoxelBox
from segmend.core.errors import AbsentVoxelsError, BadInputError, OutOfBoundsError
from segmend.segmentation import inference
from segmend.segmentation.inference import predict_slabs, read_mirrored
from segmend.segmentation.network import NetworkShape, new_network
from segmend.segmentation.run import as_function
from segmend.segmentation.tiles import Tiling, tiling_for
from segmend.volumes.drivers.memory import from_array


def predict(network, image, box, tiling, *, channels):
    out = np.empty((channels, *box.shape), np.uint8)
    inference.predict(network, image, box, tiling, out=out)
    return out


SIZES = st.tuples(*[st.integers(1, 9)] * 3)
SMALL = st.tuples(*[st.integers(0, 4)] * 3)


def tilings(draw_tile, halo, overlap) -> Tiling:
    tile = tuple(t + 2 * h + o for t, h, o in zip(draw_tile, halo, overlap, strict=True))
    return Tiling(tile, halo, overlap)


@settings(deadline=None)
@given(SIZES, st.tuples(*[st.integers(2, 9)] * 3), SMALL, SMALL)
def test_every_voxel_is_covered(shape, step, halo, overlap) -> None:
    tiling = tilings(step, halo, overlap)
    covered = np.zeros(shape, np.float32)
    for start in tiling.starts(shape):
        inner = tuple(slice(s, s + w) for s, w in zip(start, tiling.window, strict=True))
        part = covered[inner]
        assert part.size  # no tile for nothing
        part += tiling.weights()[tuple(slice(n) for n in part.shape)]
    assert (covered > 0).all()


@settings(deadline=None, max_examples=40)
@given(SIZES, st.tuples(*[st.integers(2, 9)] * 3), SMALL, SMALL, st.integers(0, 99))
def test_blending_what_agrees_gives_it_back(shape, step, halo, overlap, seed) -> None:
    """A network that repeats its input: tiles agree, so the answer is the image, voxel by voxel."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 256, tuple(n + 5 for n in shape)).astype(np.uint8)
    image = from_array(whole, (10, 10, 10))
    box = VoxelBox((2, 1, 3), tuple(a + n for a, n in zip((2, 1, 3), shape, strict=True)))
    tiling = tilings(step, halo, overlap)
    seen: list[tuple[int, ...]] = []

    def echo(tile):
        seen.append(tile.shape)
        return np.stack([tile, 255 - tile]).astype(np.float32) / 255

    out = predict(echo, image, box, tiling, channels=2)
    np.testing.assert_array_equal(out[0], whole[box.slices])
    np.testing.assert_array_equal(out[1], 255 - whole[box.slices])
    assert set(seen) == {tiling.tile}


def test_slabs_are_in_order_and_memory_stays_flat() -> None:
    image = from_array(np.zeros((40, 8, 8), np.uint8), (10, 10, 10))
    tiling = Tiling((10, 8, 8), (2, 0, 0), (2, 0, 0))
    slabs = list(
        predict_slabs(
            lambda tile: np.ones((1, *tile.shape), np.float32),
            image,
            image.grid.voxels,
            tiling,
            channels=1,
        )
    )
    starts = [slab.start for slab in slabs]
    assert starts == [sum(s.data.shape[1] for s in slabs[:k]) for k in range(len(slabs))]
    assert sum(s.data.shape[1] for s in slabs) == 40
    assert max(s.data.shape[1] for s in slabs) <= tiling.window[0]


@pytest.fixture(scope="module")
def network():
    """A small network whose batch statistics are those of some images."""
    made = new_network(
        NetworkShape(((1, 0, 0), (0, 1, 0)), ("a", "b"), ((1, 2, 2),), width=4), seed=3
    )
    made.train()
    with torch.no_grad():
        for _ in range(3):
            made(torch.randn(1, 1, 4, 16, 16))
    return made.eval()


def test_with_enough_context_cuts_are_invisible(network) -> None:
    """Tiles with a halo as long as the network's reach answer as one pass over everything."""
    shape = network.shape
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (8, 64, 64)).astype(np.uint8)
    image = from_array(whole, (40, 4, 4))
    box = VoxelBox((0, 8, 4), (8, 60, 60))
    one = tiling_for(box.shape, tile=(64, 512, 512), halo=shape.reach, stride=shape.stride)
    assert list(one.starts(box.shape)) == [(0, 0, 0)]
    many = tiling_for(box.shape, tile=(64, 92, 512), halo=shape.reach, stride=shape.stride)
    assert len(list(many.starts(box.shape))) > 1
    answer = as_function(network)
    whole_pass, tiled = (predict(answer, image, box, t, channels=4) for t in (one, many))
    # One part in 255 at the most: sums in another order before rounding.
    assert np.abs(whole_pass.astype(int) - tiled).max() <= 1
    classes = tiled[2:].astype(int).sum(axis=0)
    assert classes.min() >= 254  # probabilities add up
    assert classes.max() <= 256


def test_the_reach_is_no_shorter_than_what_a_voxel_sees(network) -> None:
    image = torch.zeros(1, 1, 16, 128, 128, requires_grad=True)
    network(image)[0, :, 8, 64, 64].sum().backward()
    seen = np.argwhere(image.grad[0, 0].numpy() != 0)
    far = np.abs(seen - (8, 64, 64)).max(axis=0)
    assert (far > 0).all()
    assert (far <= network.shape.reach).all()


def test_where_nothing_can_be_predicted() -> None:
    image = from_array(np.zeros((4, 4, 4), np.uint8), (10, 10, 10))
    with pytest.raises(BadInputError, match="larger than both halos"):
        Tiling((8, 8, 8), (4, 0, 0), (0, 0, 0))
    tiling = Tiling((8, 8, 8), (0, 0, 0), (0, 0, 0))
    with pytest.raises(OutOfBoundsError, match="outside"):
        predict(lambda tile: tile[None], image, VoxelBox((2, 0, 0), (6, 4, 4)), tiling, channels=1)


def test_absent_voxels_are_no_zeros() -> None:
    class Hole:
        """Says that its first section is certified absent."""

        grid = from_array(np.zeros((4, 4, 4), np.uint8), (10, 10, 10)).grid
        dtype = np.dtype(np.uint8)
        source = "hole"

        def read(self, voxels, out):
            out[...] = 9
            first = voxels.intersect(VoxelBox((0, 0, 0), (1, 4, 4)))
            return () if first is None else (first,)

    from segmend.volumes.volume import Volume

    image = Volume(Hole())
    with pytest.raises(AbsentVoxelsError, match="certified absent"):
        read_mirrored(image, image.grid.voxels)
    assert (read_mirrored(image.with_absent(7), image.grid.voxels)[0] == 7).all()


def test_mirroring_repeats_what_is_there() -> None:
    array = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    image = from_array(array, (10, 10, 10))
    padded = np.pad(array, ((8, 1), (0, 0), (0, 4)), mode="symmetric")
    np.testing.assert_array_equal(
        read_mirrored(image, VoxelBox((-8, 0, 1), (4, 3, 7))), padded[:, :, 1:]
    )
    # Wholly beyond the end.
    np.testing.assert_array_equal(
        read_mirrored(image, VoxelBox((-8, 0, 0), (-5, 3, 7))), padded[:3]
    )
