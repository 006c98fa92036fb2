"""Equal bytes from a packer that now and then gives others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from segmend.core.errors import VerificationError
from segmend.store.agreed import ATTEMPTS, agreed


def packer(*streams: bytes) -> tuple[Iterator[bytes], object]:
    rest = iter(streams)
    return rest, lambda: next(rest)


@pytest.mark.parametrize(
    "streams",
    [(b"a", b"a"), (b"b", b"a", b"a"), (b"a", b"b", b"a", b"a"), (b"c", b"b", b"a", b"a")],
)
def test_one_stream_comes_whatever_was_tried_before(streams: tuple[bytes, ...]) -> None:
    rest, pack = packer(*streams)
    assert agreed(pack) == b"a"
    assert not list(rest)  # and no call more than that


def test_a_packer_that_never_agrees_is_an_error() -> None:
    _, pack = packer(*(bytes([i]) for i in range(ATTEMPTS)))
    with pytest.raises(VerificationError, match="packed into different bytes"):
        agreed(pack)
