"""Packing that gives the same bytes every time, with a packer that almost always does.

ISA-L was seen, in three arrays of some ten thousand that busy workers packed, to choose another of
several equally long matches for equal input: another stream, right all the same, two or three bytes
apart. 700,000 calls made to provoke it (memory, stack and cores filled with other work) gave one
stream each, so that its cause is not known. What is promised to be equal is packed until two agree.
"""

from __future__ import annotations

from collections.abc import Callable

from segmend.core.errors import VerificationError

ATTEMPTS = 5
"""Streams that are made at the most; two of three have agreed whenever it happened."""


def agreed(pack: Callable[[], bytes]) -> bytes:
    """The result of a packer on which two calls in a row agree.

    Args:
        pack: Packs the same input at every call.

    Raises:
        VerificationError: if no two of `ATTEMPTS` calls agree.
    """
    before = pack()
    for _ in range(ATTEMPTS - 1):
        again = pack()
        if again == before:
            return again
        before = again
    raise VerificationError(
        f"equal input was packed into different bytes {ATTEMPTS} times in a row",
        fix="Check this machine's memory and processor; see segmend/store/agreed.py",
    )
