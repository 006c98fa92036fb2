"""HDF5 cube grids: absent by record, or not downloaded; never guessed."""

import h5py
import numpy as np
import pytest

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError, ReadFailedError, SchemaError
from segmend.testing.drivers import DriverContract
from segmend.volumes.drivers.hdf5_cubes import open_hdf5_cubes

WHOLE = np.random.default_rng(3).integers(0, 2**32, (8, 10, 18), dtype=np.uint32)
GRID = {"cube_shape": (4, 5, 6), "grid_shape": (2, 2, 3), "dtype": "u4"}


@pytest.fixture
def folder(tmp_path):
    """Cubes written as MATLAB does: plain chunks, (x, y, z) reversed."""
    for z, y, x in np.ndindex(2, 2, 3):
        part = WHOLE[4 * z : 4 * z + 4, 5 * y : 5 * y + 5, 6 * x : 6 * x + 6]
        with h5py.File(tmp_path / f"x{x}y{y}z{z}.hdf5", "w") as file:
            file.create_dataset("data", data=part, chunks=(2, 3, 4))
    return tmp_path


def opened(folder, **changes):
    return open_hdf5_cubes(folder, "data", voxel_size=(28, 11.24, 11.24), **(GRID | changes))


class TestContract(DriverContract):
    @pytest.fixture
    def expected(self):
        return WHOLE

    @pytest.fixture
    def volume(self, folder):
        return opened(folder)


def test_a_missing_cube_is_not_downloaded_and_says_how_to_get_it(folder):
    (folder / "x2y1z0.hdf5").unlink()
    volume = opened(folder)
    with pytest.raises(ReadFailedError, match=r"x2y1z0\.hdf5.*not downloaded") as failed:
        volume[volume.box]
    assert failed.value.reason == "missing"
    assert "segmend fetch" in str(failed.value)
    other = VoxelBox((4, 0, 0), (8, 10, 18))
    np.testing.assert_array_equal(volume.read_voxels(other).data, WHOLE[4:])


def test_a_cube_recorded_absent_is_certified_absent_though_no_file_is_there(folder):
    (folder / "x2y1z0.hdf5").unlink()
    volume = opened(folder, absent_cubes=[(0, 1, 2)])
    block = volume.read(volume.box)
    stored = block.coverage.mask()
    assert not stored[:4, 5:, 12:].any()
    assert stored.sum() == WHOLE.size - 4 * 5 * 6
    np.testing.assert_array_equal(block.data[stored], WHOLE[stored])


def test_outside_the_published_cubes_the_volume_is_absent(folder):
    volume = opened(folder, shape=(9, 12, 18))
    block = volume.read(volume.box)
    np.testing.assert_array_equal(block.data[:8, :10], WHOLE)
    assert block.coverage.n_absent == 9 * 12 * 18 - WHOLE.size
    smaller = opened(folder, shape=(7, 9, 17))
    np.testing.assert_array_equal(smaller[smaller.box], WHOLE[:7, :9, :17])


def test_cubes_stored_the_other_way_round_need_to_be_told(tmp_path):
    part = WHOLE[:4, :5, :6]
    with h5py.File(tmp_path / "x0y0z0.hdf5", "w") as file:
        file["data"] = part.T
    one = {"grid_shape": (1, 1, 1)}
    volume = opened(tmp_path, **one)
    with pytest.raises(SchemaError, match="axes='xyz'"):
        volume.read(volume.box)
    volume = opened(tmp_path, axes="xyz", **one)
    np.testing.assert_array_equal(volume[volume.box], part)


def test_a_cube_of_another_dtype_is_named(folder):
    with h5py.File(folder / "x1y0z0.hdf5", "w") as file:
        file["data"] = np.zeros((4, 5, 6), np.uint8)
    volume = opened(folder)
    with pytest.raises(SchemaError, match=r"x1y0z0.*uint8, not \(4, 5, 6\) of uint32"):
        volume[volume.box]


def test_a_grid_must_make_sense(folder):
    with pytest.raises(BadInputError, match="not a grid"):
        opened(folder, cube_shape=(0, 5, 6))
    with pytest.raises(BadInputError, match="not a grid"):
        opened(folder, name="cube.h5")
    with pytest.raises(BadInputError, match="absent_cubes"):
        opened(folder, absent_cubes=[(2, 0, 0)])
    with pytest.raises(ReadFailedError, match="no folder"):
        opened(folder / "nowhere")
