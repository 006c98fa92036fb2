"""From settings to a frozen plan: every row of every shard, in order, under one content hash."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from segmend.build.engines.engine import Engine
from segmend.build.engines.serial import Serial
from segmend.build.frozen import content_hash
from segmend.build.settings import PlanSettings
from segmend.build.survey import Survey, survey
from segmend.build.units import ShardUnit, deal
from segmend.core.errors import NoSamplesError, PlanError
from segmend.core.random import keyed_digest
from segmend.core.sample import IMAGE_SIZE, Split
from segmend.render.site import Layers, ViewStyle
from segmend.samples.candidate import Candidate
from segmend.samples.cap import cap
from segmend.samples.splits import LEAKS, SplitRule, assign_splits


@dataclass(frozen=True, slots=True)
class Plan:
    """What rows will exist, in which shard, in which order.

    Attributes:
        settings: The plan file as it was read, overrides included.
        sources: Facts about every volume.
        units: The shards.
        excluded: Everything that was considered and left out: count by ``stage: reason``.
        content_hash: See `content_hash`.
    """

    settings: PlanSettings
    sources: tuple[dict[str, Any], ...]
    units: tuple[ShardUnit, ...]
    excluded: Counter[str]
    content_hash: str

    @property
    def n_rows(self) -> int:
        """Planned rows."""
        return sum(len(unit.candidates) for unit in self.units)

    def counts(self) -> Counter[tuple[str, str]]:
        """Planned rows by (sample type, split)."""
        return Counter((c.kind, unit.split) for unit in self.units for c in unit.candidates)

    def species(self) -> Counter[str]:
        """Planned rows by species."""
        return Counter(c.species for unit in self.units for c in unit.candidates)


def make_plan(
    settings: PlanSettings,
    folder: Path,
    *,
    engine: Engine | None = None,
    report: Callable[[str, int, int], None] = lambda *_: None,
) -> Plan:
    """Read the volumes, find edits and controls, deal them to splits and shards.

    Args:
        settings: The plan file.
        folder: Where its paths start.
        engine: Who opens the volumes; the plan does not depend on it.
        report: Told (stage, done, total).

    Raises:
        PlanError: if the split rule leaves leaks open that the plan does not accept.
        NoSamplesError: if there are no edits, or a split would have no rows.
        SegmendError: whatever opening a volume raises.
    """
    _check_leaks(settings)
    surveyed: list[Survey] = []

    def count(one: Survey) -> None:
        surveyed.append(one)
        report("finding edits and controls", len(surveyed), len(settings.sources))

    work = functools.partial(survey, settings=settings, folder=folder)
    return assemble((engine or Serial()).run(work, settings.sources, done=count), settings)


def assemble(surveys: Sequence[Survey], settings: PlanSettings) -> Plan:
    """From everything that was found to a plan: cap, split, order, pack, hash.

    Args:
        surveys: One per source, in the order of the settings.
        settings: The plan file.

    Raises:
        NoSamplesError: if a split would have no rows.
    """
    excluded: Counter[str] = Counter()
    for one in surveys:
        excluded += one.excluded
    capped = cap(
        [c for one in surveys for c in one.candidates],
        settings.samples.max_rows,
        seed=settings.seed,
    )
    _count(excluded, "cap", capped.excluded)
    splits = _splits(capped.candidates, surveys, settings, excluded)
    ordered = _ordered(capped.candidates, splits, settings)
    _check_splits(ordered, excluded)
    template = drawing({one.name: one.layers for one in surveys}, settings)
    units = deal(ordered, template, settings.shards.rows)
    sources = tuple(one.facts for one in surveys)
    places = [(unit.split, unit.shard_id, len(unit.candidates)) for unit in units]
    rows = (candidate.to_text() for unit in units for candidate in unit.candidates)
    found = content_hash(settings, sources, places, rows)
    return Plan(settings, sources, tuple(units), excluded, found)


def drawing(layers: Mapping[str, Layers], settings: PlanSettings) -> ShardUnit:
    """A unit without rows: what every shard of a plan is drawn from, and how.

    Args:
        layers: Volumes to draw from, by volume name.
        settings: The plan file.
    """
    return ShardUnit(
        split="train",
        shard_id=0,
        candidates=(),
        layers=layers,
        style=ViewStyle(settings.em.pixel_size_nm, encoding=settings.view.encoding),
        row_group=settings.shards.row_group,
        version=settings.shards.schema,
    )


def _check_leaks(settings: PlanSettings) -> None:
    rule, accepted = settings.splits.rule, settings.splits.accepted_leaks
    missing = set(LEAKS[settings.splits.numbers.kind]) - set(accepted)
    if missing:
        raise PlanError(
            f"the split rule '{rule}' leaves leaks open that the plan does not accept",
            found=f"open: {sorted(missing)}; accepted: {sorted(accepted) or 'none'}",
            fix="Use 'cubes-guarded' or 'volume', or add them to splits.accepted_leaks; they are "
            "then printed beside every score",
        )


def _splits(
    candidates: tuple[Candidate, ...],
    surveys: Sequence[Survey],
    settings: PlanSettings,
    excluded: Counter[str],
) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    for one in surveys:
        mine = [c for c in candidates if c.volume == one.name]
        assignment = assign_splits(mine, _split_rule(one, settings))
        splits |= assignment.splits
        _count(excluded, "splits", assignment.reasons)
    return splits


def _split_rule(one: Survey, settings: PlanSettings) -> SplitRule:
    numbers = settings.splits.numbers
    return SplitRule(
        kind=numbers.kind,
        cube_nm=numbers.cube_nm,
        origin_nm=one.grid_origin_nm,
        fractions=numbers.fractions,
        salt=str(settings.seed),
        guard_nm=IMAGE_SIZE / 2 * settings.em.pixel_size_nm,
        volume_splits={one.name: one.split} if one.split else {},
    )


def _ordered(
    candidates: tuple[Candidate, ...], splits: dict[str, Split], settings: PlanSettings
) -> dict[Split, list[Candidate]]:
    """Rows of each split in a keyed order, so that every shard is a fair sample of its split."""
    ordered: dict[Split, list[Candidate]] = {split: [] for split in get_args(Split)}
    for candidate in candidates:
        if candidate.combined_hash in splits:
            ordered[splits[candidate.combined_hash]].append(candidate)
    for chosen in ordered.values():
        chosen.sort(key=lambda c: keyed_digest("shard order", settings.seed, c.combined_hash))
    return ordered


def _check_splits(ordered: dict[Split, list[Candidate]], excluded: Counter[str]) -> None:
    empty = [split for split, chosen in ordered.items() if not chosen]
    if empty:
        dropped = {k: n for k, n in excluded.items() if k.startswith("splits:")}
        rows = {split: len(chosen) for split, chosen in ordered.items()}
        raise NoSamplesError(
            f"the plan leaves no rows for {' and '.join(empty)}",
            found=f"rows per split: {rows}, dropped: {dropped}",
            fix="Use smaller cubes, other fractions, another seed, or more volumes",
        )


def _count(excluded: Counter[str], stage: str, reasons: Counter[str]) -> None:
    excluded.update({f"{stage}: {reason}": n for reason, n in reasons.items()})
