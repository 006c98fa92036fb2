"""What hostile or broken servers may send: a named error in bounded memory, or a sound mesh."""

import json
import struct
import tracemalloc

import DracoPy
import numpy as np
import pytest

from segmend.core.errors import BadInputError, ReadFailedError, SegmendError
from segmend.segments import mesh_source, multires_meshes
from segmend.segments.formats.draco import MAX_FACES, claimed_counts, decode_draco
from segmend.segments.formats.legacy import legacy_fragment
from segmend.segments.formats.multires import manifest_levels, multires_info
from segmend.segments.formats.stl import parse_stl
from segmend.segments.served import open_meshes

INFO = {
    "@type": "neuroglancer_multilod_draco",
    "vertex_quantization_bits": 10,
    "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
    "lod_scale_multiplier": 1.0,
}
SHARDS = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "preshift_bits": 0,
    "hash": "identity",
    "minishard_bits": 1,
    "shard_bits": 1,
    "minishard_index_encoding": "raw",
    "data_encoding": "raw",
}

BAD_INFO = {
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "a list": b"[]",
    "nested for ever": b'{"x":' * 100_000,
    "bits of 12": {**INFO, "vertex_quantization_bits": 12},
    "bits as text": {**INFO, "vertex_quantization_bits": "10"},
    "bits missing": {k: v for k, v in INFO.items() if k != "vertex_quantization_bits"},
    "short transform": {**INFO, "transform": [1, 0, 0]},
    "flat transform": {**INFO, "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]},
    "infinite transform": b"".join([json.dumps(INFO).encode().replace(b"[1,", b"[1e999,")]),
    "transform that overflows": {**INFO, "transform": [1e300, *INFO["transform"][1:]]},
    "negative multiplier": {**INFO, "lod_scale_multiplier": -1},
    "sharding of another kind": {**INFO, "sharding": {**SHARDS, "@type": "x"}},
    "sharding with 200 bits": {**INFO, "sharding": {**SHARDS, "shard_bits": 200}},
    "sharding without a hash": {**INFO, "sharding": {"@type": SHARDS["@type"]}},
}


@pytest.mark.parametrize("name", BAD_INFO)
def test_a_bad_info_is_refused(name, tmp_path):
    info = BAD_INFO[name]
    (tmp_path / "info").write_bytes(info if isinstance(info, bytes) else json.dumps(info).encode())
    with pytest.raises(BadInputError, match=r"info|sharding"):
        open_meshes(tmp_path)


@pytest.mark.parametrize("folder", ["../elsewhere", "/etc", "a/../../b", "."])
def test_a_volume_cannot_lead_out_of_its_folder(folder, tmp_path):
    (tmp_path / "info").write_text(json.dumps({"mesh": folder}))
    with pytest.raises(BadInputError):
        open_meshes(tmp_path)


def manifest(
    chunk=(8, 8, 8), origin=(0, 0, 0), scales=(1,), offsets=((0, 0, 0),), sizes=((10,),), count=None
):
    out = struct.pack("<3f3fI", *chunk, *origin, len(scales) if count is None else count)
    out += np.array(scales, "<f4").tobytes() + np.array(offsets, "<f4").tobytes()
    out += np.array([len(s) for s in sizes], "<u4").tobytes()
    for s in sizes:
        out += np.zeros((3, len(s)), "<u4").tobytes() + np.array(s, "<u4").tobytes()
    return out


GOOD = manifest()
NAN = float("nan")
BAD_MANIFESTS = {
    "empty": b"",
    "cut in its head": GOOD[:20],
    "cut in its lists": GOOD[:-1],
    "trailing bytes": GOOD + b"\0",
    "no level": manifest(count=0),
    "33 levels": manifest(scales=(1,) * 33, offsets=((0, 0, 0),) * 33, sizes=((),) * 33),
    "claims 4 billion levels": manifest(count=2**32 - 1),
    "claims 4 billion fragments": GOOD[:44] + b"\xff\xff\xff\xff" + GOOD[48:],
    "nodes of no size": manifest(chunk=(8, 0, 8)),
    "nodes of negative size": manifest(chunk=(8, -1, 8)),
    "node size not a number": manifest(chunk=(8, NAN, 8)),
    "infinite origin": manifest(origin=(float("inf"), 0, 0)),
    "scale not a number": manifest(scales=(NAN,)),
    "negative scale": manifest(scales=(-1,)),
    "scale below zero by little": manifest(scales=(-1e-9,)),
    "origin that overflows": manifest(origin=(3e38, 0, 0)),
    "offset not a number": manifest(offsets=((0, NAN, 0),)),
    "17 MiB": manifest(sizes=((0,) * (17 << 16),)),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_a_bad_manifest_is_a_failed_read_by_name(name, tmp_path):
    (tmp_path / "info").write_text(json.dumps(INFO))
    (tmp_path / "5.index").write_bytes(BAD_MANIFESTS[name])
    with pytest.raises(ReadFailedError, match=r"5\.index is damaged") as caught:
        open_meshes(tmp_path).mesh(5)
    assert caught.value.reason == "corrupt"


def test_the_manifest_that_bad_ones_are_made_from_is_good():
    (level,) = manifest_levels(GOOD, multires_info(json.dumps(INFO).encode(), "info"), "it")
    assert level.ranges.tolist() == [[0, 10]]


def test_fragments_that_lie_before_their_shard_are_a_failed_read(multires, ball, raw_shards):
    made = multires(sharding=raw_shards)
    manifest_bytes, data = made.encoded([ball(100, (200, 200, 200), 2)])
    made.write(4, [ball(100, (200, 200, 200), 2)])
    made.shards[4] = (manifest_bytes[:-4] + b"\xff\xff\xff\x7f", data)
    made._write_shards()
    with pytest.raises(ReadFailedError, match="before the shard"):
        open_meshes(made.folder).mesh(4)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\1\0",
        b"\1\0\0\0" + b"\0" * 11,
        b"\xff\xff\xff\xff" + b"\0" * 24,
        b"\1\0\0\0" + b"\0" * 13,
        b"\1\0\0\0" + b"\0" * 12 + struct.pack("<3I", 0, 0, 1),
        b"\0\0\0\0" + struct.pack("<3I", 0, 0, 0),
    ],
)
def test_a_bad_legacy_fragment_is_a_failed_read_by_name(data, legacy, ball):
    points, faces = ball(100, (0, 0, 0), 2)
    legacy.write(3, [(points, faces), (points, faces)])
    (legacy.folder / "3:0:1").write_bytes(data)
    with pytest.raises(ReadFailedError, match="3:0:1 is damaged"):
        open_meshes(legacy.folder).mesh(3)
    with pytest.raises(BadInputError, match="it"):
        legacy_fragment(data, "it")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"fragments": 3}', '{"fragments": [1]}', '{"fragments": ["../x"]}']
)
def test_a_bad_legacy_manifest_is_a_failed_read_by_name(content, legacy, ball):
    legacy.write(3, [ball(100, (0, 0, 0), 2)])
    (legacy.folder / "3:0").write_text(content)
    with pytest.raises(ReadFailedError, match="3:0 is damaged"):
        open_meshes(legacy.folder).mesh(3)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20])
