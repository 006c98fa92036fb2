"""Nodes and edges in the plainest writing, as nearly all are: taken together, not one by one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import repeat
from operator import itemgetter

from segmend.annotations.annotation import Edge, Node
from segmend.annotations.elements import Element

XYZ = ("x", "y", "z")

_PLACED = ("id", *XYZ)
_SIZED = (*_PLACED, "radius")
_ENDS = ("source", "target")

_ID, _NUMBER = r"\d{1,19}", r"-?\d{1,9}(?:\.\d{1,9})?"
"""An id, and a number, that can only be what they look like."""

_PLAIN = {
    _PLACED: re.compile(rf"(?:{_ID}(?: {_NUMBER}){{3}}\n)++", re.ASCII),
    _SIZED: re.compile(rf"(?:{_ID}(?: {_NUMBER}){{4}}\n)++", re.ASCII),
    _ENDS: re.compile(rf"(?:{_ID} {_ID}\n)++", re.ASCII),
}
"""One line for each element."""

Stated = Sequence[dict[str, str]]
"""Attributes of elements of one kind, at least one."""


def plain_nodes(stated: Stated, children: tuple[Element, ...] = ()) -> tuple[Node, ...] | None:
    """Nodes whose numbers are written plainly, all with a radius or all without.

    Args:
        stated: What the file says of them.
        children: What each of them holds.

    Returns:
        The nodes; None if one of them wants a closer look.
    """
    sized = "radius" in stated[0]
    names = _SIZED if sized else _PLACED
    words, rest = _words(stated, names), _rest(stated, names)
    if words is None or (not sized and any("radius" in one for one in rest)):
        return None
    step = len(names)
    x, y, z = (map(float, words[axis::step]) for axis in (1, 2, 3))
    radii = map(float, words[4::step]) if sized else repeat(None)
    ids, places = map(int, words[::step]), zip(x, y, z, strict=True)
    return tuple(map(Node, ids, places, radii, rest, repeat(children)))


def plain_edges(stated: Stated) -> tuple[Edge, ...] | None:
    """Edges whose ids are written plainly; None if one of them wants a closer look."""
    words = _words(stated, _ENDS)
    if words is None:
        return None
    return tuple(map(Edge, map(int, words[::2]), map(int, words[1::2]), _rest(stated, _ENDS)))


def _words(stated: Stated, names: tuple[str, ...]) -> list[str] | None:
    """Some attributes of all elements, one after the other; None if one is not plain."""
    try:
        lines = list(map(" ".join, map(itemgetter(*names), stated)))
    except KeyError:
        return None
    text = "\n".join((*lines, ""))
    # A value may hold a line of its own.
    if text.count("\n") != len(lines) or not _PLAIN[names].fullmatch(text):
        return None
    return text.split()


def _rest(stated: Stated, names: tuple[str, ...]) -> list[dict[str, str]]:
    """What each says beyond these attributes, if it has them all."""
    if set(map(len, stated)) == {len(names)}:
        return [{} for _ in stated]
    return [{name: one[name] for name in one if name not in names} for one in stated]
