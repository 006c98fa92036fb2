"""Which rows are for training, validation and test: a pure function of position and a named rule.

Cubes of a grid whose origin comes from the data set's record are assigned to splits by a keyed
hash. A row may be dropped by a guard, never moved; derived rows take their parent's position
(design, section 3, "Splits").
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from segmend.core.box import Box, Point, Triple, picometres
from segmend.core.errors import BadInputError
from segmend.core.random import keyed_unit
from segmend.core.sample import SPLITS, Split
from segmend.samples.candidate import Candidate

RuleKind = Literal["cubes", "cubes-guarded", "volume"]

LEAKS: dict[RuleKind, tuple[str, ...]] = {
    "cubes": ("view", "lineage"),
    "cubes-guarded": (),
    "volume": (),
}
"""Leaks that a rule leaves open; a plan must accept each by name. ``view``: the picture of a
training row may show voxels of a test row's cube; ``lineage``: a neuron may occur in both."""


@dataclass(frozen=True, slots=True)
class NamedRule:
    """A rule with all its numbers.

    Attributes:
        kind: How rows are dealt.
        cube_nm: Width of a cube, nm.
        fractions: Expected share of cubes for train, validation and test.
    """

    kind: RuleKind
    cube_nm: float
    fractions: tuple[float, float, float]