def test_served_vertices_that_are_no_place_are_a_failed_read(value, legacy, ball):
    points, faces = ball(100, (0, 0, 0), 2)
    points[4, 1] = value
    legacy.write(3, [(points, faces)])
    with pytest.raises(ReadFailedError, match="finite"):
        open_meshes(legacy.folder).mesh(3)


def test_a_legacy_fragment_that_is_missing_is_never_a_hole(legacy, ball):
    points, faces = ball(100, (0, 0, 0), 4)
    legacy.write(3, [(points, faces[::2]), (points, faces[1::2])])
    (legacy.folder / "3:0:0").unlink()
    with pytest.raises(ReadFailedError, match="manifest names it") as caught:
        open_meshes(legacy.folder).mesh(3)
    assert caught.value.reason == "missing"


def test_a_segment_without_surface_is_an_empty_mesh(legacy, tmp_path):
    legacy.write(3, [])
    assert open_meshes(legacy.folder).mesh(3).empty
    (tmp_path / "info").write_text(json.dumps(INFO))
    (tmp_path / "3.index").write_bytes(manifest(sizes=((0, 0),)))
    assert open_meshes(tmp_path).mesh(3).empty


def test_a_mesh_above_the_limit_is_not_fetched(multires, legacy, ball, monkeypatch):
    monkeypatch.setattr(mesh_source, "MAX_BYTES", 1000)
    mesh = ball(100, (200, 200, 200), 8)
    for folder in (multires().write(3, [mesh]).folder, legacy.write(3, [mesh]).folder):
        with pytest.raises(BadInputError, match="too large"):
            open_meshes(folder).mesh(3)


def test_small_fragments_of_many_triangles_are_not_decoded_without_end(multires, ball, monkeypatch):
    monkeypatch.setattr(multires_meshes, "MAX_FACES", 100)
    folder = multires().write(3, [ball(200, (300, 300, 300), 8)]).folder
    with pytest.raises(BadInputError, match="more than 100 triangles"):
        open_meshes(folder).mesh(3)


