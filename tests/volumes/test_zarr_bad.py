"""Zarr and N5 that lie: a typed error, in bounded memory and time, and never other voxels."""

import gzip
import json
import struct
import tracemalloc

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError
from segmend.volumes.drivers.n5 import open_n5
from segmend.volumes.drivers.zarr import open_zarr

SIZE = (40, 8, 4)
ARRAY = np.random.default_rng(2).integers(1, 250, (16, 16, 16), dtype=np.uint64)

HUGE = 10**30
DEEP = "[" * 100_000 + "]" * 100_000


def write(folder, version, **how):
    how = {"chunks": (8, 8, 8), "compressors": None} | how
    stored = zarr.create_array(
        str(folder), shape=(16, 16, 16), dtype="u8", fill_value=0, zarr_format=version, **how
    )
    stored[...] = ARRAY


def edit(file, changes):
    document = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in document.items() if v is not DROP}))


DROP = object()

BAD_V2 = {
    "negative shape": {"shape": [-1, 16, 16]},
    "zero shape": {"shape": [0, 16, 16]},
    "huge shape": {"shape": [2**60, 2**60, 2**60]},
    "shape beyond int64": {"shape": [HUGE, 16, 16]},
    "shape times dtype overflows": {"shape": [2**40, 2**20, 2**2]},
    "shape of NaN": {"shape": [float("nan"), 16, 16]},
    "shape of infinity": {"shape": [float("inf"), 16, 16]},
    "shape of text": {"shape": ["16", "16", "16"]},
    "shape that is a number": {"shape": 16},
    "no shape": {"shape": DROP},
    "two axes": {"shape": [16, 16], "chunks": [8, 8]},
    "a hundred axes": {"shape": [1] * 100, "chunks": [1] * 100},
    "chunk of 0": {"chunks": [0, 8, 8]},
    "negative chunk": {"chunks": [8, -8, 8]},
    "chunks of other rank": {"chunks": [8, 8]},
    "huge chunk": {"chunks": [2**20, 2**20, 2**20]},
    "chunk of 4 GiB": {"chunks": [2**10, 2**10, 2**9]},
    "objects": {"dtype": "|O"},
    "strings": {"dtype": "|S8"},
    "dates": {"dtype": "<M8[ns]"},
    "complex": {"dtype": "<c16"},
    "float64": {"dtype": "<f8"},
    "integers of 3 bytes": {"dtype": "<u3"},
    "structure": {"dtype": [["a", "<u8"]]},
    "subarray": {"dtype": "(1000000,)u8"},
    "unknown compressor": {"compressor": {"id": "pcodec"}},
    "compressor without id": {"compressor": {"level": 1}},
    "compressor of text": {"compressor": "zlib"},
    "raw LZMA": {"compressor": {"id": "lzma", "format": 3, "filters": []}},
    "pickle": {"filters": [{"id": "pickle", "protocol": 5}]},
    "pickle as compressor": {"compressor": {"id": "pickle"}},
    "JSON objects": {"filters": [{"id": "json2"}]},
    "two compressors": {"filters": [{"id": "zlib"}], "compressor": {"id": "zstd"}},
    "shuffle of 0": {"filters": [{"id": "shuffle", "elementsize": 0}]},
    "delta of objects": {"filters": [{"id": "delta", "dtype": "|O"}]},
    "order": {"order": "K"},
    "separator that leaves": {"dimension_separator": "/../"},
    "another version": {"zarr_format": 1},
}

GRID = {"name": "regular", "configuration": {"chunk_shape": [8, 8, 8]}}
PLAIN = [{"name": "bytes", "configuration": {"endian": "little"}}]


def shards(**changes):
    plain = {"chunk_shape": [4, 4, 4], "codecs": PLAIN, "index_codecs": PLAIN}
    return {"codecs": [{"name": "sharding_indexed", "configuration": plain | changes}]}


