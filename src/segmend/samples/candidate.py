"""A question without pixels."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from segmend.core.box import Box, Point
from segmend.core.errors import BadInputError
from segmend.core.ids import as_id, id_strings
from segmend.core.sample import (
    VIEW_CUBE,
    SampleType,
    combined_hash,
    sample_type,
    source_archive,
)
from segmend.edits.operation import SideIds, SideLayer


@dataclass(frozen=True, slots=True)
class Candidate:
    """One question about a site, with everything needed to draw it except the voxels.

    Attributes:
        kind: Name of the sample type.
        dataset: Name of the data set.
        version: Version of the segmentation the ids belong to.
        volume: Which volume of the data set.
        species: Animal, or ``synthetic``.
        operation_id: The edit behind it: its own, or for controls the one it was derived from
            (or a hash of the site, where there is none).
        key: Tells the samples of one operation apart; empty for edits.
        anchor_nm: The site, ``(z, y, x)`` nm: with jitter the centre of the view.
        segments: Ids in the automatic segmentation: ``(A, B)`` for dual types, ``(A,)`` else.
        sides: ``split_edit`` only: the two after-ids whose parts of the segment are A and B.
        swapped: Whether A and B were exchanged against their natural order (random by seed).
        render_center_nm: Centre of the views, ``(z, y, x)`` nm.
        view_extent_nm: Half-width of the views, nm.
        cluster_id: Final neuron of the base segment; intervals cluster on it.
        facts: Type-specific metadata: root ids, degree, contact faces, sizes, source.
        neurons: True neurons of everything shown, sorted: their lineage.
        parent_nm: Derived samples only: anchor of the edit they were derived from, which decides
            their split in place of their own.
        sides_in: The layer that holds the sides (`EditOp`).
        cut: Where that is ``supervoxels``: those of A and those of B.
    """

    kind: str
    dataset: str
    version: str
    volume: str
    species: str
    operation_id: str
    key: str
    anchor_nm: Point
    segments: tuple[int, ...]
    sides: tuple[int, ...]
    swapped: bool
    render_center_nm: Point
    view_extent_nm: float
    cluster_id: int
    facts: dict[str, Any] = field(default_factory=dict)
    neurons: tuple[int, ...] = ()
    parent_nm: Point | None = None
    sides_in: SideLayer = "neurons"
    cut: SideIds = ()

    @property
    def side_ids(self) -> SideIds:
        """Ids of A and of B in the layer that holds the sides; nothing where there are none."""
        return self.cut or tuple((side,) for side in self.sides)

    @property
    def sample_type(self) -> SampleType:
        """The sample type."""
        return sample_type(self.kind)

    @property
    def archive(self) -> str:
        """The published column ``source_archive``."""
        return source_archive(self.dataset, self.kind)

    @property
    def sample_hash(self) -> str:
        """The published column ``source_archive_sample_hash``: 12 hex digits."""
        return sample_hash(self.operation_id, self.kind, self.key)

    @property
    def combined_hash(self) -> str:
        """The primary key of the row."""
        return combined_hash(self.archive, self.sample_hash)

    @property
    def position_nm(self) -> Point:
        """The point that decides the split, ``(z, y, x)`` nm: the parent's anchor or its own."""
        return self.anchor_nm if self.parent_nm is None else self.parent_nm

    @property
    def view_cube(self) -> Box:
        """The cube that is meshed and drawn."""
        return Box.around(self.render_center_nm, 2 * VIEW_CUBE * self.view_extent_nm)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; ids as decimal strings."""
        data = {name: getattr(self, name) for name in _FIELDS}
        data["segments"] = id_strings(self.segments)
        data["sides"] = id_strings(self.sides)
        data["neurons"] = id_strings(self.neurons)
        data["cut"] = [id_strings(side) for side in self.cut]
        data["cluster_id"] = str(self.cluster_id)
        return data

    def to_text(self) -> str:
        """The object as one line of JSON, the same for equal candidates."""
        return msgspec.json.encode(self.to_json(), order="deterministic").decode()

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Candidate:
        """The candidate that `to_json` wrote."""
        data = dict(data)
        for name in ("segments", "sides", "neurons"):
            data[name] = tuple(as_id(v) for v in data[name])
        data["cut"] = tuple(tuple(as_id(v) for v in side) for side in data["cut"])
        for name in ("anchor_nm", "render_center_nm", "parent_nm"):
            if data[name] is not None:
                z, y, x = data[name]
                data[name] = (float(z), float(y), float(x))
        data["cluster_id"] = as_id(data["cluster_id"])
        return cls(**data)


_FIELDS = tuple(f.name for f in fields(Candidate))


@dataclass(frozen=True, slots=True)
class CandidateSet:
    """Candidates, sorted by their primary key, and the count of everything left out, by reason."""

    candidates: tuple[Candidate, ...]
    excluded: Counter[str]

    def __post_init__(self) -> None:
        keys = Counter(c.combined_hash for c in self.candidates)
        repeated = [key for key, n in keys.items() if n > 1]
        if repeated:
            raise BadInputError(
                f"{len(repeated)} primary keys occur more than once",
                found=f"the first is {repeated[0]}",
                fix="Check that operation ids are unique within the data set",
            )
        ordered = tuple(sorted(self.candidates, key=lambda c: c.combined_hash))
        object.__setattr__(self, "candidates", ordered)

    @property
    def counts(self) -> Counter[str]:
        """Candidates by sample type."""
        return Counter(c.kind for c in self.candidates)


def candidate_set(kind: str, outcomes: Iterable[Candidate | str]) -> CandidateSet:
    """Sort outcomes of one sample type into candidates and counted reasons against one."""
    found, excluded = [], Counter[str]()
    for outcome in outcomes:
        if isinstance(outcome, str):
            excluded[f"{kind}: {outcome}"] += 1
        else:
            found.append(outcome)
    return CandidateSet(tuple(found), excluded)


def sample_hash(operation_id: str, kind: str, key: str) -> str:
    """12 hex digits of md5 over ``operation:type:key`` (reference 1.9)."""
    text = f"{operation_id}:{kind}:{key}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:12]
