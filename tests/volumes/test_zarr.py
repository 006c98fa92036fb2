"""Zarr arrays written by zarr-python and tensorstore read as they were written."""

import json

import numcodecs
import numpy as np
import pytest
import tensorstore
import zarr
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

from segmend.core.box import VoxelBox
from segmend.core.errors import (
    AbsentVoxelsError,
    BadInputError,
    ReadFailedError,
    SchemaError,
)
from segmend.store.files import FileStore
from segmend.testing.drivers import DriverContract, ThreeStatesContract
from segmend.testing.servers import range_server
from segmend.volumes.drivers.zarr import open_zarr

SIZE = (40, 8, 4)


def tissue(dtype, shape=(23, 34, 41)):
    """Compressible, and nowhere 0, so that every chunk is stored."""
    rng = np.random.default_rng(7)
    if np.dtype(dtype).kind == "f":
        return rng.normal(10, 1, shape).astype(dtype)
    blocks = rng.integers(1, np.iinfo(dtype).max, [n // 4 + 1 for n in shape], dtype=dtype)
    for axis in range(3):
        blocks = blocks.repeat(4, axis)
    return np.ascontiguousarray(blocks[tuple(slice(n) for n in shape)])


IDS, GREY = tissue(np.uint64), tissue(np.uint8)


def by_zarr(**how):
    """A writer of arrays by zarr-python."""

    def write(folder, array):
        how.setdefault("chunks", (16, 16, 16))
        stored = zarr.create_array(
            str(folder), shape=array.shape, dtype=array.dtype, fill_value=0, **how
        )
        stored[...] = array

    return write


def by_tensorstore(driver, metadata):
    """A writer of arrays by tensorstore."""

    def write(folder, array):
        spec = {"driver": driver, "kvstore": f"file://{folder}", "metadata": metadata}
        dtype = tensorstore.dtype(array.dtype.newbyteorder("=").name)
        create = tensorstore.open(spec, create=True, dtype=dtype, shape=array.shape)
        create.result().write(array).result()

    return write


def v2(compressor, **how):
    return by_zarr(zarr_format=2, compressors=compressor, **how)


def v3(*compressors, **how):
    return by_zarr(zarr_format=3, compressors=compressors, **how)


def sharded(**how):
    """Shards of 2 x 1 x 2 chunks, which the array does not fill."""
    codec = ShardingCodec(chunk_shape=(8, 16, 16), **how)
    return by_zarr(zarr_format=3, chunks=(16, 16, 32), serializer=codec, compressors=None)


BLOSC = {
    f"v2 blosc {name} {shuffle}": (v2(numcodecs.Blosc(name, 5, shuffle)), IDS)
    for name in ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
    for shuffle in (numcodecs.Blosc.SHUFFLE, numcodecs.Blosc.BITSHUFFLE)
}

VARIANTS = BLOSC | {
    "v2 raw": (v2(None), IDS),
    "v2 zlib": (v2(numcodecs.Zlib()), IDS),
    "v2 gzip": (v2(numcodecs.GZip()), IDS),
    "v2 zstd": (v2(numcodecs.Zstd()), IDS),
    "v2 zstd with checksum": (v2(numcodecs.Zstd(checksum=True)), IDS),
    "v2 lz4": (v2(numcodecs.LZ4()), IDS),
    "v2 bz2": (v2(numcodecs.BZ2()), IDS),
    "v2 lzma": (v2(numcodecs.LZMA()), IDS),
    "v2 order F": (v2(numcodecs.Zstd(), order="F"), IDS),
    "v2 big-endian": (v2(None), IDS.astype(">u8")),
    "v2 slashes": (
        v2(None, chunk_key_encoding={"name": "v2", "separator": "/"}),
        GREY,
    ),
    "v2 filters": (
        v2(
            numcodecs.Zlib(),
            filters=[numcodecs.Delta("<u8"), numcodecs.Shuffle(8), numcodecs.Fletcher32()],
        ),
        IDS,
    ),
    "v2 checksum at the end": (v2(None, filters=[numcodecs.CRC32(location="end")]), GREY),
    "v2 one large chunk": (v2(numcodecs.Zstd(), chunks=(64, 64, 64)), GREY),
    "v2 tensorstore": (
        by_tensorstore("zarr", {"chunks": [16, 8, 7], "compressor": {"id": "bz2", "level": 1}}),
        GREY,
    ),
    "v3 raw": (v3(), IDS),
    "v3 gzip": (v3(GzipCodec()), GREY),
    "v3 zstd": (v3(ZstdCodec()), GREY),
    "v3 zstd checksum": (v3(ZstdCodec(checksum=True)), GREY),
    "v3 blosc": (v3(BloscCodec(cname="zstd", shuffle="bitshuffle")), IDS),
    "v3 crc32c": (v3(ZstdCodec(), Crc32cCodec()), IDS),
    "v3 crc32c within": (v3(Crc32cCodec(), ZstdCodec()), IDS),
    "v3 big-endian": (v3(serializer={"name": "bytes", "configuration": {"endian": "big"}}), IDS),
    "v3 transposed": (v3(filters=[TransposeCodec(order=(2, 0, 1))], chunks=(16, 8, 4)), IDS),
    "v3 transposed twice": (
        v3(
            filters=[TransposeCodec(order=(2, 0, 1)), TransposeCodec(order=(1, 0, 2))],
            chunks=(16, 8, 4),
        ),
        IDS,
    ),
    "v3 key encoding v2": (v3(chunk_key_encoding={"name": "v2", "separator": "."}), GREY),
    "v3 dots": (v3(chunk_key_encoding={"name": "default", "separator": "."}), GREY),
    "v3 signed": (v3(), tissue(np.int16)),
    "v3 float": (v3(ZstdCodec()), tissue(np.float32)),
    "v3 sharded": (sharded(codecs=[BytesCodec(), ZstdCodec()]), IDS),
    "v3 sharded, index first": (sharded(index_location="start"), IDS),
    "v3 sharded, plain index": (sharded(index_codecs=[BytesCodec()]), GREY),
    "v3 sharded, transposed": (
        sharded(codecs=[TransposeCodec(order=(2, 1, 0)), BytesCodec(), Crc32cCodec()]),
        IDS,
    ),
    "v3 sharded tensorstore": (
        by_tensorstore(
            "zarr3",
            {
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [16, 16, 32]}},
                "codecs": [
                    {
                        "name": "sharding_indexed",
                        "configuration": {
                            "chunk_shape": [8, 8, 8],
                            "codecs": [{"name": "bytes"}, {"name": "blosc"}],
                            "index_codecs": [{"name": "bytes"}, {"name": "crc32c"}],
                        },
                    }
                ],
            },
        ),
        IDS,
    ),
}