BAD_V3 = {
    "negative shape": {"shape": [-1, 16, 16]},
    "huge shape": {"shape": [2**48, 2**48, 2**48]},
    "shape of text": {"shape": "16"},
    "two axes": {"shape": [16, 16]},
    "chunk of 0": {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 8, 8]}}},
    "no chunks": {"chunk_grid": {"name": "regular"}},
    "irregular chunks": {"chunk_grid": GRID | {"name": "rectangular"}},
    "complex": {"data_type": "complex64"},
    "strings": {"data_type": "string"},
    "data type with configuration": {"data_type": {"name": "numpy.datetime64"}},
    "no codecs": {"codecs": []},
    "unknown codec": {"codecs": [*PLAIN, {"name": "lempel-ziv"}]},
    "no codec to bytes": {"codecs": [{"name": "zstd"}]},
    "endian": {"codecs": [{"name": "bytes", "configuration": {"endian": "middle"}}]},
    "transpose of other rank": {
        "codecs": [{"name": "transpose", "configuration": {"order": [1, 0]}}, *PLAIN]
    },
    "transpose twice the same": {
        "codecs": [{"name": "transpose", "configuration": {"order": [0, 0, 1]}}, *PLAIN]
    },
    "two compressors": {"codecs": [*PLAIN, {"name": "gzip"}, {"name": "zstd"}]},
    "unknown chunk keys": {"chunk_key_encoding": {"name": "fanout"}},
    "separator that leaves": {
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "../"}}
    },
    "names of other rank": {"dimension_names": ["y", "x"]},
    "names that are not spatial": {"dimension_names": ["a", "b", "c"]},
    "names of one axis twice": {"dimension_names": ["z", "z", "x"]},
    "extension that must be understood": {"encryption": {"name": "rot13"}},
    "storage transformers": {"storage_transformers": [{"name": "rot13"}]},
    "node type": {"node_type": "volume"},
    "shards within shards": shards(codecs=shards()["codecs"]),
    "shards of broken chunks": shards(chunk_shape=[3, 4, 4]),
    "shards of other rank": shards(chunk_shape=[4, 4]),
    "shards of nothing": shards(chunk_shape=[4, 4, 0]),
    "compressed index": shards(index_codecs=[*PLAIN, {"name": "gzip"}]),
    "big-endian index": shards(
        index_codecs=[{"name": "bytes", "configuration": {"endian": "big"}}]
    ),
    "index at a middle": shards(index_location="middle"),
    "compressed shards": {"codecs": [*shards()["codecs"], {"name": "gzip"}]},
    "huge index": shards(chunk_shape=[1, 1, 1])
    | {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [512, 512, 512]}}},
}

BAD_N5 = {
    "negative dimensions": {"dimensions": [-1, 16, 16]},
    "huge dimensions": {"dimensions": [2**47, 2**47, 2**47]},
    "blocks of 0": {"blockSize": [0, 8, 8]},
    "blocks of other rank": {"blockSize": [8, 8]},
    "huge blocks": {"blockSize": [2**20, 2**20, 2**20]},
    "no blocks": {"blockSize": DROP},
    "data type": {"dataType": "object"},
    "label multisets": {"dataType": "uint8", "isLabelMultiset": True},
    "no compression": {"compression": DROP},
    "unknown compression": {"compression": {"type": "jpeg"}},
    "compression of text": {"compression": "gzip"},
    "two axes": {"dimensions": [16, 16], "blockSize": [8, 8]},
    "resolution of other rank": {"resolution": [4, 8]},
    "resolution of text": {"resolution": "4"},
    "resolution of NaN": {"resolution": [float("nan"), 8, 40]},
    "negative resolution": {"resolution": [4, -8, 40]},
}

ATTRIBUTES = {
    "dimensions": [16, 16, 16],
    "blockSize": [8, 8, 8],
    "dataType": "uint64",
    "compression": {"type": "raw"},
}


BAD_ARRAYS = [
    pytest.param(version, file, changes, id=f"v{version} {name}")
    for version, file, table in ((2, ".zarray", BAD_V2), (3, "zarr.json", BAD_V3))
    for name, changes in table.items()
]


