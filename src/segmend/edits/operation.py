"""One merge or split, whoever recorded it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from segmend.core.box import Point
from segmend.core.errors import BadInputError
from segmend.core.ids import as_id, id_strings

EditKind = Literal["merge", "split"]

SideLayer = Literal["neurons", "after", "supervoxels"]
"""Labels that tell the sides of a split apart: the true neurons, the segmentation after the edit,
or the supervoxels that the segment was agglomerated from."""

SideIds = tuple[tuple[int, ...], ...]
"""For each side its ids in such a layer; no id is in two sides."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which segmentation the ids of an edit belong to.

    Attributes:
        dataset: Name of the data set.
        version: Version of the segmentation.
        volume: Which volume of the data set.
    """

    dataset: str
    version: str
    volume: str


@dataclass(frozen=True, slots=True)
class EditOp:
    """One merge (repairs a false split) or split (repairs a false merge).

    Attributes:
        operation_id: Unique within its data set; ours are `operation_hash`.
        kind: ``merge`` or ``split``.
        before_ids: Segments the edit acts on, sorted: two for a merge, one for a split.
        after_ids: What they become, sorted: one for a merge, two or more for a split.
        point_nm: Where, ``(z, y, x)`` nm: the contact of the two sides.
        cluster_id: Final neuron of the base segment; intervals cluster on it.
        dataset: Name of the data set.
        version: Version of the segmentation the ids belong to.
        volume: Which volume of the data set.
        source: Who says so: ``ground-truth overlap``, ``synthetic log``, ...
        timestamp: Seconds since 1970, if the source has one.
        facts: What the source knows or measured (contact faces, roots as decimal strings, cause),
            JSON-able, for metadata.
        sides_in: Splits only: the layer that holds their sides. Of ``neurons`` and ``after`` the
            ``after_ids`` are ids.
        cut: Splits whose sides are in ``supervoxels`` only: the supervoxels of each after-id.
        source_points_nm: Where a proofreader clicked on one side, ``(z, y, x)`` nm.
        sink_points_nm: And on the other.

    Raises:
        BadInputError: if there is a cut without supervoxels or supervoxels without a cut, or if
            not every after-id has some of its own.
    """

    operation_id: str
    kind: EditKind
    before_ids: tuple[int, ...]
    after_ids: tuple[int, ...]
    point_nm: Point
    cluster_id: int
    dataset: str
    version: str
    volume: str
    source: str
    timestamp: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    sides_in: SideLayer = "neurons"
    cut: SideIds = ()
    source_points_nm: tuple[Point, ...] = ()
    sink_points_nm: tuple[Point, ...] = ()

    def __post_init__(self) -> None:
        check_cut(self.sides_in, self.cut, len(self.after_ids))

    @property
    def side_ids(self) -> SideIds:
        """For each after-id its ids in the layer that holds the sides."""
        return self.cut or tuple((after,) for after in self.after_ids)


def check_cut(sides_in: SideLayer, cut: SideIds, sides: int) -> None:
    """Check that a cut says which supervoxels go with which side, and nothing else has a cut.

    Args:
        sides_in: The layer that holds the sides.
        cut: The supervoxels of each side.
        sides: How many sides there are.

    Raises:
        BadInputError: if it does not.
    """
    if sides_in != "supervoxels":
        if cut:
            raise BadInputError(f"a cut names supervoxels, but the sides are in '{sides_in}'")
        return
    if len(cut) != sides or not all(cut):
        raise BadInputError(
            f"a cut into {sides} sides needs that many sets of supervoxels, none of them empty",
            found=f"{len(cut)} sets of {[len(side) for side in cut]} supervoxels",
        )
    ids = Counter(as_id(value) for side in cut for value in side)
    repeated = [value for value, n in ids.items() if n > 1]
    if repeated or 0 in ids:
        raise BadInputError(
            "a supervoxel is on one side of a cut, and 0 is none",
            found="0" if 0 in ids else f"{repeated[0]} is named more than once",
        )


@dataclass(frozen=True, slots=True)
class EditSet:
    """Edits of one volume and the count of everything left out, by named reason."""

    ops: tuple[EditOp, ...]
    excluded: Counter[str]

    def of_kind(self, kind: EditKind) -> tuple[EditOp, ...]:
        """The edits of one kind, in order."""
        return tuple(op for op in self.ops if op.kind == kind)


def edit_set(outcomes: Iterable[EditOp | str]) -> EditSet:
    """Sort outcomes into edits, ordered by kind and segments, and counted reasons against one.

    Raises:
        BadInputError: if two edits share an operation id.
    """
    ops: list[EditOp] = []
    excluded: Counter[str] = Counter()
    for outcome in outcomes:
        if isinstance(outcome, str):
            excluded[outcome] += 1
        else:
            ops.append(outcome)
    repeated = [i for i, n in Counter(op.operation_id for op in ops).items() if n > 1]
    if repeated:
        raise BadInputError(
            f"{len(repeated)} operation ids occur more than once, the first is '{repeated[0]}'",
            fix="An operation id must be unique within its data set",
        )
    ops.sort(key=lambda op: (op.kind, op.before_ids, op.operation_id))
    return EditSet(tuple(ops), excluded)


def operation_hash(
    dataset: str, version: str, volume: str, *, kind: EditKind, ids: Iterable[int]
) -> str:
    """Operation id of an edit without a server: 16 hex digits of data set, kind and sorted ids."""
    key = "|".join([dataset, version, volume, kind, *id_strings(sorted(ids))])
    return hashlib.sha256(key.encode()).hexdigest()[:16]
