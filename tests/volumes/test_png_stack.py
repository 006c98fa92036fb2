"""PNG stacks: natural order, gaps named, every checksum verified."""

import numpy as np
import pytest
from PIL import Image

from segmend.core.box import VoxelBox
from segmend.core.errors import ReadFailedError, SchemaError
from segmend.testing.drivers import DriverContract
from segmend.volumes.drivers.png_stack import open_png_stack

EM = np.random.default_rng(7).integers(0, 256, (12, 30, 40), dtype=np.uint8)
SIZE = (40, 4, 4)


def save(folder, array, *, name="section_{}.png", first=8):
    for z, section in enumerate(array):
        Image.fromarray(section).save(folder / name.format(z + first))
    return folder


class TestContract(DriverContract):
    @pytest.fixture(params=["u1", "u2"])
    def expected(self, request):
        return EM.astype(request.param) * (257 if request.param == "u2" else 1)

    @pytest.fixture
    def volume(self, tmp_path, expected):
        return open_png_stack(save(tmp_path, expected), voxel_size=SIZE)


class TestIdsAsColours(DriverContract):
    @pytest.fixture
    def expected(self):
        return np.random.default_rng(8).integers(0, 2**24, (5, 6, 7)).astype(np.uint32)

    @pytest.fixture(params=["red-first", "blue-first"])
    def volume(self, request, tmp_path, expected):
        colours = expected.astype("<u4").view(np.uint8).reshape(*expected.shape, 4)[..., :3]
        if request.param == "red-first":
            colours = colours[..., ::-1]
        save(tmp_path, np.ascontiguousarray(colours))
        return open_png_stack(tmp_path, voxel_size=SIZE, rgb_ids=request.param)


def test_sections_are_in_the_order_of_their_numbers_not_of_their_letters(tmp_path):
    volume = open_png_stack(save(tmp_path, EM, first=8), voxel_size=SIZE)
    np.testing.assert_array_equal(volume[volume.box], EM)


def test_a_gap_is_an_error_unless_it_is_said_to_be_absent(tmp_path):
    save(tmp_path, EM)
    (tmp_path / "section_10.png").unlink()
    with pytest.raises(SchemaError, match="the first is 10"):
        open_png_stack(tmp_path, voxel_size=SIZE)
    volume = open_png_stack(tmp_path, voxel_size=SIZE, missing="absent")
    block = volume.read(volume.box)
    stored = block.coverage.mask()
    assert np.flatnonzero(~stored.any((1, 2))).tolist() == [2]
    np.testing.assert_array_equal(block.data[stored], np.delete(EM, 2, 0).ravel())


def test_a_section_deleted_after_opening_is_a_failure_not_absent(tmp_path):
    volume = open_png_stack(save(tmp_path, EM), voxel_size=SIZE)
    (tmp_path / "section_9.png").unlink()
    with pytest.raises(ReadFailedError, match=r"section_9\.png"):
        volume.read(volume.box)


def test_one_flipped_bit_of_any_byte_is_never_other_pixels(tmp_path):
    save(tmp_path, EM[:1, :6, :6])
    path = tmp_path / "section_8.png"
    good = path.read_bytes()
    wrong = 0
    for at in range(0, 8 * len(good), 7):
        data = bytearray(good)
        data[at // 8] ^= 1 << at % 8
        path.write_bytes(data)
        try:
            volume = open_png_stack(tmp_path, voxel_size=SIZE)
            wrong += not np.array_equal(volume[volume.box], EM[:1, :6, :6])
        except (ReadFailedError, SchemaError):
            pass
    assert wrong == 0


def test_small_boxes_share_a_decoded_section_but_not_with_another_file(tmp_path):
    volume = open_png_stack(save(tmp_path, EM), voxel_size=SIZE)
    box = VoxelBox((3, 4, 5), (5, 9, 9))
    np.testing.assert_array_equal(volume.read_voxels(box).data, EM[box.slices])
    save(tmp_path, EM[:, ::-1].copy())
    with pytest.raises(ReadFailedError, match="has changed since"):
        volume.read_voxels(box)
    again = open_png_stack(tmp_path, voxel_size=SIZE)
    np.testing.assert_array_equal(again.read_voxels(box).data, EM[:, ::-1][box.slices])