@pytest.fixture(scope="module")
def encoded(ball):
    """One sphere in every way DracoPy writes, with whole-number positions of 10 bits."""
    points, faces = ball(500, (511, 511, 511), 12)
    whole, faces = np.rint(points).astype(np.uint32), faces.astype(np.uint32)
    levels = [DracoPy.encode(whole, faces, compression_level=level) for level in (0, 1, 5, 7, 10)]
    return [
        *levels,
        DracoPy.encode(whole, faces, preserve_order=True),
        DracoPy.encode(whole, faces, create_metadata=True),
        DracoPy.encode(whole.astype(np.float32), faces, quantization_bits=10),
    ]


def test_every_encoding_is_decoded_to_its_triangles(encoded, ball):
    points, faces = ball(500, (511, 511, 511), 12)
    expected = np.unique(np.rint(points), axis=0)
    for data in encoded[:7]:
        found, triangles = decode_draco(data, "it")
        assert np.array_equal(np.unique(found, axis=0), expected)
        assert len(triangles) == len(faces)


def test_damaged_draco_gives_a_mesh_or_a_named_error(encoded):
    """A crash of the decoder would end this process; memory is watched by the next test."""
    rng = np.random.default_rng(7)
    refused = 0
    for case in range(1200):
        data = bytearray(encoded[case % len(encoded)])
        for _ in range(int(rng.integers(1, 6))):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        if case % 3 == 0:
            del data[int(rng.integers(len(data))) :]
        try:
            points, faces = decode_draco(bytes(data), "it")
            assert not faces.size or faces.max() < len(points)
        except SegmendError as error:
            assert "it" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 600


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def lying(data, faces, points):
    """A mesh whose header claims other counts; the order of the two depends on the method."""
    true_faces, true_points = claimed_counts(data, "it")
    edgebreaker = data[8] == 1
    old = (true_points, true_faces) if edgebreaker else (true_faces, true_points)
    new = (points, faces) if edgebreaker else (faces, points)
    at = 12 if edgebreaker else 11
    before = b"".join(map(varint, old))
    assert data[at:].startswith(before)
    return data[:at] + b"".join(map(varint, new)) + data[at + len(before) :]


@pytest.mark.parametrize("method", [1, 5])
@pytest.mark.parametrize("faces", [0, 10**6, MAX_FACES, MAX_FACES + 1, 2**32 - 1, 2**63])
@pytest.mark.parametrize("points", [0, 10**6, 3 * MAX_FACES + 1, 2**32 - 1])
def test_draco_that_lies_about_its_counts_is_refused(encoded, method, faces, points):
    with pytest.raises(BadInputError, match="it"):
        decode_draco(lying(encoded[method], faces, points), "it")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DRACO",
        b"DRACO\x02\x02\x01\x01\x00\x00",
        b"DRACO\x01\x01\x01\x01\x00\x00" + b"\0" * 50,
        b"DRACO\x02\x02\x00\x01\x00\x00" + b"\0" * 50,
        b"DRACO\x02\x02\x01\x07\x00\x00" + b"\0" * 50,
        b"DRACO\x02\x02\x01\x01\x00\x00\x00" + b"\xff" * 50,
        b"DRACO\x02\x02\x01\x01\x00\x80" + b"\xff" * 9 + b"\x01" + b"\0" * 50,
        b"DRACO\x02\x02\x01\x01\x00\x80\x00" + b"\x00\x01\x01x" * 50 + b"\0" * 9,
        b"PNG" * 30,
    ],
)
def test_what_is_no_draco_mesh_is_refused_from_its_header(data):
    with pytest.raises(BadInputError, match="it"):
        decode_draco(data, "it")


def test_vertices_beyond_the_stated_bits_are_a_failed_read(multires, ball):
    made = multires(bits=10).write(3, [ball(100, (200, 200, 200), 4)])
    info = json.loads((made.folder / "info").read_text())
    wide = multires(bits=16)
    wide.write(3, [ball(100, (200, 200, 200), 4)])
    (made.folder / "info").write_text(json.dumps(info))
    with pytest.raises(ReadFailedError, match="whole numbers from 0 to 1023"):
        open_meshes(made.folder).mesh(3)


def test_a_large_stl_takes_memory_in_proportion_to_its_size():
    n = 1_000_000
    record = np.zeros(n, [("n", "<f4", 3), ("v", "<f4", (3, 3)), ("a", "<u2")])
    record["v"] = np.random.default_rng(0).random((n, 3, 3), np.float32)
    data = b"\0" * 80 + struct.pack("<I", n) + record.tobytes()
    tracemalloc.start()
    assert len(parse_stl(data, "it").faces) == n
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Corners in float32 and float64, and faces: four times the file's 50 bytes a triangle.
    assert peak < 200 * n
