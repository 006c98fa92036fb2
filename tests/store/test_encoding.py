import bz2
import gzip
import zlib
from collections.abc import Callable
from itertools import product

import brotli
import numcodecs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmend.core.errors import ReadFailedError
from segmend.store.encoding import decompress

# Independent encoders: the standard library, Google's Brotli, numcodecs' zstd.
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": lambda data: bytes(numcodecs.Zstd().encode(data)) if data else b"",
}


@given(data=st.binary(min_size=1, max_size=3000), encoding=st.sampled_from(sorted(ENCODERS)))
def test_decoding_gives_what_was_encoded(data: bytes, encoding: str) -> None:
    assert decompress(ENCODERS[encoding](data), encoding, limit=len(data)) == data


@pytest.mark.parametrize("encoding", sorted(ENCODERS))
def test_a_bomb_stops_at_the_limit(encoding: str) -> None:
    bomb = ENCODERS[encoding](bytes(5_000_000))
    with pytest.raises(ReadFailedError, match="more than 1000 bytes") as caught:
        decompress(bomb, encoding, limit=1000)
    assert caught.value.reason == "refused"


@pytest.mark.parametrize("encoding", sorted(ENCODERS))
@pytest.mark.parametrize("lost", [1, 4, 9, 200])
def test_a_cut_stream_is_corrupt(encoding: str, lost: int) -> None:
    packed = ENCODERS[encoding](bytes(range(256)) * 40)
    with pytest.raises(ReadFailedError) as caught:
        decompress(packed[:-lost], encoding, limit=20_000)
    assert caught.value.reason == "corrupt"


def test_no_flipped_bit_of_gzip_data_passes() -> None:
    data = bytes(range(256)) * 8
    good = gzip.compress(data, mtime=0)
    passed = []
    # The ten bytes of header hold a time and an operating system, which say nothing about the data.
    for at, bit in product(range(10, len(good)), range(8)):
        packed = bytearray(good)
        packed[at] ^= 1 << bit
        try:
            assert decompress(bytes(packed), "gzip", limit=len(data)) == data
        except ReadFailedError:
            continue
        passed.append((at, bit))
    # Deflate ends where it ends; the rest of that byte, before checksum and size, means nothing
    # (RFC 1951, 3.2.3). Python's own reader passes over the same bits.
    assert {at for at, _ in passed} <= {len(good) - 9}
    assert len(passed) < 8
    for at, bit in passed:
        packed = bytearray(good)
        packed[at] ^= 1 << bit
        assert gzip.decompress(packed) == data


def test_gzip_members_are_joined_and_garbage_after_them_is_corrupt() -> None:
    two = gzip.compress(b"one") + gzip.compress(b"two")
    assert decompress(two, "gzip", limit=6) == b"onetwo"
    assert decompress(two + bytes(12), "gzip", limit=6) == b"onetwo"
    with pytest.raises(ReadFailedError) as caught:
        decompress(two + b"garbage", "gzip", limit=100)
    assert caught.value.reason == "corrupt"


def test_endless_empty_members_are_refused() -> None:
    with pytest.raises(ReadFailedError, match="members"):
        decompress(gzip.compress(b"") * 5000, "gzip", limit=10)


@pytest.mark.parametrize("packed", [b"", zlib.compress(b"x"), bz2.compress(b"x")])
def test_what_is_no_gzip_is_corrupt(packed: bytes) -> None:
    with pytest.raises(ReadFailedError) as caught:
        decompress(packed, "gzip", limit=10)
    assert caught.value.reason == "corrupt"


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ReadFailedError, match="snappy") as caught:
        decompress(b"x", "snappy", limit=10)
    assert caught.value.reason == "refused"