@pytest.fixture(scope="module", params=VARIANTS)
def stored(request, tmp_path_factory):
    write, array = VARIANTS[request.param]
    folder = tmp_path_factory.mktemp("zarr")
    write(folder, array)
    return folder, array


class TestZarr(DriverContract):
    @pytest.fixture
    def volume(self, stored):
        return open_zarr(stored[0], voxel_size=SIZE, offset=(80, 0, 12))

    @pytest.fixture
    def expected(self, stored):
        return stored[1].astype(stored[1].dtype.newbyteorder("="))


class TestThreeStates(ThreeStatesContract):
    @pytest.fixture(params=[v3(ZstdCodec(), Crc32cCodec()), sharded()])
    def folder(self, request, tmp_path):
        array = IDS.copy()
        array[:16, 16:32, :32] = 0
        request.param(tmp_path, array)
        return tmp_path

    @pytest.fixture
    def sparse(self, folder):
        volume = open_zarr(folder, voxel_size=SIZE)
        return volume, IDS, VoxelBox((0, 16, 0), (16, 32, 32))

    @pytest.fixture
    def broken(self, folder):
        chunk = folder / "c" / "0" / "0" / "0"
        data = bytearray(chunk.read_bytes())
        data[-1] ^= 1
        chunk.write_bytes(data)
        return open_zarr(folder, voxel_size=SIZE), VoxelBox((0, 0, 0), (3, 3, 3))


def whole(volume):
    return volume.read(volume.box).data


def test_bool_reads_as_uint8(tmp_path):
    mask = GREY > 100
    by_zarr()(tmp_path, mask)
    volume = open_zarr(tmp_path, voxel_size=SIZE, absent=0)
    assert volume.dtype == np.uint8
    np.testing.assert_array_equal(whole(volume), mask.astype(np.uint8))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("shards", [None, (16, 16, 32)])
