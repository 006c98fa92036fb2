"""Byte codecs on damaged bytes: a typed error or bytes of the right number, and nothing else."""

import gzip

import google_crc32c
import numcodecs
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.errors import ReadFailedError
from segmend.volumes.codecs.blocks import decode_zstd, zstd_content_size
from segmend.volumes.codecs.chain import Compressor, Crc32c, Filter, decode_bytes

PLAIN = np.random.default_rng(4).integers(0, 9, 3000, dtype=np.uint16).repeat(2).tobytes()

CHECKED = {
    "gzip": ([Compressor("gzip")], gzip.compress(PLAIN)),
    "zlib": ([Compressor("zlib")], numcodecs.Zlib().encode(PLAIN)),
    "bz2": ([Compressor("bz2")], numcodecs.BZ2().encode(PLAIN)),
    "lzma": ([Compressor("lzma")], numcodecs.LZMA().encode(PLAIN)),
    "zstd with checksum": ([Compressor("zstd")], numcodecs.Zstd(checksum=True).encode(PLAIN)),
    "crc32c": (
        [Crc32c()],
        PLAIN + google_crc32c.value(PLAIN).to_bytes(4, "little"),
    ),
    "fletcher32": (
        [Filter((("id", "fletcher32"),), extra=4)],
        numcodecs.Fletcher32().encode(PLAIN),
    ),
}

UNCHECKED = {
    f"blosc {name}": ([Compressor("blosc")], numcodecs.Blosc(name, blocksize=2048).encode(PLAIN))
    for name in ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
} | {
    "zstd": ([Compressor("zstd")], numcodecs.Zstd().encode(PLAIN)),
    "zstd without its size": (
        [Compressor("zstd")],
        zstandard.ZstdCompressor(write_content_size=False).compress(PLAIN),
    ),
    "lz4": ([Compressor("lz4")], numcodecs.LZ4().encode(PLAIN)),
    "delta in zstd": (
        [
            Filter((("id", "delta"), ("dtype", "<u2"))),
            Compressor("zstd"),
        ],
        numcodecs.Zstd().encode(numcodecs.Delta("<u2").encode(np.frombuffer(PLAIN, "<u2"))),
    ),
}

FLIPS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=4)
CUTS = st.one_of(st.none(), st.floats(0, 1))
MORE = st.one_of(st.just(b""), st.binary(max_size=20))


def decoded(codecs, data):
    """What comes out, or None if it is refused as corrupt; any other error is the test's."""
    try:
        return bytes(decode_bytes(codecs, data, len(PLAIN)))
    except ReadFailedError as error:
        return None if error.reason == "corrupt" else b"another reason"


def damaged(data, flips, cut, more):
    changed = bytearray(data)
    for place, bit in flips:
        changed[int(place * len(data))] ^= 1 << bit
    if cut is not None:
        changed = changed[: int(cut * len(data))]
    return bytes(changed + more)


@pytest.mark.parametrize(
    ("codecs", "data"), (CHECKED | UNCHECKED).values(), ids=CHECKED | UNCHECKED
)
def test_whole_data_decode(codecs, data):
    assert bytes(decode_bytes(codecs, bytes(data), len(PLAIN))) == PLAIN


@pytest.mark.parametrize(("codecs", "data"), UNCHECKED.values(), ids=UNCHECKED)
@given(flips=FLIPS, cut=CUTS, more=MORE)
@settings(max_examples=150, deadline=None)
def test_damage_without_a_checksum_is_an_error_or_bytes_of_the_right_number(
    codecs, data, flips, cut, more
):
    found = decoded(codecs, damaged(bytes(data), flips, cut, more))
    assert found is None or len(found) == len(PLAIN)


@pytest.mark.parametrize(("codecs", "data"), CHECKED.values(), ids=CHECKED)
@given(flips=FLIPS, cut=CUTS, more=MORE)
@settings(max_examples=150, deadline=None)
def test_damage_under_a_checksum_is_an_error_or_does_no_harm(codecs, data, flips, cut, more):
    assert decoded(codecs, damaged(bytes(data), flips, cut, more)) in (None, PLAIN)


@pytest.mark.parametrize(
    ("codecs", "data"), (CHECKED | UNCHECKED).values(), ids=CHECKED | UNCHECKED
)
@pytest.mark.parametrize("more", [-2, 2, 2**20])
def test_another_size_than_expected_is_an_error(codecs, data, more):
    with pytest.raises(ReadFailedError) as caught:
        decode_bytes(codecs, bytes(data), len(PLAIN) + more)
    assert caught.value.reason == "corrupt"


@given(size=st.integers(1, 3000), level=st.integers(-5, 19), checksum=st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_size_in_a_zstd_header_is_read_as_zstd_reads_it(size, level, checksum):
    data = zstandard.ZstdCompressor(level=level, write_checksum=checksum).compress(PLAIN[:size])
    assert zstd_content_size(data) == zstandard.frame_content_size(data) == size
    assert bytes(decode_zstd(data, size)) == PLAIN[:size]


@pytest.mark.parametrize("size", [2**16 + 255, 2**16 + 256, 2**20])
def test_the_size_in_a_zstd_header_is_read_from_every_width(size):
    data = zstandard.ZstdCompressor().compress(bytes(size))
    assert zstd_content_size(data) == size
    assert not decode_zstd(data, size).any()


def test_streams_one_after_the_other_are_one():
    halves = gzip.compress(PLAIN[:777]) + gzip.compress(PLAIN[777:]) + bytes(12)
    assert bytes(decode_bytes([Compressor("gzip")], halves, len(PLAIN))) == PLAIN
