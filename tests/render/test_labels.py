"""Which voxels are A and B, against plain comparisons."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.box import VoxelBox
from segmend.core.errors import GridMismatchError, SegmentNotFoundError
from segmend.render.labels import PLANES_PER_READ, read_pair, read_sides
from segmend.volumes.drivers.memory import from_array

ROOT = 864691135571234567
"""An id beyond 2**53: through a float it would become its neighbour."""

SIZE = (10.0, 10.0, 10.0)


def labels(seed, shape=(2 * PLANES_PER_READ + 7, 9, 11)):
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([0, 5, ROOT, ROOT + 1], np.uint64), shape)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.data())
def test_a_pair_is_coded_voxel_by_voxel(seed, data):
    array = labels(seed)
    start = tuple(data.draw(st.integers(0, n - 1)) for n in array.shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, array.shape, strict=True))
    voxels = VoxelBox(start, stop)
    block = read_pair(from_array(array, SIZE), (ROOT, 5), voxels)
    part = array[voxels.slices]
    assert np.array_equal(block.codes == 1, part == ROOT)
    assert np.array_equal(block.codes == 2, part == 5)
    assert block.grid.box == from_array(array, SIZE).grid.to_box(voxels)


def test_a_single_segment_is_all_a():
    array = labels(3)
    block = read_pair(from_array(array, SIZE), (ROOT,), VoxelBox((0, 0, 0), array.shape))
    assert np.array_equal(block.codes, (array == ROOT).astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.uint64, np.uint32, np.uint16, np.int64])
def test_every_stored_integer_type_is_read(dtype):
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    block = read_pair(from_array(array, SIZE), (7, 59), VoxelBox((0, 0, 0), (3, 4, 5)))
    assert np.array_equal(block.codes, (array == 7) + 2 * (array == 59))


def test_an_id_too_large_for_the_stored_type_does_not_wrap_round():
    volume = from_array(np.ones((3, 4, 5), np.uint32), SIZE, source="small labels")
    with pytest.raises(SegmentNotFoundError, match=r"4294967297 cannot occur in small labels"):
        read_pair(volume, (2**32 + 1, 1), VoxelBox((0, 0, 0), (3, 4, 5)))


def test_sides_are_the_segment_inside_each_neuron():
    array, neurons = labels(4), labels(5)
    voxels = VoxelBox((0, 0, 0), array.shape)
    block = read_sides(
        from_array(array, SIZE), ROOT, from_array(neurons, SIZE), ((ROOT + 1,), (ROOT,)), voxels
    )
    inside = array == ROOT
    assert np.array_equal(block.codes == 1, inside & (neurons == ROOT + 1))
    assert np.array_equal(block.codes == 2, inside & (neurons == ROOT))
    assert np.array_equal(block.codes > 0, inside)


def test_sides_need_one_grid():
    array = labels(4)
    shifted = from_array(array, SIZE, offset=(5.0, 0.0, 0.0))
    with pytest.raises(GridMismatchError, match="one grid"):
        read_sides(
            from_array(array, SIZE), 5, shifted, ((1,), (2,)), VoxelBox((0, 0, 0), array.shape)
        )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_part_around_a_side_holds_it_with_one_voxel_to_spare(seed):
    rng = np.random.default_rng(seed)
    array = np.zeros((12, 13, 14), np.uint64)
    for _ in range(3):
        array[tuple(rng.integers(0, 12, 3))] = 9
    voxels = VoxelBox((1, 2, 0), (12, 13, 14))
    block = read_pair(from_array(array, SIZE), (9, 8), voxels)
    part = block.around(*block.held().values())
    found = np.argwhere(array[voxels.slices] == 9) + np.array(voxels.start)
    if not len(found):
        assert part.voxels.size == 0
        return
    assert part.voxels.start == tuple(np.maximum(found.min(0) - 1, voxels.start))
    assert part.voxels.stop == tuple(np.minimum(found.max(0) + 2, voxels.stop))
    assert np.array_equal(part.codes == 1, array[part.voxels.slices] == 9)
    assert 2 not in block.held()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_sides_of_a_part_are_found_and_counted_in_it_alone(seed):
    rng = np.random.default_rng(seed)
    array = rng.choice(np.array([0, 7, 8, 9], np.uint64), (9, 10, 11), p=[0.97, 0.01, 0.01, 0.01])
    volume = from_array(array, SIZE)
    start, stop = np.sort(rng.integers(0, 10, (2, 3)), axis=0)
    part = VoxelBox(tuple(start), tuple(stop + 1))
    whole = VoxelBox((0, 0, 0), array.shape)
    sides = read_sides(
        from_array((array > 0).astype(np.uint8), SIZE), 1, volume, ((7,), (8,)), whole
    )
    held = sides.crop(part).held()
    sizes = {side: int((array[part.slices] == i).sum()) for side, i in ((1, 7), (2, 8))}
    for side, i in ((1, 7), (2, 8)):
        found = np.argwhere(array[part.slices] == i) + start
        assert (side in held) == (len(found) > 0)
        if len(found):
            assert held[side] == VoxelBox(tuple(found.min(0)), tuple(found.max(0) + 1))
    if sizes[1] != sizes[2]:
        assert sides.crop(part).larger_side() == max(sizes, key=sizes.get)
    elif sizes[1]:
        first = next(int(v) for v in array[part.slices].reshape(-1) if v in (7, 8))
        assert sides.crop(part).larger_side() == first - 6
