"""N5 data sets written by tensorstore, and groups of them."""

import json
import struct

import numcodecs
import numpy as np
import pytest
import tensorstore
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError, ReadFailedError, SchemaError
from segmend.testing.drivers import DriverContract, ThreeStatesContract
from segmend.volumes.codecs.lz4_stream import decode_lz4_stream
from segmend.volumes.drivers.n5 import open_n5

SIZE = (40, 8, 4)
BLOCK = (13, 16, 8)
"""x, y, z."""


def ids(dtype=np.uint64, shape=(23, 34, 41)):
    rng = np.random.default_rng(3)
    coarse = rng.integers(1, np.iinfo(dtype).max, [n // 4 + 1 for n in shape], dtype=dtype)
    for axis in range(3):
        coarse = coarse.repeat(4, axis)
    return np.ascontiguousarray(coarse[tuple(slice(n) for n in shape)])


IDS, GREY = ids(), ids(np.uint8)


def write(folder, array, compression=None, **attributes):
    """By tensorstore, whose axes are N5's: x, y, z."""
    spec = {
        "driver": "n5",
        "kvstore": f"file://{folder}",
        "metadata": {"compression": compression or {"type": "gzip"}, "blockSize": list(BLOCK)},
    }
    dtype = tensorstore.dtype(array.dtype.name)
    stored = tensorstore.open(spec, create=True, dtype=dtype, shape=array.shape[::-1]).result()
    stored.write(array.transpose()).result()
    edit(folder, **attributes)


def edit(folder, **attributes):
    file = folder / "attributes.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(before | attributes))


def as_java_lz4(data, block=100):
    """`LZ4BlockOutputStream` of lz4-java, by its documentation."""
    stream = b""
    for start in [*range(0, len(data), block), len(data)]:
        part = data[start : start + block]
        packed = numcodecs.LZ4().encode(part)[4:] if part else b""
        method = 0x20 if part and len(packed) < len(part) else 0x10
        packed = packed if method == 0x20 else part
        checksum = xxhash.xxh32_intdigest(part, 0x9747B28C) & 0x0FFFFFFF if part else 0
        stream += b"LZ4Block" + struct.pack("<BiiI", method, len(packed), len(part), checksum)
        stream += packed
    return stream


@given(
    flips=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 7)), max_size=4),
    cut=st.integers(0, 2000),
)
@settings(max_examples=200, deadline=None)
def test_a_damaged_lz4_stream_is_an_error_or_does_no_harm(flips, cut):
    plain = GREY.tobytes()[:2000]
    data = bytearray(as_java_lz4(plain))
    for place, bit in flips:
        data[place % len(data)] ^= 1 << bit
    try:
        assert bytes(decode_lz4_stream(bytes(data[:cut]), 2000)) == plain
    except ReadFailedError as error:
        if error.reason != "corrupt":
            raise


def write_java_lz4(folder, array, _compression):
    """Raw blocks, compressed afterwards."""
    write(folder, array, {"type": "raw"})
    edit(folder, compression={"type": "lz4", "blockSize": 100})
    for block in folder.glob("*/*/*"):
        data = block.read_bytes()
        block.write_bytes(data[:16] + as_java_lz4(data[16:]))


def write_zlib(folder, array, _compression):
    write(folder, array, {"type": "raw"})
    edit(folder, compression={"type": "gzip", "useZlib": True})
    for block in folder.glob("*/*/*"):
        data = block.read_bytes()
        block.write_bytes(data[:16] + numcodecs.Zlib().encode(data[16:]))


def write_streamed_zstd(folder, array, _compression):
    """As Java's streams do: frames that do not state their size."""
    import zstandard

    write(folder, array, {"type": "raw"})
    edit(folder, compression={"type": "zstd"})
    for block in folder.glob("*/*/*"):
        data = block.read_bytes()
        stream = zstandard.ZstdCompressor(write_content_size=False).compress(data[16:])
        block.write_bytes(data[:16] + stream)


def write_old(folder, array, _compression):
    """Version 1 named the compression in a field of its own."""
    write(folder, array, {"type": "gzip"})
    edit(folder, compression=None, compressionType="gzip")


BLOSC = {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}

