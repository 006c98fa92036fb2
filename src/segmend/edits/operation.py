"""One merge or split, whoever recorded it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from segmend.core.box import Point
from segmend.core.ids import id_strings

EditKind = Literal["merge", "split"]


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
        facts: Numbers the source measured (voxel counts, purities, contact faces), for metadata.
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
    facts: dict[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EditSet:
    """Edits of one volume and the count of everything left out, by named reason."""

    ops: tuple[EditOp, ...]
    excluded: Counter[str]

    def of_kind(self, kind: EditKind) -> tuple[EditOp, ...]:
        """The edits of one kind, in order."""
        return tuple(op for op in self.ops if op.kind == kind)


def operation_hash(
    dataset: str, version: str, volume: str, *, kind: EditKind, ids: Iterable[int]
) -> str:
    """Operation id of an edit without a server: 16 hex digits of data set, kind and sorted ids."""
    key = "|".join([dataset, version, volume, kind, *id_strings(sorted(ids))])
    return hashlib.sha256(key.encode()).hexdigest()[:16]
