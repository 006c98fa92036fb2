"""NumPy files: any order and byte order, read where they lie."""

import numpy as np
import pytest

from segmend.core.errors import BadInputError, SchemaError, UnknownNameError
from segmend.testing.drivers import DriverContract
from segmend.volumes.drivers.numpy_file import open_numpy

ARRAY = np.random.default_rng(4).integers(2**53, 2**64, (7, 9, 40), dtype=np.uint64)
SIZE = (40, 4, 4)


class TestContract(DriverContract):
    @pytest.fixture(params=["C", "F", ">u8", "npz", "compressed npz"])
    def volume(self, request, tmp_path):
        path = tmp_path / ("v.npz" if "npz" in request.param else "v.npy")
        if request.param == "npz":
            np.savez(path, other=np.zeros(3), em=ARRAY)
        elif request.param == "compressed npz":
            np.savez_compressed(path, other=np.zeros(3), em=ARRAY)
        elif request.param == ">u8":
            np.save(path, ARRAY.astype(">u8"))
        else:
            np.save(path, np.asarray(ARRAY, order=request.param))
        return open_numpy(path, "em" if path.suffix == ".npz" else None, voxel_size=SIZE)

    @pytest.fixture
    def expected(self):
        return ARRAY


@pytest.mark.parametrize("order", ["C", "F"])
def test_axes_are_those_numpy_shows_whatever_the_memory_order(tmp_path, order):
    affinities = np.asarray(np.random.default_rng(0).random((5, 6, 7, 3), np.float32), order=order)
    np.save(tmp_path / "a.npy", affinities)
    volume = open_numpy(tmp_path / "a.npy", voxel_size=SIZE, axes="xyzc", channel=1)
    np.testing.assert_array_equal(volume[volume.box], affinities[..., 1].T)
    assert volume.dtype == np.float32


def test_narrow_and_wide_boxes_of_long_rows_agree(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (3, 50, 3000), np.uint8)
    np.save(tmp_path / "a.npy", array)
    volume = open_numpy(tmp_path / "a.npy", voxel_size=SIZE)
    for x in (slice(17, 19), slice(100, 2900), slice(0, 3000)):
        voxels = volume.grid.voxels.clip(2, x.start, x.stop).clip(1, 3, 49)
        np.testing.assert_array_equal(volume.read_voxels(voxels).data, array[:, 3:49, x])


def test_masks_of_bool_read_as_bytes(tmp_path):
    mask = ARRAY % 2 == 0
    np.save(tmp_path / "m.npy", mask)
    volume = open_numpy(tmp_path / "m.npy", voxel_size=SIZE)
    assert volume.dtype == np.uint8
    np.testing.assert_array_equal(volume[volume.box], mask)


def test_the_voxel_size_must_be_given(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY)
    with pytest.raises(SchemaError, match="how large its voxels are"):
        open_numpy(tmp_path / "a.npy")


def test_keys_are_checked(tmp_path):
    np.save(tmp_path / "a.npy", ARRAY)
    np.savez(tmp_path / "b.npz", em=ARRAY, seg=ARRAY)
    with pytest.raises(BadInputError, match="takes no key"):
        open_numpy(tmp_path / "a.npy", "em", voxel_size=SIZE)
    with pytest.raises(BadInputError, match="needs a key"):
        open_numpy(tmp_path / "b.npz", voxel_size=SIZE)
    with pytest.raises(UnknownNameError, match="em, seg"):
        open_numpy(tmp_path / "b.npz", "raw", voxel_size=SIZE)
