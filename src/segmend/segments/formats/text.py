"""Lines of text files from strangers: short ones, of plain numbers."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError

MAX_LINE = 1 << 16
"""Bytes of a line; a longer one is no mesh."""

MAX_NUMBER = 48
"""Characters of a number, on average over those read together."""


@dataclass(slots=True)
class Lines:
    """The lines of a file that hold words, one at a time: a long file is never split at once.

    Attributes:
        data: The file.
        name: What errors call it.
        at: Where to begin; while reading, the end of the last line.
        number: Number of the last line, from 1.
    """

    data: bytes
    name: str
    at: int = 0
    number: int = 0

    def __iter__(self) -> Iterator[list[bytes]]:
        """Words of each line that has any.

        Raises:
            BadInputError: for a line above 64 KiB.
        """
        while self.at < len(self.data):
            stop = self.data.find(b"\n", self.at, self.at + MAX_LINE)
            if stop < 0:
                stop = len(self.data)
                if stop - self.at > MAX_LINE:
                    raise self.error(f"a line is longer than {MAX_LINE} bytes")
            words = self.data[self.at : stop].split()
            self.at = stop + 1
            self.number += 1
            if words:
                yield words

    def error(self, found: str) -> BadInputError:
        """An error at the last line."""
        return BadInputError(f"line {self.number} of {self.name} cannot be read", found=found)


def numbers(words: Sequence[bytes], count: int, lines: Lines) -> list[float]:
    """The first words of a line as numbers.

    Raises:
        BadInputError: if there are fewer, or a word is no plain number.
    """
    if len(words) < count:
        raise lines.error(f"{count} numbers were expected, it has {len(words)}")
    chosen = words[:count]
    together = b"".join(chosen)
    # Python would also read the underscores of 1_000.
    if len(together) <= count * MAX_NUMBER and b"_" not in together:
        with suppress(ValueError):
            return [float(word) for word in chosen]
    shown = b" ".join(w[:MAX_NUMBER] for w in words[:count]).decode("ascii", "replace")
    raise lines.error(f"'{shown}' are no {count} numbers")


def whole(word: bytes, lines: Lines) -> int:
    """A word as a whole number.

    Raises:
        BadInputError: if it is none.
    """
    digits = word[1:] if word[:1] in (b"-", b"+") else word
    if not digits.isdigit() or len(word) > MAX_NUMBER:
        shown = word[:MAX_NUMBER].decode("ascii", "replace")
        raise lines.error(f"'{shown}' is no whole number")
    return int(word)


def fan(corners: Sequence[int], faces: array[int]) -> None:
    """Add a polygon's triangles, all from its first corner (right if it is convex)."""
    for i in range(1, len(corners) - 1):
        faces.extend((corners[0], corners[i], corners[i + 1]))


def face_array(faces: array[int], count: int, name: str) -> NDArray[np.uint32]:
    """Collected corner numbers, checked before they become uint32.

    Args:
        faces: Numbers from 0, three for a triangle; int64.
        count: Vertices there are.
        name: What errors call the file.

    Raises:
        BadInputError: if a number is negative or not below ``count``.
    """
    numbered = np.frombuffer(faces, np.int64).reshape(-1, 3)
    if numbered.size and not 0 <= int(numbered.min()) <= int(numbered.max()) < count:
        bad = numbered[(numbered < 0) | (numbered >= count)][0]
        raise BadInputError(f"a face of {name} names vertex {bad}", found=f"it has {count}")
    return numbered.astype(np.uint32)