NAMED_RULES = {
    "cubes-50um": NamedRule("cubes", 50_000, (0.8, 0.1, 0.1)),
    "cubes-80um": NamedRule("cubes", 80_000, (0.75, 0.125, 0.125)),
    "cubes-80um-guarded": NamedRule("cubes-guarded", 80_000, (0.75, 0.125, 0.125)),
}
"""The rules of ConnectomeBench2 v1 and v2 as far as they are documented (reference 1.10), and ours.

v2 draws the split of a cube by a hash that is not published, and v1 shuffles the cubes that hold a
point, which depends on the rows: sizes and shares are theirs, but which cube is in which split
follows from our own keyed hash."""


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How positions are assigned to splits.

    Attributes:
        kind: ``cubes``, ``cubes-guarded`` or ``volume``.
        cube_nm: Width of a cube, nm; not used by ``volume``.
        origin_nm: Corner of cube (0, 0, 0), ``(z, y, x)`` nm, from the record of the data set.
        fractions: Expected share of cubes for train, validation and test; they add up to 1.
        salt: Key of the hash.
        guard_nm: ``cubes-guarded`` only: half-width of what a row may show around its render
            centre beyond its view cube (its EM window); the guard uses the larger of the two.
        volume_splits: ``volume`` only: the split of each volume.

    Raises:
        BadInputError: for values outside their range, naming the field.
    """

    kind: RuleKind
    cube_nm: float = 0.0
    origin_nm: Point = (0.0, 0.0, 0.0)
    fractions: tuple[float, float, float] = (0.75, 0.125, 0.125)
    salt: str = "segmend"
    guard_nm: float = 0.0
    volume_splits: Mapping[str, Split] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in LEAKS:
            raise BadInputError(
                f"there is no split rule '{self.kind}'", fix=f"Known: {', '.join(LEAKS)}"
            )
        if self.kind == "volume":
            _check_volumes(self.volume_splits)
        else:
            _check_cubes(self)


@dataclass(frozen=True, slots=True)
class SplitAssignment:
    """What `assign_splits` decided.

    Attributes:
        splits: Split of every kept row, by primary key.
        dropped: Reason for every dropped row, by primary key.
        lost: Split that each dropped row would have been in, by primary key.
    """

    splits: dict[str, Split]
    dropped: dict[str, str]
    lost: dict[str, Split] = field(default_factory=dict)

    @property
    def reasons(self) -> Counter[str]:
        """Dropped rows by ``split: reason``."""
        return Counter(f"{self.lost[key]}: {reason}" for key, reason in self.dropped.items())


def assign_splits(candidates: Iterable[Candidate], rule: SplitRule) -> SplitAssignment:
    """Assign candidates to splits.

    Args:
        candidates: In any order.
        rule: The rule.

    Returns:
        The split of every row, which depends on its own position and the rule alone. Under
        ``cubes-guarded`` rows whose view reaches a cube of another split are dropped, and then
        training rows that share a segment or a neuron with a remaining test row.

    Raises:
        BadInputError: under ``volume``, if a candidate's volume has no split.
    """
    rows = sorted(candidates, key=lambda candidate: candidate.combined_hash)
    splits = {row.combined_hash: split_of(row, rule) for row in rows}
    if rule.kind != "cubes-guarded":
        return SplitAssignment(splits, {})
    dropped = {
        row.combined_hash: "view reaches a cube of another split"
        for row in rows
        if _reaches_other_split(row, rule, splits[row.combined_hash])
    }
    kept = [row for row in rows if row.combined_hash not in dropped]
    tested = {mark for row in kept if splits[row.combined_hash] == "test" for mark in _lineage(row)}
    for row in kept:
        if splits[row.combined_hash] == "train" and not tested.isdisjoint(_lineage(row)):
            dropped[row.combined_hash] = "lineage occurs in test"
    kept_splits = {key: split for key, split in splits.items() if key not in dropped}
    return SplitAssignment(kept_splits, dropped, {key: splits[key] for key in dropped})


def split_of(candidate: Candidate, rule: SplitRule) -> Split:
    """The split of one candidate, by position alone.

    Raises:
        BadInputError: under ``volume``, if the candidate's volume has no split.
    """
    if rule.kind != "volume":
        return _cube_split(candidate, rule, _cube_at(picometres(candidate.position_nm), rule))
    if candidate.volume not in rule.volume_splits:
        raise BadInputError(
            f"volume '{candidate.volume}' has no split",
            found=f"volumes with one: {', '.join(sorted(rule.volume_splits))}",
            fix="Name the split of every volume",
        )
    return rule.volume_splits[candidate.volume]


def _cube_at(point_pm: Triple, rule: SplitRule) -> Triple:
    origin, (width, _, _) = picometres(rule.origin_nm), picometres((rule.cube_nm, 0, 0))
    z, y, x = ((p - o) // width for p, o in zip(point_pm, origin, strict=True))
    return (z, y, x)


def _cube_split(candidate: Candidate, rule: SplitRule, cube: Triple) -> Split:
    draw = keyed_unit(rule.salt, candidate.dataset, candidate.volume, *cube)
    train, validation, _ = rule.fractions
    if draw < train:
        return "train"
    return "validation" if draw < train + validation else "test"


def _reaches_other_split(candidate: Candidate, rule: SplitRule, own: Split) -> bool:
    shown = [candidate.view_cube]
    if rule.guard_nm:
        shown.append(Box.around(candidate.render_center_nm, 2 * rule.guard_nm))
    for box in shown:
        first = _cube_at(box.start_pm, rule)
        z, y, x = box.stop_pm
        last = _cube_at((z - 1, y - 1, x - 1), rule)
        zs, ys, xs = (range(a, b + 1) for a, b in zip(first, last, strict=True))
        cubes = itertools.product(zs, ys, xs)
        if any(_cube_split(candidate, rule, cube) != own for cube in cubes):
            return True
    return False


def _lineage(candidate: Candidate) -> set[tuple[str, str, int]]:
    neurons = {candidate.cluster_id, *candidate.neurons, *candidate.sides}
    return {
        *(("segment", f"{candidate.dataset}|{candidate.volume}", i) for i in candidate.segments),
        *(("neuron", f"{candidate.dataset}|{candidate.volume}", i) for i in neurons),
    }


def _check_volumes(volume_splits: Mapping[str, Split]) -> None:
    wrong = {volume: split for volume, split in volume_splits.items() if split not in SPLITS}
    if wrong or not volume_splits:
        raise BadInputError(
            "a split by volume must name the split of every volume",
            found=f"not splits: {wrong}" if wrong else "no volume is named",
            fix=f"Splits: {', '.join(SPLITS)}",
        )


def _check_cubes(rule: SplitRule) -> None:
    if not 1 <= rule.cube_nm < math.inf:
        raise BadInputError(f"'cube_nm' must be at least 1 nm, got {rule.cube_nm}")
    if not 0 <= rule.guard_nm < math.inf:
        raise BadInputError(f"'guard_nm' must be 0 or more, got {rule.guard_nm}")
    picometres(rule.origin_nm)
    if min(rule.fractions) < 0 or not math.isclose(sum(rule.fractions), 1, abs_tol=1e-9):
        raise BadInputError(
            "'fractions' must be three shares (train, validation, test) that add up to 1",
            found=repr(rule.fractions),
        )
