"""Both drivers keep the contract; bad files are named."""

import h5py
import numpy as np
import pytest

from segmend.core.errors import (
    BadInputError,
    GridMismatchError,
    ReadFailedError,
    SchemaError,
    UnknownNameError,
)
from segmend.testing.drivers import DriverContract
from segmend.volumes.align import common_grid
from segmend.volumes.drivers.hdf5 import open_hdf5
from segmend.volumes.drivers.memory import from_array

ARRAY = np.random.default_rng(1).integers(2**53, 2**64, (7, 9, 11), dtype=np.uint64)


class TestMemory(DriverContract):
    @pytest.fixture
    def expected(self):
        return ARRAY

    @pytest.fixture
    def volume(self):
        return from_array(ARRAY.copy(), (40, 4, 4), offset=(400, 8, 12))


class TestHdf5(DriverContract):
    @pytest.fixture
    def expected(self):
        return ARRAY

    @pytest.fixture
    def volume(self, hdf5):
        return open_hdf5(hdf5, "volumes/labels")


@pytest.fixture
def hdf5(tmp_path):
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("volumes/labels", data=ARRAY, chunks=(4, 4, 4), compression=1)
        data.attrs["resolution"] = (40.0, 4.0, 4.0)
        data.attrs["offset"] = (400.0, 8.0, 12.0)
        file["volumes/bare"] = ARRAY
        file["volumes/flat"] = np.zeros(5, np.uint8)
        odd = file.create_dataset("volumes/odd", data=ARRAY)
        odd.attrs["resolution"] = (40.0, -4.0, 4.0)
    return path


def test_hdf5_carries_its_place_in_space(hdf5):
    volume = open_hdf5(hdf5, "volumes/labels")
    assert volume.grid.voxel_size == (40, 4, 4)
    assert volume.box.start == (400, 8, 12)


def test_real_tissue_opens_with_its_voxel_size(shared_data):
    volume = open_hdf5(shared_data / "fib25" / "fib25.h5", "volumes/raw")
    assert volume.grid.voxel_size == (10, 10, 10)
    assert volume.grid.shape == (175, 250, 250)


def test_missing_file_missing_key_and_text_file_are_named(hdf5, tmp_path):
    with pytest.raises(ReadFailedError, match="there is no file"):
        open_hdf5(tmp_path / "none.h5", "a")
    with pytest.raises(UnknownNameError, match=r"volumes/labels"):
        open_hdf5(hdf5, "volumes/label")
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    with pytest.raises(ReadFailedError, match="not a readable HDF5"):
        open_hdf5(text, "a")


def test_a_volume_needs_three_axes_and_a_true_voxel_size(hdf5):
    with pytest.raises(SchemaError, match="resolution"):
        open_hdf5(hdf5, "volumes/bare")
    with pytest.raises(SchemaError, match="one axis each of z, y and x"):
        open_hdf5(hdf5, "volumes/flat")
    with pytest.raises(SchemaError, match="must be positive"):
        open_hdf5(hdf5, "volumes/odd")
    with pytest.raises(BadInputError, match="three axes"):
        from_array(np.zeros((2, 2)), (1, 1, 1))


def test_a_damaged_chunk_is_a_failure_never_zeros(hdf5):
    raw = bytearray(hdf5.read_bytes())
    with h5py.File(hdf5) as file:
        info = file["volumes/labels"].id.get_chunk_info(0)
    middle = info.byte_offset + info.size // 2
    raw[middle : middle + 8] = b"\xff" * 8
    hdf5.write_bytes(bytes(raw))
    volume = open_hdf5(hdf5, "volumes/labels")
    with pytest.raises(ReadFailedError, match="cannot read chunk"):
        volume.read(volume.box)


def test_layers_on_different_grids_are_named():
    a = from_array(ARRAY, (40, 4, 4), source="em")
    b = from_array(ARRAY, (40, 4, 8), source="ids")
    assert common_grid({"image": a, "neurons": a}) == a.grid
    with pytest.raises(GridMismatchError, match="'image' and 'neurons'"):
        common_grid({"image": a, "neurons": b})