@pytest.mark.parametrize(("version", "file", "changes"), BAD_ARRAYS)
def test_metadata_of_an_array_that_lie_are_named(tmp_path, version, file, changes):
    write(tmp_path, version)
    edit(tmp_path / file, changes)
    with pytest.raises(SchemaError, match=str(tmp_path)):
        open_zarr(tmp_path, voxel_size=SIZE)


@pytest.mark.parametrize("changes", BAD_N5.values(), ids=BAD_N5)
def test_attributes_of_n5_that_lie_are_named(tmp_path, changes):
    (tmp_path / "attributes.json").write_text(json.dumps(ATTRIBUTES))
    edit(tmp_path / "attributes.json", changes)
    size = None if "resolution" in changes else SIZE
    with pytest.raises(SchemaError, match=str(tmp_path)):
        open_n5(tmp_path, voxel_size=size)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", '{"a": ' + DEEP + "}", "\xff", '{"shape": ' + "9" * 5000 + "}"]
)
@pytest.mark.parametrize(
    ("file", "opener"),
    [("zarr.json", open_zarr), (".zarray", open_zarr), ("attributes.json", open_n5)],
)
def test_what_is_not_json_is_named(tmp_path, text, file, opener):
    (tmp_path / file).write_text(text, encoding="latin-1")
    with pytest.raises(SchemaError, match=file):
        opener(tmp_path, voxel_size=SIZE)


@pytest.mark.parametrize("path", ["..", "../a", "a/../..", "a//b", "a\\b", "a\0"])
@pytest.mark.parametrize("opener", [open_zarr, open_n5])
def test_a_path_stays_in_its_store(tmp_path, path, opener):
    with pytest.raises(BadInputError, match="cannot lie in"):
        opener(tmp_path, path, voxel_size=SIZE)


ONE = ARRAY[:8, :8, :8].tobytes()
ZEROS = bytes(2**26)


def lz4_says(size, data):
    return struct.pack("<I", size) + numcodecs.LZ4().encode(data)[4:]


def blosc_says(size, data):
    packed = bytearray(numcodecs.Blosc("lz4").encode(data))
    packed[4:8] = struct.pack("<I", size)
    return bytes(packed)


