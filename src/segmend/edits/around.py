"""Answers about controls, as the ledger keeps them."""

from __future__ import annotations

from typing import Any

import msgspec

from segmend.core.box import Point


class Beside(msgspec.Struct, frozen=True):
    """A neighbour of an edit.

    Attributes:
        base: The edit's root.
        other: The neighbour's.
        base_nm: A voxel of the base at their contact, ``(z, y, x)`` nm.
        other_nm: And of the neighbour.
        point_nm: The contact.
        faces: Voxel faces that they share in the cube.
        merged: A root that holds a part of both at the end of the history; 0: none does.
    """

    base: int
    other: int
    base_nm: Point
    other_nm: Point
    point_nm: Point
    faces: int
    merged: int


class Around(msgspec.Struct, frozen=True):
    """What lies around an edit.

    Attributes:
        cutout_ms: When: just before a merge, just after a split; ms since 1970.
        nearest: Neighbours, nearest first.
        farther: How many more there are.
    """

    cutout_ms: int
    nearest: tuple[Beside, ...]
    farther: int


class SynapseRow(msgspec.Struct, frozen=True):
    """A synapse of a table.

    Attributes:
        id: Its number.
        pre: Presynaptic root at the end of the history.
        post: Postsynaptic root.
        pre_nm: Point on the presynaptic side, ``(z, y, x)`` nm.
        post_nm: Point on the other side.
        centre_nm: The cleft.
        scores: Columns that the record keeps.
    """

    id: int
    pre: int
    post: int
    pre_nm: Point
    post_nm: Point
    centre_nm: Point
    scores: dict[str, Any]


class SynapsesOf(msgspec.Struct, frozen=True):
    """The synapses of a presynaptic root.

    Attributes:
        kept: Those to ask about, by number.
        dropped: How many others there are, by rule.
    """

    kept: tuple[SynapseRow, ...]
    dropped: dict[str, int]