def test_chunks_that_are_not_stored_are_certified_absent_never_quiet_zeros(
    tmp_path, version, shards
):
    if shards and version == 2:
        shards = None
    array = GREY.copy()
    array[:8, :16, :16] = 9
    array[8:, 16:, 16:] = 9
    stored = zarr.create_array(
        str(tmp_path),
        shape=array.shape,
        chunks=(8, 16, 16),
        shards=shards,
        dtype="u1",
        fill_value=9,
        zarr_format=version,
    )
    stored[...] = array
    volume = open_zarr(tmp_path, voxel_size=SIZE)
    block = volume.read(volume.box)
    coverage = block.coverage.mask()
    assert not coverage[:8, :16, :16].any()
    assert not coverage[8:, 16:, 16:].any()
    assert block.coverage.n_absent == 8 * 16 * 16 + 15 * 18 * 25
    np.testing.assert_array_equal(block.data[coverage], array[coverage])
    with pytest.raises(AbsentVoxelsError, match="certified absent"):
        volume[volume.box]
    filled = open_zarr(tmp_path, voxel_size=SIZE, absent="fill")
    np.testing.assert_array_equal(filled[filled.box], array)


@pytest.mark.parametrize("fill", ["NaN", None, 0.5, -1, 256, "0xff"])
def test_a_fill_value_that_is_no_value_of_the_volume_is_refused(tmp_path, fill):
    v2(None)(tmp_path, GREY)
    edit(tmp_path / ".zarray", fill_value=fill)
    with pytest.raises(BadInputError, match="no fill value"):
        open_zarr(tmp_path, voxel_size=SIZE, absent="fill")
    assert whole(open_zarr(tmp_path, voxel_size=SIZE, absent=0)).shape == GREY.shape


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_array_in_xyz_order_is_turned_when_its_axes_are_named(tmp_path):
    by_zarr(zarr_format=2, chunks=(8, 16, 4))(tmp_path, GREY.transpose())
    volume = open_zarr(tmp_path, voxel_size=SIZE, axes="xyz")
    np.testing.assert_array_equal(whole(volume), GREY)
    part = VoxelBox((3, 5, 7), (20, 6, 33))
    np.testing.assert_array_equal(volume.read_voxels(part).data, GREY[part.slices])


@pytest.mark.parametrize("shards", [None, (2, 16, 32, 16, 2)])
def test_one_element_of_further_axes_is_taken(tmp_path, shards):
    # Stored t, y, z, x, c; an axis of length 1 needs no choice.
    stack = np.stack([GREY, GREY + 1, GREY + 2], -1).transpose(1, 0, 2, 3)[None]
    stored = zarr.create_array(
        str(tmp_path),
        shape=stack.shape,
        chunks=(1, 16, 8, 16, 2),
        shards=shards,
        dtype="u1",
        dimension_names=["T", "Y", "Z", "X", "C"],
    )
    stored[...] = stack
    for channel in range(3):
        volume = open_zarr(tmp_path, voxel_size=SIZE, take={"c": channel})
        np.testing.assert_array_equal(whole(volume), GREY + np.uint8(channel))
    with pytest.raises(BadInputError, match="axis 'c' of length 3"):
        open_zarr(tmp_path, voxel_size=SIZE)
    with pytest.raises(BadInputError, match="'c': 3"):
        open_zarr(tmp_path, voxel_size=SIZE, take={"c": 3})
    with pytest.raises(BadInputError, match="'z': 1"):
        open_zarr(tmp_path, voxel_size=SIZE, take={"c": 0, "z": 1})


@pytest.mark.parametrize("name", ["resolution", "voxel_size"])
def test_attributes_say_where_the_voxels_lie(tmp_path, name):
    v2(None)(tmp_path, GREY)
    (tmp_path / ".zattrs").write_text(json.dumps({name: [40, 4, 5.5], "offset": [400, 8, 11]}))
    grid = open_zarr(tmp_path).grid
    assert grid.voxel_size == (40, 4, 5.5)
    assert grid.offset == (400, 8, 11)
    with pytest.raises(BadInputError, match="disagree about the voxel size"):
        open_zarr(tmp_path, voxel_size=SIZE)
    assert open_zarr(tmp_path, voxel_size=(40, 4, 5.5)).grid == grid


