"""Hostile and damaged precomputed volumes: a typed error, in bounded memory, never voxels."""

import gzip
import io
import json
import struct
import tracemalloc

import compresso
import crackle
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from segmend.core.errors import ReadFailedError, SchemaError
from segmend.volumes.drivers.precomputed import open_precomputed

MEMORY_BYTES = 96 * 2**20
"""More than anything here may take; the bombs would inflate to 256 MiB."""

SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "preshift_bits": 0,
    "hash": "identity",
    "minishard_bits": 0,
    "shard_bits": 0,
    "minishard_index_encoding": "raw",
    "data_encoding": "raw",
}

SCALE = {
    "key": "s",
    "size": [8, 8, 8],
    "resolution": [4, 4, 40],
    "chunk_sizes": [[8, 8, 8]],
    "encoding": "raw",
}

LABELS = np.arange(512, dtype=np.uint64).reshape(8, 8, 8) // 100 + 2**60


def write(folder, chunk=None, dtype="uint8", channels=1, **scale):
    """A volume of one chunk of 8 x 8 x 8 voxels, whatever it holds."""
    info = {"data_type": dtype, "num_channels": channels, "scales": [SCALE | scale]}
    (folder / "info").write_text(json.dumps(info))
    (folder / "s").mkdir(exist_ok=True)
    if chunk is not None:
        name = "0.shard" if "sharding" in scale else "0-8_0-8_0-8"
        (folder / "s" / name).write_bytes(chunk)
    return folder


BAD_INFO = {
    "not JSON": (b"{", "does not describe"),
    "no object": (b"[]", "does not describe"),
    "nested 100,000 deep": (b'{"scales":' + b"[" * 100_000, "does not describe"),
    "not text": (b"\xff\xfe\x00", "does not describe"),
    "empty": (b"", "does not describe"),
    "meshes": ({"@type": "neuroglancer_legacy_mesh"}, "no volume"),
    "no scales": ({"scales": []}, "no scales"),
    "channels missing": ({"num_channels": None}, "num_channels"),
    "no channels": ({"num_channels": 0}, "num_channels"),
    "a billion channels": ({"num_channels": 10**9}, "num_channels"),
    "unknown dtype": ({"data_type": "uint128"}, "data_type"),
    "dtype as code": ({"data_type": "O"}, "data_type"),
}

BAD_SCALE = {
    "negative size": ({"size": [8, -8, 8]}, "no volume has size"),
    "no size": ({"size": [0, 8, 8]}, "no volume has size"),
    "fractional size": ({"size": [8, 8, 8.5]}, "size"),
    "size beyond int64": ({"size": [2**70, 8, 8]}, "size|range"),
    "size times dtype beyond int64": ({"size": [2**30, 2**30, 2**4]}, "no volume has size"),
    "two axes": ({"size": [8, 8]}, "size"),
    "resolution NaN": ({"resolution": [4, float("nan"), 4]}, "does not describe"),
    "resolution infinite": ({"resolution": [4, 1e999, 4]}, "does not describe|finite"),
    "resolution negative": ({"resolution": [4, -4, 4]}, "must be positive"),
    "resolution zero": ({"resolution": [0, 4, 4]}, "must be positive"),
    "resolution as text": ({"resolution": ["4", 4, 4]}, "resolution"),
    "offset out of range": ({"voxel_offset": [2**60, 0, 0]}, "out of range"),
    "no chunk sizes": ({"chunk_sizes": []}, "chunk sizes"),
    "empty chunk": ({"chunk_sizes": [[8, 0, 8]]}, "no chunk has"),
    "negative chunk": ({"chunk_sizes": [[8, -8, 8]]}, "no chunk has"),
    "chunk of a terabyte": ({"chunk_sizes": [[2**14, 2**14, 2**14]]}, "too large"),
    "unknown encoding": ({"encoding": "pickle"}, "cannot be read"),
    "jpeg of int16": ({"encoding": "jpeg", "dtype": "int16"}, "cannot hold"),
    "labels of uint8": ({"encoding": "compressed_segmentation"}, "cannot hold"),
    "no block size": (
        {"encoding": "compressed_segmentation", "dtype": "uint64"},
        "block_size is None",
    ),
    "empty block": (
        {
            "encoding": "compressed_segmentation",
            "dtype": "uint64",
            "compressed_segmentation_block_size": [8, 8, 0],
        },
        "block_size is",
    ),
    "key that climbs": ({"key": "../../etc"}, "outside the volume"),
    "absolute key": ({"key": "/etc"}, "outside the volume"),
    "key with a backslash": ({"key": "a\\b"}, "outside the volume"),
    "key empty": ({"key": ""}, "outside the volume"),
    "60 minishard bits": ({"sharding": SHARDING | {"minishard_bits": 60}}, "bit counts"),
    "negative bits": ({"sharding": SHARDING | {"shard_bits": -1}}, "bit counts"),
    "80 bits together": (
        {"sharding": SHARDING | {"shard_bits": 50, "minishard_bits": 30}},
        "bit counts",
    ),
    "unknown hash": ({"sharding": SHARDING | {"hash": "md5"}}, "hash 'md5'"),
    "unknown data encoding": ({"sharding": SHARDING | {"data_encoding": "zstd"}}, "data_encoding"),
    "unknown sharding": ({"sharding": {"@type": "v2"}}, "no neuroglancer_uint64_sharded_v1"),
    "sharding without a hash": (
        {"sharding": {k: v for k, v in SHARDING.items() if k != "hash"}},
        "hash",
    ),
    "two chunk sizes in shards": (
        {"sharding": SHARDING, "chunk_sizes": [[8, 8, 8], [4, 4, 4]]},
        "chunk sizes",
    ),
}


