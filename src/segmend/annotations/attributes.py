"""Attributes of one element, taken one by one: plain numbers only, and what is left is kept."""

from __future__ import annotations

import math
import re

from segmend.annotations.elements import Element
from segmend.core.box import Point, Triple
from segmend.core.errors import BadInputError
from segmend.core.ids import MAX_ID

MAX_VOXEL = 2**53
"""Voxel numbers beyond it are no exact float64."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,20}", re.ASCII)


class Attributes:
    """The attributes of an element that have not been taken yet.

    Args:
        element: The element.
        where: File and tree, for messages.
    """

    def __init__(self, element: Element, where: str) -> None:
        self._element, self._where = element, where
        self.rest = dict(element.attributes)

    def text(self, name: str) -> str | None:
        """A text, None if it is not stated."""
        return self.rest.pop(name, None)

    def needed(self, name: str) -> str:
        """A text that must be there.

        Raises:
            BadInputError: if it is not.
        """
        value = self.rest.pop(name, None)
        if value is None:
            raise self.error(f"it has no attribute '{name}'")
        return value

    def number(self, name: str) -> float:
        """A finite number.

        Raises:
            BadInputError: if it is missing, not finite, or written in another way.
        """
        text = self.needed(name)
        value = float(text) if len(text) <= 64 and _NUMBER.fullmatch(text) else math.nan
        if not math.isfinite(value):
            raise self.error(f"'{name}' is {text[:64]!r}, not a finite number")
        return value

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number in a closed range.

        Raises:
            BadInputError: if it is missing, outside or no whole number.
        """
        text = self.needed(name)
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise self.error(f"'{name}' is {text[:64]!r}, not a whole number of {low} to {high}")
        return int(text)

    def id(self, name: str) -> int:
        """An id that fits into uint64."""
        return self.whole(name, 0, MAX_ID)

    def voxel(self, names: tuple[str, str, str]) -> Point:
        """A position in voxels, finite and exact in float64."""
        x, y, z = (self.number(name) for name in names)
        if max(abs(x), abs(y), abs(z)) > MAX_VOXEL:
            raise self.error(f"its position {x, y, z} is no voxel")
        return (x, y, z)

    def counts(self, names: tuple[str, str, str], low: int) -> Triple:
        """Three whole numbers, each at least ``low``."""
        a, b, c = (self.whole(name, low, MAX_VOXEL) for name in names)
        return (a, b, c)

    def nothing_left(self) -> None:
        """Check that the element says no more.

        Raises:
            BadInputError: if it does.
        """
        if self.rest:
            raise self.error(f"its attribute '{next(iter(self.rest))[:80]}' has no known meaning")

    def error(self, found: str) -> BadInputError:
        """An error at this element."""
        return element_error(self._element, self._where, found)


def element_error(element: Element, where: str, found: str) -> BadInputError:
    """An error that names the element, its line, its file and its tree."""
    return BadInputError(
        f"line {element.line} of {where} cannot be read", found=f"<{element.tag[:80]}>: {found}"
    )