def test_attributes_follow_the_stored_order_of_axes_and_their_units(tmp_path):
    v3()(tmp_path, GREY.transpose())
    attributes = {"resolution": [4, 8, 0.04], "offset": [12, 0, 1], "units": ["nm", "nm", "um"]}
    edit(tmp_path / "zarr.json", attributes=attributes, dimension_names=["x", "y", "z"])
    volume = open_zarr(tmp_path)
    assert volume.grid.voxel_size == (40, 8, 4)
    assert volume.grid.offset == (1000, 0, 12)
    np.testing.assert_array_equal(whole(volume), GREY)


def test_xarray_names_the_axes_of_version_2(tmp_path):
    v2(None)(tmp_path, GREY.transpose())
    (tmp_path / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": ["x", "y", "z"]}))
    np.testing.assert_array_equal(whole(open_zarr(tmp_path, voxel_size=SIZE)), GREY)
    with pytest.raises(SchemaError, match="does not agree"):
        open_zarr(tmp_path, voxel_size=SIZE, axes="zyx")


def test_a_voxel_size_is_never_guessed(tmp_path):
    v3()(tmp_path, GREY)
    with pytest.raises(SchemaError, match=r"Pass voxel_size=\(z, y, x\) in nm"):
        open_zarr(tmp_path)


def test_arrays_lie_at_paths_in_a_store(tmp_path):
    v2(None)(tmp_path / "em" / "raw", GREY)
    for path in ("em/raw", "/em/raw/"):
        volume = open_zarr(FileStore(tmp_path), path, voxel_size=SIZE)
        np.testing.assert_array_equal(whole(volume), GREY)
        assert volume.source == f"{tmp_path}/em/raw"
    with pytest.raises(ReadFailedError, match="no Zarr array or group") as caught:
        open_zarr(tmp_path, "em/raww", voxel_size=SIZE)
    assert caught.value.reason == "missing"
    with pytest.raises(BadInputError, match="cannot lie in"):
        open_zarr(tmp_path, "em/../../raw", voxel_size=SIZE)


def test_a_shard_index_is_read_once_and_absence_is_asked_again(tmp_path):
    sharded()(tmp_path, IDS)
    store = Counting(tmp_path)
    volume = open_zarr(store, voxel_size=SIZE)
    inside = VoxelBox((0, 0, 0), (8, 16, 16))
    shard = tmp_path / "c" / "0" / "0" / "0"
    data = shard.read_bytes()
    shard.unlink()
    assert volume.read_voxels(inside).coverage.n_absent == inside.size
    shard.write_bytes(data)
    before = len(store.asked)
    for _ in range(3):
        np.testing.assert_array_equal(volume.read_voxels(inside).data, IDS[inside.slices])
    ranges = [request.start for request in store.asked[before:]]
    assert sum(start < 0 for start in ranges) == 1
    assert len(ranges) == 4


def test_a_chunk_that_was_written_again_is_not_remembered(tmp_path):
    v2(numcodecs.Zstd())(tmp_path, IDS)
    volume = open_zarr(tmp_path, voxel_size=SIZE)
    part = VoxelBox((1, 2, 3), (5, 6, 7))
    np.testing.assert_array_equal(volume.read_voxels(part).data, IDS[part.slices])
    zarr.open_array(str(tmp_path))[...] = IDS + np.uint64(1)
    np.testing.assert_array_equal(volume.read_voxels(part).data, (IDS + np.uint64(1))[part.slices])


@pytest.mark.parametrize("write", [v2(numcodecs.Blosc()), sharded()])
def test_arrays_are_read_over_http(tmp_path, segmend_cache, write):
    write(tmp_path / "a", IDS)
    with range_server(tmp_path) as server:
        volume = open_zarr(server.url, "a", voxel_size=SIZE)
        np.testing.assert_array_equal(whole(volume), IDS)
        assert volume.source == f"{server.url}/a"


class Counting(FileStore):
    """Remembers what was asked for."""

    def __init__(self, root):
        super().__init__(root)
        object.__setattr__(self, "asked", [])

    def read_many(self, requests):
        self.asked.extend(requests)
        return super().read_many(requests)
