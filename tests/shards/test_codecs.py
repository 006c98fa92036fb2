from __future__ import annotations

import io
import multiprocessing
import pickle
import struct
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError, SegmendError
from segmend.core.sample import GEOMETRY_SHAPE
from segmend.shards.codecs import decode_geometry, decode_png, encode_geometry
from segmend.shards.rows import decode_row
from segmend.shards.zipped import Member, zip_of
from segmend.testing.rows import random_row

GEOMETRY = decode_row(random_row("merge_edit", 1), ["geometry"])["geometry"]
PACKED = encode_geometry(GEOMETRY)


def savez(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=True, **arrays)
    return file.getvalue()


def zipped(content: bytes, *, name: str = "arr_0.npy", times: int = 1) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(times):
            archive.writestr(name if i == 0 else f"{name}{i}", content)
    return file.getvalue()


def npy(header: str, data: bytes, *, magic: bytes = b"\x93NUMPY\x01\x00") -> bytes:
    text = header.encode()
    return magic + struct.pack("<H", len(text)) + text + data


# --- geometry ---------------------------------------------------------------------------------


def test_the_standard_library_finds_nothing_wrong_with_our_zip() -> None:
    with zipfile.ZipFile(io.BytesIO(PACKED)) as archive:
        assert archive.testzip() is None
        (info,) = archive.infolist()
    assert (info.filename, info.date_time) == ("arr_0.npy", (1980, 1, 1, 0, 0, 0))
    assert info.file_size == GEOMETRY.nbytes + 128
    assert info.external_attr >> 16 == 0o100644


def test_an_npz_is_at_most_a_tenth_larger_than_numpys() -> None:
    arrays = [decode_row(random_row("merge_edit", i), ["geometry"])["geometry"] for i in range(3)]
    ours = sum(len(encode_geometry(array)) for array in arrays)
    assert ours <= 1.1 * sum(len(savez(arr_0=array)) for array in arrays)


def test_a_file_too_large_for_a_plain_zip_is_refused() -> None:
    member = Member("x", 2**32, 0, deflated=True, data=memoryview(b""))
    with pytest.raises(BadInputError, match="too large"):
        zip_of(member)


def test_bytes_do_not_depend_on_threads_or_process() -> None:
    rows = [random_row("split_edit", i) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda i: random_row("split_edit", i), range(4))) == rows
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned) as pool:
        assert pool.submit(random_row, "split_edit", 3).result() == rows[3]


def test_numpy_reads_what_we_write() -> None:
    with np.load(io.BytesIO(PACKED), allow_pickle=False) as archive:
        assert list(archive) == ["arr_0"]
        np.testing.assert_array_equal(archive["arr_0"], GEOMETRY)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_we_read_what_numpy_writes(save) -> None:
    file = io.BytesIO()
    save(file, GEOMETRY)  # the published rows are written this way
    np.testing.assert_array_equal(decode_geometry(file.getvalue()), GEOMETRY)


def test_every_half_survives_the_round_trip() -> None:
    every = np.arange(2**16, dtype=np.uint16)
    every = np.resize(every, GEOMETRY_SHAPE).view(np.float16)
    back = decode_geometry(encode_geometry(every))
    assert back.view(np.uint16).tobytes() == every.view(np.uint16).tobytes()


def test_the_layout_of_the_array_in_memory_does_not_matter() -> None:
    assert encode_geometry(np.asfortranarray(GEOMETRY)) == PACKED


@pytest.mark.parametrize("array", [GEOMETRY[:2], GEOMETRY.astype(np.float32), GEOMETRY[..., :100]])
def test_another_shape_or_dtype_is_not_written(array) -> None:
    with pytest.raises(SchemaError, match="shape or dtype"):
        encode_geometry(array)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(savez(other=GEOMETRY), id="another key"),
        pytest.param(savez(arr_0=GEOMETRY, arr_1=GEOMETRY), id="two arrays"),
        pytest.param(savez(arr_0=GEOMETRY.astype(np.float32)), id="another dtype"),
        pytest.param(savez(arr_0=GEOMETRY.astype(">f2")), id="big-endian"),
        pytest.param(savez(arr_0=GEOMETRY[:, :6]), id="another shape"),
        pytest.param(savez(arr_0=GEOMETRY.reshape(7, 3, 224, 224)), id="axes exchanged"),
        pytest.param(savez(arr_0=np.asfortranarray(GEOMETRY)), id="Fortran order"),
        pytest.param(savez(arr_0=np.array([object], object)), id="pickled objects"),
        pytest.param(zipped(pickle.dumps(print) + bytes(2_107_500)), id="a bare pickle"),
        pytest.param(zipped(bytes(2_107_500)), id="no npy"),
    ],
)
def test_other_content_is_a_schema_error(payload: bytes) -> None:
    with pytest.raises(SchemaError):
        decode_geometry(payload)


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped(bytes(300_000_000))
    monkeypatch.setattr("segmend.shards.codecs.isal_zlib", None)  # inflating would fail
    with pytest.raises(SchemaError, match="300000000 bytes unpacked"):
        decode_geometry(bomb)


def test_a_stream_longer_than_declared_is_damage() -> None:
    size = 2_107_392 + 128
    packed = zipped(bytes(size + 1_000_000))
    lying = packed.replace(struct.pack("<I", size + 1_000_000), struct.pack("<I", size))
    with pytest.raises(ReadFailedError, match="declared"):
        decode_geometry(lying)


@pytest.mark.parametrize("cut", [0, 1, 21, 22, 100, len(PACKED) // 2, len(PACKED) - 1])
def test_truncated_bytes_are_damage(cut: int) -> None:
    with pytest.raises(ReadFailedError):
        decode_geometry(PACKED[:cut])


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, len(PACKED) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_changes_nothing(at: int, bit: int) -> None:
    flipped = bytearray(PACKED)
    flipped[at] ^= 1 << bit
    try:
        back = decode_geometry(bytes(flipped))
    except (ReadFailedError, SchemaError):
        return
    # Dates, attributes and the like carry no pixels.
    assert back.tobytes() == GEOMETRY.tobytes()


@settings(max_examples=60, deadline=None)
@given(
    descr=st.sampled_from(["<f2", ">f2", "<f8", "|O", "<V2", "|S2"]),
    fortran=st.booleans(),
    shape=st.lists(st.integers(-1, 2**40), min_size=0, max_size=5).map(tuple),
    extra=st.sampled_from(["", "'x': 1", "'shape': (1,)"]),
)
def test_a_lying_npy_header_is_refused(descr, fortran, shape, extra) -> None:
    header = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, {extra}}}\n"
    with pytest.raises(SchemaError):
        decode_geometry(zipped(npy(header, GEOMETRY.tobytes())))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_garbage_is_a_typed_error(payload: bytes) -> None:
    for decode in (decode_geometry, lambda p: decode_png(p, (224, 224))):
        with pytest.raises(SegmendError):
            decode(payload)


@settings(max_examples=60, deadline=None)
@given(end=st.binary(min_size=18, max_size=18), entry=st.binary(min_size=42, max_size=42))
def test_lying_zip_directories_are_typed_errors(end: bytes, entry: bytes) -> None:
    payload = PACKED[:-22] + b"PK\x05\x06" + end
    start = len(PACKED) - 22 - 46 - len("arr_0.npy")
    payloads = [payload, PACKED[: start + 4] + entry + PACKED[start + 46 :]]
    for lying in payloads:
        with pytest.raises(SegmendError):
            decode_geometry(lying)
