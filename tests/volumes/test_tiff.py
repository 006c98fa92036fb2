"""TIFF: whatever tifffile writes, read strip by strip or tile by tile; voxel sizes as stated."""

import numpy as np
import pytest
import tifffile

from segmend.core.errors import BadInputError, SchemaError
from segmend.testing.drivers import DriverContract
from segmend.volumes.drivers.tiff import open_tiff

ARRAY = np.random.default_rng(6).integers(0, 2**16, (7, 40, 50), dtype=np.uint16)
SIZE = (30, 4, 4)

FORMS = {
    "plain": {},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "strips": {"rowsperstrip": 7},
    "deflate": {"compression": "zlib"},
    "deflated strips, differenced": {"compression": "zlib", "predictor": 2, "rowsperstrip": 9},
    "lzw": {"compression": "lzw", "byteorder": ">"},
    "packbits": {"compression": "packbits"},
    "zstd tiles": {"compression": "zstd", "tile": (16, 32)},
    "tiles": {"tile": (16, 16)},
    "big-endian differenced tiles": {
        "tile": (16, 16),
        "compression": "zlib",
        "predictor": 2,
        "byteorder": ">",
    },
}


def save(path, array, **form):
    order, big = form.pop("byteorder", "<"), form.pop("bigtiff", False)
    with tifffile.TiffWriter(path, byteorder=order, bigtiff=big) as tiff:
        for page in array:
            tiff.write(page, photometric="minisblack", **form)
    return path


class TestContract(DriverContract):
    @pytest.fixture(params=FORMS)
    def volume(self, request, tmp_path):
        return open_tiff(save(tmp_path / "v.tif", ARRAY, **FORMS[request.param]), voxel_size=SIZE)

    @pytest.fixture
    def expected(self):
        return ARRAY


class TestFolder(DriverContract):
    @pytest.fixture
    def volume(self, tmp_path):
        for z, section in enumerate(ARRAY):
            save(tmp_path / f"s{z + 8}.tif", [section], compression="zlib", rowsperstrip=16)
        return open_tiff(tmp_path, voxel_size=SIZE)

    @pytest.fixture
    def expected(self):
        return ARRAY


class TestImageJ(DriverContract):
    @pytest.fixture
    def volume(self, tmp_path):
        metadata = {"spacing": 0.03, "unit": "um", "axes": "ZYX"}
        resolution = (1 / 0.004, 1 / 0.005)
        path = tmp_path / "v.tif"
        tifffile.imwrite(path, ARRAY, imagej=True, resolution=resolution, metadata=metadata)
        return open_tiff(path)

    @pytest.fixture
    def expected(self):
        return ARRAY


def test_imagej_states_the_voxel_size(tmp_path):
    metadata = {"spacing": 0.03, "unit": "um", "axes": "ZYX"}
    path = tmp_path / "v.tif"
    resolution = (1 / 0.004, 1 / 0.005)
    tifffile.imwrite(path, ARRAY, imagej=True, resolution=resolution, metadata=metadata)
    assert open_tiff(path).grid.voxel_size == (30, 5, 4)
    assert open_tiff(path, unit="nm").grid.voxel_size == (0.03, 0.005, 0.004)
    with pytest.raises(BadInputError, match="disagree about the voxel size"):
        open_tiff(path, voxel_size=(30, 4, 4))


def test_imagej_pixels_are_no_unit(tmp_path):
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, ARRAY, imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(SchemaError, match="how large its voxels are"):
        open_tiff(path)
    assert open_tiff(path, voxel_size=SIZE).grid.voxel_size == SIZE


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("axes", ["ZCYX", "CZYX"])
def test_ome_states_size_units_and_order_of_channels(tmp_path, axes, compression):
    stack = np.stack([ARRAY, ARRAY[:, ::-1]], axes.index("C"))
    metadata = {
        "axes": axes,
        "PhysicalSizeX": 4.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.005,
        "PhysicalSizeZ": 300,
        "PhysicalSizeZUnit": "\u00c5",
    }
    path = tmp_path / "v.ome.tif"
    tifffile.imwrite(
        path, stack, ome=True, metadata=metadata, compression=compression, photometric="minisblack"
    )
    volume = open_tiff(path, channel=1)
    assert volume.grid.voxel_size == (30, 5, 4)
    np.testing.assert_array_equal(volume[volume.box], ARRAY[:, ::-1])
    with pytest.raises(BadInputError, match="2 channel"):
        open_tiff(path)


def test_dots_per_inch_are_no_voxel_size(tmp_path):
    path = save(tmp_path / "v.tif", ARRAY, resolution=(72, 72), resolutionunit="INCH")
    with pytest.raises(SchemaError, match="how large its voxels are"):
        open_tiff(path)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "u8", "f4"])
def test_dtypes_are_kept(tmp_path, dtype):
    array = (ARRAY % 100).astype(dtype)
    volume = open_tiff(save(tmp_path / "v.tif", array, compression="zlib"), voxel_size=SIZE)
    assert volume.dtype == dtype
    np.testing.assert_array_equal(volume[volume.box], array)


def test_a_gap_in_a_folder_is_absent_only_if_told(tmp_path):
    for z in (1, 2, 4):
        save(tmp_path / f"s_{z:03}.tif", [ARRAY[z]], compression="lzw")
    with pytest.raises(SchemaError, match="sections 1 to 4 are missing, the first is 3"):
        open_tiff(tmp_path, voxel_size=SIZE)
    volume = open_tiff(tmp_path, voxel_size=SIZE, missing="absent")
    block = volume.read(volume.box)
    stored = block.coverage.mask()
    assert stored.any((1, 2)).tolist() == [True, True, False, True]
    np.testing.assert_array_equal(block.data[stored], ARRAY[[1, 2, 4]].ravel())