@pytest.mark.parametrize("case", BAD_INFO)
def test_an_info_that_lies_is_refused(tmp_path, case):
    info, match = BAD_INFO[case]
    whole = {"data_type": "uint8", "num_channels": 1, "scales": [SCALE]}
    data = info if isinstance(info, bytes) else json.dumps(whole | info).encode()
    (tmp_path / "info").write_bytes(data)
    with pytest.raises(SchemaError, match=match):
        open_precomputed(tmp_path)


@pytest.mark.parametrize("case", BAD_SCALE)
def test_a_scale_that_lies_is_refused(tmp_path, case):
    scale, match = BAD_SCALE[case]
    with pytest.raises(SchemaError, match=match):
        open_precomputed(write(tmp_path, **scale))


def test_an_info_of_many_megabytes_is_refused(tmp_path):
    (tmp_path / "info").write_bytes(b" " * (2**24 + 1))
    with pytest.raises(SchemaError, match="too large"):
        open_precomputed(tmp_path)


def png(array, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", **options)
    return file.getvalue()


def jpeg(array, colours="GRAY"):
    return simplejpeg.encode_jpeg(np.ascontiguousarray(array[..., None]), 90, colours)


def cseg(*words):
    return np.array(words, "<u4").tobytes()


GREY = np.arange(512, dtype=np.uint8).reshape(64, 8)
CSEG = {
    "encoding": "compressed_segmentation",
    "dtype": "uint64",
    "compressed_segmentation_block_size": [8, 8, 8],
}
BOMB = gzip.compress(bytes(2**28), 1)
COMPRESSO = compresso.compress(LABELS.T)
CRACKLE = crackle.compress(np.asfortranarray(LABELS.T))


def flipped(data, at):
    damaged = bytearray(data)
    damaged[at] ^= 0x55
    return bytes(damaged)


BAD_CHUNK = {
    "raw, empty": (b"", {}),
    "raw, short": (bytes(511), {}),
    "raw, long": (bytes(513), {}),
    "raw, gzip that nobody announced": (gzip.compress(bytes(512)), {}),
    "raw, huge": (bytes(2**20), {}),
    "jpeg, empty": (b"", {"encoding": "jpeg"}),
    "jpeg, a PNG": (png(GREY), {"encoding": "jpeg"}),
    "jpeg, cut": (jpeg(GREY)[:-30], {"encoding": "jpeg"}),
    "jpeg, other size": (jpeg(GREY[:32]), {"encoding": "jpeg"}),
    "jpeg, 65,500 pixels wide": (
        jpeg(GREY).replace(struct.pack(">HH", 64, 8), struct.pack(">HH", 65500, 65500), 1),
        {"encoding": "jpeg"},
    ),
    "jpeg, colours": (
        simplejpeg.encode_jpeg(np.zeros((64, 8, 3), np.uint8), 90, "RGB"),
        {"encoding": "jpeg"},
    ),
    "png, empty": (b"", {"encoding": "png"}),
    "png, cut": (png(GREY)[:-40], {"encoding": "png"}),
    "png, a bit flipped": (flipped(png(GREY), 60), {"encoding": "png"}),
    "png, other size": (png(GREY[:32]), {"encoding": "png"}),
    "png, 2**31 pixels wide": (
        png(GREY).replace(struct.pack(">II", 8, 64), struct.pack(">II", 2**31 - 1, 64), 1),
        {"encoding": "png"},
    ),
    "png, 16 bits": (png(GREY.astype(np.uint16)), {"encoding": "png"}),
    "png, 8 bits where 16 are said": (png(GREY), {"encoding": "png", "dtype": "uint16"}),
    "png, colours": (png(np.zeros((64, 8, 3), np.uint8)), {"encoding": "png"}),
    "labels, empty": (b"", CSEG),
    "labels, no whole words": (b"12345", CSEG),
    "labels, no headers": (cseg(1, 0), CSEG),
    "labels, channel past the end": (cseg(2**31, 0, 0, 7, 0), CSEG),
    "labels, channel at its own offset": (cseg(0, 0, 0, 7, 0), CSEG),
    "labels, table past the end": (cseg(1, 0xFFFFFF, 0, 7, 0), CSEG),
    "labels, half an entry": (cseg(1, 4, 0, 7, 0), CSEG),
    "labels, 3 bits": (cseg(1, 3 << 24 | 2, 2, *[0] * 100), CSEG),
    "labels, 255 bits": (cseg(1, 255 << 24 | 2, 2, *[0] * 100), CSEG),
    "labels, values past the end": (cseg(1, 1 << 24 | 2, 2**31, 7, 0), CSEG),
    "labels, values that end early": (cseg(1, 8 << 24 | 2, 2, *[0] * 100), CSEG),
    "labels, index past the table": (cseg(1, 32 << 24 | 2, 2, *[2**32 - 1] * 512), CSEG),
    "compresso, empty": (b"", {"encoding": "compresso", "dtype": "uint64"}),
    "compresso, cut": (
        COMPRESSO[: len(COMPRESSO) // 2],
        {"encoding": "compresso", "dtype": "uint64"},
    ),
    "compresso, other width": (COMPRESSO, {"encoding": "compresso", "dtype": "uint32"}),
    "compresso, other size": (
        compresso.compress(LABELS[:4].T),
        {"encoding": "compresso", "dtype": "uint64"},
    ),
    "crackle, empty": (b"", {"encoding": "crackle", "dtype": "uint64"}),
    "crackle, cut": (CRACKLE[:-20], {"encoding": "crackle", "dtype": "uint64"}),
    "crackle, a bit flipped": (flipped(CRACKLE, 45), {"encoding": "crackle", "dtype": "uint64"}),
    "crackle, header flipped": (flipped(CRACKLE, 9), {"encoding": "crackle", "dtype": "uint64"}),
}


@pytest.mark.parametrize("case", BAD_CHUNK)
def test_a_damaged_chunk_is_corrupt_never_voxels(tmp_path, case):
    chunk, scale = BAD_CHUNK[case]
    volume = open_precomputed(write(tmp_path, chunk, **scale))
    assert_fails(volume, "corrupt")


def shard(index, data=b"", *, entry=None):
    """A file of one minishard: its entry, the data, its index."""
    index = np.array(index, "<u8").tobytes() if not isinstance(index, bytes) else index
    start = len(data)
    return struct.pack("<QQ", *(entry or (start, start + len(index)))) + data + index


RAW = bytes(512)
GZIPPED = {"sharding": SHARDING | {"data_encoding": "gzip"}}
GZIPPED_INDEX = {"sharding": SHARDING | {"minishard_index_encoding": "gzip"}}

BAD_SHARD = {
    "index past the end": (shard([0, 0, 512], RAW, entry=(512, 2**20)), {}, "truncated"),
    "index of 2**63 bytes": (shard([0, 0, 512], RAW, entry=(0, 2**63)), {}, "corrupt"),
    "index of a gigabyte": (shard([0, 0, 512], RAW, entry=(0, 2**30)), {}, "corrupt"),
    "index that ends before it starts": (shard([0, 0, 512], RAW, entry=(600, 8)), {}, "corrupt"),
    "index of half an entry": (shard([0, 0, 512, 7], RAW), {}, "corrupt"),
    "index that lists a key twice": (shard([0, 0, 0, 0, 256, 256], RAW), {}, "corrupt"),
    "chunk past the end": (shard([0, 2**40, 512], RAW), {}, "truncated"),
    "chunk before the start": (shard([0, 2**64 - 64, 512], RAW), {}, "corrupt"),
    "chunk of 2**63 bytes": (shard([0, 0, 2**63], RAW), {}, "corrupt"),
    "chunk of no bytes": (shard([0, 0, 0], RAW), {}, "corrupt"),
    "offsets that wrap around": (shard([0, 1, 2**63, 2**63, 512, 2**63], RAW), {}, "corrupt"),
    "file of 8 bytes": (bytes(8), {}, "truncated"),
    "empty file": (b"", {}, "truncated"),
    "gzip index that is none": (shard([0, 0, 512], RAW), GZIPPED_INDEX, "corrupt"),
    "gzip index that is a bomb": (shard(BOMB), GZIPPED_INDEX, "corrupt"),
    "gzip index that is cut": (
        shard(gzip.compress(struct.pack("<3Q", 0, 0, 512))[:-3], RAW),
        GZIPPED_INDEX,
        "corrupt",
    ),
    "gzip data that is none": (shard([0, 0, 512], RAW), GZIPPED, "corrupt"),
    "gzip data that is a bomb": (shard([0, 0, len(BOMB)], BOMB), GZIPPED, "corrupt"),
    "gzip data with a wrong checksum": (
        shard([0, 0, 29], flipped(gzip.compress(RAW), -8)[:29]),
        GZIPPED,
        "corrupt",
    ),
}


@pytest.mark.parametrize("case", BAD_SHARD)
def test_a_shard_that_lies_is_a_failure_never_voxels(tmp_path, case):
    data, scale, reason = BAD_SHARD[case]
    volume = open_precomputed(write(tmp_path, data, **({"sharding": SHARDING} | scale)))
    assert_fails(volume, reason)


def assert_fails(volume, reason):
    tracemalloc.start()
    try:
        with pytest.raises(ReadFailedError) as failed:
            volume.read(volume.box)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()
    assert failed.value.reason == reason
    assert "chunk" in str(failed.value) or "index" in str(failed.value)
    assert failed.value.url.startswith(volume.driver.store.url)


GOOD_CHUNKS = {
    "jpeg": (jpeg(GREY), {"encoding": "jpeg"}),
    "png": (png(GREY), {"encoding": "png"}),
    "compressed_segmentation": (
        cseg(1, 2 << 24 | 34, 2, *range(32), 5, 6, 7, 8, 9, 10, 11, 12),
        CSEG,
    ),
    "compresso": (COMPRESSO, {"encoding": "compresso", "dtype": "uint64"}),
    "crackle": (CRACKLE, {"encoding": "crackle", "dtype": "uint64"}),
    "gzip in a shard": (
        shard([0, 0, len(gzip.compress(RAW))], gzip.compress(RAW)),
        GZIPPED,
    ),
}


@pytest.mark.parametrize("encoding", GOOD_CHUNKS)
def test_flipped_bits_and_cuts_end_in_an_error_or_in_voxels_of_the_right_shape(tmp_path, encoding):
    """A flip that a format without checksum cannot notice gives other voxels, never a crash."""
    chunk, scale = GOOD_CHUNKS[encoding]
    rng = np.random.default_rng(len(encoding))
    outcomes = {"error": 0, "voxels": 0}
    trials = 12 if encoding in ("compresso", "crackle") else 60
    volume = open_precomputed(write(tmp_path, chunk, **scale))
    volume.read(volume.box)
    for trial in range(trials):
        damaged = bytearray(chunk)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        if trial % 3 == 0:
            damaged = damaged[: rng.integers(len(damaged))]
        try:
            volume = open_precomputed(write(tmp_path, bytes(damaged), **scale))
            assert volume.read(volume.box).data.shape == (8, 8, 8)
            outcomes["voxels"] += 1
        except ReadFailedError:
            outcomes["error"] += 1
    assert outcomes["error"] >= trials // 3 - 1