VARIANTS = {
    "raw": (write, IDS, {"type": "raw"}),
    "gzip": (write, IDS, {"type": "gzip"}),
    "bzip2": (write, IDS, {"type": "bzip2"}),
    "xz": (write, IDS, {"type": "xz"}),
    "blosc": (write, IDS, BLOSC),
    "zstd": (write, IDS, {"type": "zstd"}),
    "bytes": (write, GREY, {"type": "gzip"}),
    "signed": (write, ids(np.int16), {"type": "raw"}),
    "float": (write, ids(np.int32).astype(np.float32), {"type": "raw"}),
    "lz4 by Java": (write_java_lz4, IDS, None),
    "zlib": (write_zlib, IDS, None),
    "streamed zstd": (write_streamed_zstd, GREY, None),
    "version 1": (write_old, IDS, None),
}


@pytest.fixture(scope="module", params=VARIANTS)
def stored(request, tmp_path_factory):
    how, array, compression = VARIANTS[request.param]
    folder = tmp_path_factory.mktemp("n5")
    how(folder, array, compression)
    return folder, array


class TestN5(DriverContract):
    @pytest.fixture
    def volume(self, stored):
        return open_n5(stored[0], voxel_size=SIZE)

    @pytest.fixture
    def expected(self, stored):
        return stored[1]


class TestThreeStates(ThreeStatesContract):
    @pytest.fixture
    def sparse(self, tmp_path):
        write(tmp_path, IDS)
        (tmp_path / "0" / "1" / "2").unlink()
        absent = VoxelBox((16, 16, 0), (23, 32, 13))
        return open_n5(tmp_path, voxel_size=SIZE), IDS, absent

    @pytest.fixture
    def broken(self, tmp_path):
        write(tmp_path, IDS)
        block = tmp_path / "0" / "1" / "2"
        block.write_bytes(block.read_bytes()[:-3])
        return open_n5(tmp_path, voxel_size=SIZE), VoxelBox((16, 16, 0), (17, 17, 1))


def whole(volume):
    return volume.read(volume.box).data


def test_blocks_at_the_edge_may_be_whole_or_cut_off(tmp_path):
    write(tmp_path, GREY, {"type": "raw"})
    last = tmp_path / "3" / "2" / "2"
    shape = struct.unpack_from(">HHIII", last.read_bytes())[2:]
    assert shape in {(2, 2, 7), BLOCK}  # x, y, z
    full = np.zeros(BLOCK[::-1], np.uint8)
    full[:7, :2, :2] = GREY[16:, 32:, 39:]
    for data in (full, full[:7, :2, :2]):
        header = struct.pack(">HHIII", 0, 3, *data.shape[::-1])
        last.write_bytes(header + np.ascontiguousarray(data).tobytes())
        np.testing.assert_array_equal(whole(open_n5(tmp_path, voxel_size=SIZE)), GREY)


def test_the_voxel_size_is_read_in_the_order_of_the_axes(tmp_path):
    resolution = {"dimensions": [4, 8, 0.04], "unit": "um"}
    write(tmp_path / "a", GREY, pixelResolution=resolution)
    assert open_n5(tmp_path, "a").grid.voxel_size == (40, 8000, 4000)
    write(tmp_path / "b", GREY, resolution=[4, 8, 40], offset=[12, 16, 400])
    grid = open_n5(tmp_path, "b").grid
    assert grid.voxel_size == (40, 8, 4)
    assert grid.offset == (400, 16, 12)
    with pytest.raises(BadInputError, match="disagree"):
        open_n5(tmp_path, "b", voxel_size=(4, 8, 40))


def test_a_voxel_size_without_a_unit_is_none(tmp_path):
    write(tmp_path, GREY, pixelResolution=[4, 8, 40])
    with pytest.raises(SchemaError, match="how large its voxels are"):
        open_n5(tmp_path)
    assert open_n5(tmp_path, voxel_size=SIZE).grid.voxel_size == SIZE


def test_other_axes_are_named_by_the_caller(tmp_path):
    write(tmp_path, np.ascontiguousarray(GREY.transpose()))
    volume = open_n5(tmp_path, voxel_size=SIZE, axes="zyx")
    np.testing.assert_array_equal(whole(volume), GREY)