BAD_CHUNKS = {
    "raw, short": (None, ONE[:-1]),
    "raw, long": (None, ONE + b"\0"),
    "raw, empty": (None, b""),
    "gzip, cut short": ({"id": "gzip"}, gzip.compress(ONE)[:-9]),
    "gzip, checksum": ({"id": "gzip"}, gzip.compress(ONE)[:-8] + bytes(8)),
    "gzip, bomb": ({"id": "gzip"}, gzip.compress(ZEROS)),
    "gzip, bomb of members": ({"id": "gzip"}, gzip.compress(b"") * 50_000),
    "gzip, second member too much": ({"id": "gzip"}, gzip.compress(ONE) + gzip.compress(b"1")),
    "gzip, rubbish behind": ({"id": "gzip"}, gzip.compress(ONE) + b"rubbish"),
    "gzip, too little": ({"id": "gzip"}, gzip.compress(ONE[:-1])),
    "gzip, empty": ({"id": "gzip"}, b""),
    "zlib, gzip inside": ({"id": "zlib"}, gzip.compress(ONE)),
    "zlib, bomb": ({"id": "zlib"}, numcodecs.Zlib().encode(ZEROS)),
    "bz2, cut short": ({"id": "bz2"}, numcodecs.BZ2().encode(ONE)[:-5]),
    "bz2, bomb": ({"id": "bz2"}, numcodecs.BZ2().encode(ZEROS)),
    "lzma, cut short": ({"id": "lzma"}, numcodecs.LZMA().encode(ONE)[:-5]),
    "lzma, bomb": ({"id": "lzma"}, numcodecs.LZMA(preset=0).encode(ZEROS)),
    "zstd, cut short": ({"id": "zstd"}, numcodecs.Zstd().encode(ONE)[:-5]),
    "zstd, bomb": ({"id": "zstd"}, numcodecs.Zstd().encode(ZEROS)),
    "zstd, states 2^60 bytes": (
        {"id": "zstd"},
        b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 2**60) + bytes(8),
    ),
    "zstd, states a little and holds more": (
        {"id": "zstd"},
        b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", 4096) + numcodecs.Zstd().encode(ZEROS)[9:],
    ),
    "zstd, another magic": ({"id": "zstd"}, b"PK\3\4" + bytes(40)),
    "zstd, five bytes": ({"id": "zstd"}, b"\x28\xb5\x2f\xfd\x20"),
    "blosc, cut short": ({"id": "blosc"}, numcodecs.Blosc().encode(ONE)[:-5]),
    "blosc, header only": ({"id": "blosc"}, numcodecs.Blosc().encode(ONE)[:16]),
    "blosc, half a header": ({"id": "blosc"}, numcodecs.Blosc().encode(ONE)[:7]),
    "blosc, bomb": ({"id": "blosc"}, numcodecs.Blosc().encode(ZEROS)),
    "blosc, states too little": ({"id": "blosc"}, blosc_says(4095, ONE)),
    "blosc, states 4 GiB": ({"id": "blosc"}, blosc_says(2**32 - 1, ONE)),
    "lz4, states 2 GiB": ({"id": "lz4"}, lz4_says(2**31 - 1, ONE)),
    "lz4, states what it does not hold": ({"id": "lz4"}, lz4_says(4096, ONE[:100])),
    "lz4, bomb": ({"id": "lz4"}, numcodecs.LZ4().encode(ZEROS)),
    "lz4, empty": ({"id": "lz4"}, b""),
}


