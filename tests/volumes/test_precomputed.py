"""Precomputed volumes as tensorstore and cloud-volume write them, read by us."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segmend.core.box import Box, VoxelBox
from segmend.core.errors import BadInputError, ReadFailedError
from segmend.store.files import FileStore
from segmend.testing.drivers import DriverContract, ThreeStatesContract
from segmend.testing.servers import range_server
from segmend.volumes.drivers.precomputed import open_precomputed

WRITERS = Path(__file__).with_name("precomputed_writers.py")

ONE_CHANNEL = [
    *("raw_uint8", "raw_int16", "raw_uint64", "raw_float32", "jpeg", "png_uint8", "png_uint16"),
    *("cseg_uint32", "cseg_uint64", "cseg_many", "cseg_blocks"),
    *("sharded_cseg", "sharded_jpeg", "sharded_raw"),
    *("gzipped", "cv_cseg", "compresso", "crackle"),
]

CHANNELS = {"channels_raw": 3, "channels_cseg": 2, "channels_jpeg": 3, "channels_png": 4}


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """The folder of all volumes that the peers wrote."""
    folder = tmp_path_factory.mktemp("precomputed")
    subprocess.run([sys.executable, str(WRITERS), str(folder)], check=True)
    return folder


def expected_of(written, name, channel=0):
    return np.load(written / f"{name}.npy")[channel]


class TestEveryEncoding(DriverContract):
    @pytest.fixture(params=ONE_CHANNEL)
    def name(self, request):
        return request.param

    @pytest.fixture
    def expected(self, written, name):
        return expected_of(written, name)

    @pytest.fixture
    def volume(self, written, name):
        return open_precomputed(written / name)


class TestUnsharded(ThreeStatesContract):
    @pytest.fixture
    def sparse(self, written, tmp_path):
        folder = shutil.copytree(written / "raw_uint64", tmp_path / "v")
        volume = open_precomputed(folder)
        # x and y in the middle, z the last and incomplete chunk
        (chunk,) = folder.glob("*/27-43_26-46_136-137")
        chunk.unlink()
        return volume, expected_of(written, "raw_uint64"), VoxelBox((36, 20, 16), (37, 40, 32))

    @pytest.fixture
    def broken(self, written, tmp_path):
        folder = shutil.copytree(written / "cseg_uint64", tmp_path / "v")
        (chunk,) = folder.glob("*/11-27_6-26_100-112")
        chunk.write_bytes(chunk.read_bytes()[:-40])
        return open_precomputed(folder), VoxelBox((0, 0, 0), (12, 20, 16))


class TestSharded(ThreeStatesContract):
    @pytest.fixture
    def sparse(self, written, tmp_path):
        """One chunk's key is taken out of its minishard's index, by a key that no chunk has."""
        folder = shutil.copytree(written / "sharded_jpeg", tmp_path / "v")
        (shard,) = folder.glob("*/0.shard")
        data = bytearray(shard.read_bytes())
        start, stop = np.frombuffer(data[:16], "<u8")
        index = np.frombuffer(data, "<u8", count=(stop - start) // 8, offset=16 + start).copy()
        # Keys are delta-encoded and this shard holds the even ones: the last becomes odd.
        keys = index.reshape(3, -1)[0]
        lost = int(keys.sum())
        keys[-1] += 1
        data[16 + start : 16 + stop] = index.tobytes()
        shard.write_bytes(bytes(data))
        volume = open_precomputed(folder)
        cells = [n for n in np.ndindex(4, 3, 4) if morton_by_hand(n[::-1], (4, 3, 4)) == lost]
        ((z, y, x),) = cells
        low = np.array((z * 12, y * 20, x * 16))
        high = np.minimum(low + np.array((12, 20, 16)), volume.grid.shape)
        absent = VoxelBox(tuple(low), tuple(high))
        return volume, expected_of(written, "sharded_jpeg"), absent

    @pytest.fixture
    def broken(self, written, tmp_path):
        folder = shutil.copytree(written / "sharded_cseg", tmp_path / "v")
        for shard in folder.glob("*/*.shard"):
            data = bytearray(shard.read_bytes())
            data[64 + 40 : 64 + 60] = bytes(20)
            shard.write_bytes(bytes(data))
        volume = open_precomputed(folder)
        return volume, volume.grid.voxels


def morton_by_hand(cell, grid):
    """Compressed Morton code, straight from the words of the specification."""
    code, position = 0, 0
    for bit in range(8):
        for axis in range(3):
            if 2**bit < grid[axis]:
                code |= (cell[axis] >> bit & 1) << position
                position += 1
    return code


@pytest.mark.parametrize("name", CHANNELS)
def test_each_channel_is_read_by_itself(written, name):
    for channel in range(CHANNELS[name]):
        volume = open_precomputed(written / name, channel=channel)
        np.testing.assert_array_equal(volume[volume.box], expected_of(written, name, channel))


def test_several_channels_need_a_choice(written):
    with pytest.raises(BadInputError, match="has 3 channels"):
        open_precomputed(written / "channels_raw")
    with pytest.raises(BadInputError, match="no channel 3"):
        open_precomputed(written / "channels_raw", channel=3)
    with pytest.raises(BadInputError, match="no channel 1"):
        open_precomputed(written / "jpeg", channel=1)


def test_the_volume_lies_where_its_offset_says(written):
    volume = open_precomputed(written / "raw_uint8")
    assert volume.grid.voxel_size == (40.5, 6, 4)
    assert volume.box == Box((4050, 36, 44), (4050 + 37 * 40.5, 36 + 45 * 6, 44 + 53 * 4))


def test_scales_come_finest_first_and_hold_their_own_voxels(written):
    volume = open_precomputed(written / "jpeg")
    assert volume.voxel_sizes == ((40.5, 6, 4), (40.5, 12, 8))
    coarse = volume.at((40.5, 12, 8))
    assert coarse.box.start == (4050, 72, 88)
    assert volume.box.start == (4050, 36, 44)


def test_over_http_the_same_voxels_arrive(written):
    for name in ("raw_uint64", "sharded_cseg", "jpeg"):
        with range_server(written / name) as server:
            volume = open_precomputed(server.url)
            np.testing.assert_array_equal(volume[volume.box], expected_of(written, name))


def test_a_server_that_refuses_a_chunk_is_a_failure_that_names_it(written, tmp_path):
    folder = shutil.copytree(written / "raw_uint8", tmp_path / "v")
    (chunk,) = folder.glob("*/27-43_26-46_112-124")
    chunk.unlink()
    chunk.mkdir()
    volume = open_precomputed(FileStore(folder))
    with pytest.raises(
        ReadFailedError, match=r"chunk \(1, 1, 1\) \(voxels \(12, 20, 16\)"
    ) as failed:
        volume.read(volume.box)
    assert failed.value.url.endswith("27-43_26-46_112-124")


def test_a_missing_shard_is_certified_absent_and_a_cut_one_is_not(written, tmp_path):
    folder = shutil.copytree(written / "sharded_jpeg", tmp_path / "v")
    (shard,) = folder.glob("*/1.shard")
    content = shard.read_bytes()
    shard.unlink()
    volume = open_precomputed(folder)
    coverage = volume.read(volume.box).coverage
    assert 0 < coverage.n_absent < volume.grid.voxels.size
    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(ReadFailedError):
        open_precomputed(folder).read(volume.box)


def test_a_folder_without_info_is_missing(tmp_path):
    with pytest.raises(ReadFailedError, match="no precomputed volume") as failed:
        open_precomputed(tmp_path)
    assert failed.value.reason == "missing"


def test_a_box_that_was_read_before_is_not_read_from_a_volume_opened_later(written, tmp_path):
    """Chunks are kept decoded, but only for the volume that decoded them."""
    folder = shutil.copytree(written / "png_uint8", tmp_path / "v")
    box = VoxelBox((1, 1, 1), (5, 5, 5))
    before = open_precomputed(folder).read_voxels(box).data
    (first,), (other,) = folder.glob("*/11-27_6-26_100-112"), folder.glob("*/27-43_26-46_112-124")
    shutil.copy(other, first)
    after = open_precomputed(folder).read_voxels(box).data
    assert (before != after).any()


def test_ids_above_2_to_the_53_survive(tmp_path):
    ids = (np.arange(8, dtype=np.uint64) + np.uint64(2**64 - 9)).reshape(2, 2, 2)
    scale = {
        "key": "s",
        "size": [2, 2, 2],
        "resolution": [1, 1, 1],
        "chunk_sizes": [[2, 2, 2]],
        "encoding": "raw",
    }
    info = {"data_type": "uint64", "num_channels": 1, "scales": [scale]}
    (tmp_path / "info").write_text(json.dumps(info))
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "0-2_0-2_0-2").write_bytes(ids.tobytes())
    volume = open_precomputed(tmp_path)
    np.testing.assert_array_equal(volume[volume.box], ids)