def group(folder, *, resolution_per_scale):
    """Three scales, as n5-viewer (one resolution) or as others (each its own) write them."""
    for level, factors in enumerate([(1, 1, 1), (2, 2, 1), (4, 4, 2)]):
        x, y, z = factors
        own = [4 * x, 8 * y, 40 * z] if resolution_per_scale else [4, 8, 40]
        write(
            folder / f"s{level}",
            np.ascontiguousarray(GREY[::z, ::y, ::x]),
            downsamplingFactors=factors,
            pixelResolution={"dimensions": own, "unit": "nm"},
        )


@pytest.mark.parametrize("resolution_per_scale", [True, False])
def test_scales_of_a_group_lie_corner_on_corner(tmp_path, resolution_per_scale):
    group(tmp_path / "em", resolution_per_scale=resolution_per_scale)
    volume = open_n5(tmp_path, "em")
    assert volume.voxel_sizes == ((40, 8, 4), (40, 16, 8), (80, 32, 16))
    np.testing.assert_array_equal(whole(volume), GREY)
    np.testing.assert_array_equal(whole(volume.at((80, 32, 16))), GREY[::2, ::4, ::4])
    assert volume.at((80, 32, 16)).grid.offset == volume.grid.offset == (0, 0, 0)
    third = open_n5(tmp_path, "em/s2")
    assert third.grid == volume.at((80, 32, 16)).grid
    assert third.voxel_sizes == volume.voxel_sizes


def test_older_groups_list_their_factors(tmp_path):
    for level in (0, 1):
        write(tmp_path / f"s{level}", np.ascontiguousarray(GREY[:, :: level + 1, :: level + 1]))
    edit(tmp_path, scales=[[1, 1, 1], [2, 2, 1]], resolution=[4, 8, 40], offset=[0, 80, 400])
    volume = open_n5(tmp_path)
    assert volume.voxel_sizes == ((40, 8, 4), (40, 16, 8))
    assert {scale.grid.offset for scale in volume.scales} == {(400, 80, 0)}
    assert open_n5(tmp_path, voxel_size=(40, 8, 4)).grid == volume.grid


def test_a_downsampled_scale_whose_size_is_in_doubt_is_not_guessed(tmp_path):
    write(tmp_path / "a", GREY, downsamplingFactors=[2, 2, 1], resolution=[4, 8, 40])
    with pytest.raises(SchemaError, match="how large its voxels are"):
        open_n5(tmp_path, "a")
    assert open_n5(tmp_path, "a", voxel_size=(40, 16, 8)).grid.voxel_size == (40, 16, 8)


@pytest.mark.parametrize("there", [(), ("s0", "s1")])
def test_a_scale_that_its_group_does_not_reach_is_not_guessed(tmp_path, there):
    for name in (*there, "s3"):
        factors = [2, 2, 1] if name == "s1" else [1, 1, 1]
        array = np.ascontiguousarray(GREY[:, :: factors[1], :: factors[0]])
        write(tmp_path / name, array, resolution=[4, 8, 40], downsamplingFactors=factors)
    edit(tmp_path / "s3", downsamplingFactors=[8, 8, 4])
    with pytest.raises(SchemaError, match=r"s3 does not say how large"):
        open_n5(tmp_path, "s3")


@pytest.mark.parametrize(
    "attributes",
    [
        {"downsamplingFactors": [2, 2, 2]},
        {"downsamplingFactors": [2, 2]},
        {"downsamplingFactors": None},
        {"pixelResolution": {"dimensions": [12, 8, 40], "unit": "nm"}},
        {"pixelResolution": {"dimensions": [8, 16, 40], "unit": "parsec"}},
        {"pixelResolution": {"dimensions": [8, 16, 40]}},
    ],
)
def test_scales_that_contradict_one_another_are_named(tmp_path, attributes):
    group(tmp_path, resolution_per_scale=True)
    edit(tmp_path / "s1", **attributes)
    with pytest.raises(SchemaError, match="s1"):
        open_n5(tmp_path)


def test_scales_that_say_nothing_are_not_guessed_from_their_shapes(tmp_path):
    write(tmp_path / "s0", GREY, resolution=[4, 8, 40])
    write(tmp_path / "s1", np.ascontiguousarray(GREY[:, ::2, ::2]))
    with pytest.raises(SchemaError, match="does not say how much it is downsampled"):
        open_n5(tmp_path)


def test_nothing_there_is_missing(tmp_path):
    with pytest.raises(ReadFailedError, match="no N5 data set") as caught:
        open_n5(tmp_path, "none")
    assert caught.value.reason == "missing"