@pytest.mark.parametrize(("compressor", "data"), BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_a_damaged_chunk_is_corrupt_and_takes_no_memory(tmp_path, compressor, data):
    write(tmp_path, 2)
    edit(tmp_path / ".zarray", {"compressor": compressor})
    (tmp_path / "0.0.0").write_bytes(data)
    assert_corrupt(open_zarr(tmp_path, voxel_size=SIZE), "0.0.0")


def assert_corrupt(volume, name):
    voxels = volume.grid.voxels.clip(0, 0, 8).clip(1, 0, 8).clip(2, 0, 8)
    tracemalloc.start()
    try:
        with pytest.raises(ReadFailedError, match=r"chunk \(0, 0, 0\)") as caught:
            volume.read_voxels(voxels)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "corrupt"
    assert name in caught.value.url
    # A cut-short xz stream may still ask for its dictionary of 8 MiB; the bombs hold 64 MiB.
    assert peak < 2**24


CRC_POSITIONS = [0, 1, 100, -5, -4, -1]


@pytest.mark.parametrize("position", CRC_POSITIONS)
def test_a_flipped_bit_is_caught_by_the_checksum(tmp_path, position):
    write(tmp_path, 3, compressors=[Crc32cCodec()])
    chunk = tmp_path / "c" / "0" / "0" / "0"
    flip(chunk, position)
    assert_corrupt(open_zarr(tmp_path, voxel_size=SIZE), "c/0/0/0")


def flip(file, position):
    data = bytearray(file.read_bytes())
    data[position] ^= 16
    file.write_bytes(data)


def write_shards(folder, **how):
    """One shard of eight raw chunks of 4096 bytes, in order, then their index."""
    codec = ShardingCodec(chunk_shape=(8, 8, 8), codecs=[BytesCodec()], **how)
    write(folder, 3, chunks=(16, 16, 16), serializer=codec)
    return folder / "c" / "0" / "0" / "0"


BAD_INDICES = {
    "offset past the end": (2**20, 4096),
    "length past the end": (0, 2**20),
    "offset of 2^63": (2**63, 4096),
    "offset that overflows": (2**64 - 10, 4096),
    "huge length": (0, 2**62),
    "length of 0": (0, 0),
    "absent offset alone": (2**64 - 1, 4096),
    "absent length alone": (0, 2**64 - 1),
    "another chunk": (4096, 4096),
    "overlap": (8192 - 8, 4096),
    "longer than a chunk": (8 * 4096 + 128, 4097),
}


@pytest.mark.parametrize("entry", BAD_INDICES.values(), ids=BAD_INDICES)
def test_a_shard_index_that_lies_is_a_failure(tmp_path, entry):
    shard = write_shards(tmp_path, index_codecs=[BytesCodec()])
    data = bytearray(shard.read_bytes())
    data[8 * 4096 : 8 * 4096 + 16] = struct.pack("<QQ", *entry)
    shard.write_bytes(data + (bytes(4225) if entry[1] == 4097 else b""))
    volume = open_zarr(tmp_path, voxel_size=SIZE)
    with pytest.raises(ReadFailedError) as caught:
        volume.read(volume.box)
    assert caught.value.reason in {"corrupt", "truncated"}
    assert "c/0/0/0" in caught.value.url


@pytest.mark.parametrize("position", CRC_POSITIONS)
def test_a_flipped_bit_in_a_shard_index_is_caught_by_its_checksum(tmp_path, position):
    shard = write_shards(tmp_path)
    flip(shard, 8 * 4096 + position if position >= 0 else position)
    volume = open_zarr(tmp_path, voxel_size=SIZE)
    with pytest.raises(ReadFailedError, match="index of shard") as caught:
        volume.read(volume.box)
    assert caught.value.reason == "corrupt"


@pytest.mark.parametrize("index_location", ["start", "end"])
@pytest.mark.parametrize("size", [0, 5, 131])
def test_a_shard_shorter_than_its_index_is_a_failure(tmp_path, index_location, size):
    shard = write_shards(tmp_path, index_location=index_location)
    shard.write_bytes(shard.read_bytes()[:size])
    volume = open_zarr(tmp_path, voxel_size=SIZE)
    with pytest.raises(ReadFailedError) as caught:
        volume.read(volume.box)
    assert caught.value.reason in {"corrupt", "truncated"}


def block(*dims, mode=0, data=ONE):
    return struct.pack(f">HH{len(dims)}I", mode, len(dims), *dims) + data


BAD_BLOCKS = {
    "empty": b"",
    "header cut short": block(8, 8, 8)[:11],
    "too little data": block(8, 8, 8, data=ONE[:-1]),
    "too much data": block(8, 8, 8, data=ONE + b"\0"),
    "smaller than due": block(8, 8, 7, data=ONE[: 7 * 64 * 8]),
    "larger than due": block(8, 8, 16, data=ONE * 2),
    "huge": block(2**32 - 1, 2**32 - 1, 2**32 - 1),
    "of nothing": block(0, 0, 0, data=b""),
    "two axes": block(8, 64),
    "variable length": block(8, 8, 8, mode=1),
    "object": block(8, 8, 8, mode=2),
    "another mode": block(8, 8, 8, mode=7),
}


@pytest.mark.parametrize("data", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_an_n5_block_that_lies_is_corrupt(tmp_path, data):
    (tmp_path / "attributes.json").write_text(json.dumps(ATTRIBUTES))
    (tmp_path / "0" / "0").mkdir(parents=True)
    (tmp_path / "0" / "0" / "0").write_bytes(data)
    assert_corrupt(open_n5(tmp_path, voxel_size=SIZE), "0/0/0")


def test_a_refused_file_is_a_failure_not_an_absent_one(tmp_path):
    write(tmp_path, 2)
    (tmp_path / "0.0.0").unlink()
    (tmp_path / "0.0.0").mkdir()
    volume = open_zarr(tmp_path, voxel_size=SIZE)
    with pytest.raises(ReadFailedError) as caught:
        volume.read(volume.box)
    assert caught.value.reason == "refused"
