"""From settings to a frozen plan: every row of every shard, in order, under one content hash."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from segmend.build.settings import PlanSettings
from segmend.build.sources import OpenedSource, open_sources
from segmend.build.units import ShardUnit, deal
from segmend.core.errors import NoSamplesError, PlanError
from segmend.core.random import keyed_digest
from segmend.core.sample import SPLITS
from segmend.edits.operation import EditSet, VolumeIdentity
from segmend.edits.overlap import OverlapRules, overlap_edits
from segmend.edits.synthetic_log import synthetic_log_edits
from segmend.render.site import ViewStyle
from segmend.samples.candidate import Candidate
from segmend.samples.cap import cap
from segmend.samples.context import SampleContext, SampleRules
from segmend.samples.draw import draw_candidates
from segmend.samples.splits import SplitRule, assign_splits, open_leaks
from segmend.segments.contacts import Contacts, find_contacts

PLAN_FILE = "plan.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """What rows will exist, in which shard, in which order.

    Attributes:
        settings: The plan file as it was read, overrides included.
        sources: Facts about every volume.
        units: The shards.
        excluded: Everything that was considered and left out: count by ``stage: reason``.
        content_hash: sha256 over settings (paths aside), volumes and rows.
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

    def to_json(self) -> dict[str, Any]:
        """The object written to ``plan.json``."""
        return {
            "content_hash": self.content_hash,
            "name": self.settings.name,
            "accepted_leaks": list(self.settings.splits.accepted_leaks),
            "settings": msgspec.to_builtins(self.settings),
            "sources": list(self.sources),
            "excluded": dict(sorted(self.excluded.items())),
            "shards": _rows(self.units),
        }


def make_plan(
    settings: PlanSettings, folder: Path, *, say: Callable[[str], None] = lambda _: None
) -> Plan:
    """Read the volumes, find edits and controls, deal them to splits and shards.

    Args:
        settings: The plan file.
        folder: Where its paths start.
        say: Told what is being done, for progress.

    Raises:
        PlanError: if the split rule leaves leaks open that the plan does not accept.
        NoSamplesError: if there are no edits, or a split would have no rows.
        SegmendError: whatever opening a volume raises.
    """
    _check_leaks(settings)
    say("opening volumes")
    opened = open_sources(settings, folder)
    excluded: Counter[str] = Counter()
    candidates: list[Candidate] = []
    for one in opened:
        say(f"finding edits and controls in {one.name}")
        candidates += _candidates(one, settings, excluded)
    candidates = _capped(candidates, settings, excluded)
    splits = _splits(candidates, opened, settings, excluded)
    ordered = _ordered(candidates, splits, settings)
    _check_splits(ordered, excluded)
    template = ShardUnit(
        split="",
        shard_id=0,
        candidates=(),
        layers={one.name: one.layers for one in opened},
        style=ViewStyle(settings.em.pixel_size_nm, encoding=settings.view.encoding),
        row_group=settings.shards.row_group,
    )
    units = deal(ordered, template, settings.shards.rows)
    sources = tuple(one.facts() for one in opened)
    return Plan(settings, sources, tuple(units), excluded, _hash(settings, sources, units))


def _check_leaks(settings: PlanSettings) -> None:
    rule = settings.splits.rule
    missing = set(open_leaks(rule)) - set(settings.splits.accepted_leaks)
    if missing:
        raise PlanError(
            f"the split rule '{rule}' leaves leaks open that the plan does not accept",
            found=f"open: {sorted(missing)}; accepted: {list(settings.splits.accepted_leaks)}",
            fix="Use 'cubes-guarded' or 'volume', or add them to splits.accepted_leaks; they are "
            "printed beside every score",
        )


def _candidates(
    one: OpenedSource, settings: PlanSettings, excluded: Counter[str]
) -> tuple[Candidate, ...]:
    automatic, neurons = one.dataset.segments("automatic"), one.dataset.segments("neurons")
    contacts = find_contacts(automatic, one.grid)
    record = one.dataset.record
    identity = VolumeIdentity(record.name, record.version, one.name, record.species)
    rules = _sample_rules(settings)
    edits = _edits(one, settings, identity, automatic, neurons, contacts, rules.overlap)
    if not edits.ops:
        reasons = ", ".join(f"{n} x {reason}" for reason, n in edits.excluded.most_common(5))
        raise NoSamplesError(
            f"no edits found in source '{one.name}'",
            found=f"left out: {reasons or 'nothing: the two segmentations agree'}",
            fix="Check that 'automatic' and 'neurons' belong together, or relax [edits]",
        )
    context = SampleContext(
        identity=identity,
        grid=one.grid,
        automatic=automatic,
        neurons=neurons,
        contacts=contacts,
        edits=edits,
        synapses=one.dataset.synapses,
        rules=rules,
        seed=settings.seed,
    )
    drawn = draw_candidates(context, settings.samples.types)
    _count(excluded, "edits", edits.excluded)
    _count(excluded, "samples", drawn.excluded)
    return drawn.candidates


def _edits(
    one: OpenedSource,
    settings: PlanSettings,
    identity: VolumeIdentity,
    automatic: Any,
    neurons: Any,
    contacts: Contacts,
    rules: OverlapRules,
) -> EditSet:
    if settings.edits.source == "overlap":
        return overlap_edits(automatic, neurons, contacts, one.grid, rules=rules, identity=identity)
    return synthetic_log_edits(
        one.dataset.edits, automatic, neurons, contacts, rules=rules, identity=identity
    )


def _sample_rules(settings: PlanSettings) -> SampleRules:
    edits, samples, view = settings.edits, settings.samples, settings.view
    return SampleRules(
        overlap=OverlapRules(
            min_segment_voxels=edits.min_segment_voxels,
            min_purity=edits.min_purity,
            min_contact_faces=edits.min_contact_faces,
            min_side_voxels=edits.min_side_voxels,
        ),
        adjacent_per_merge=samples.adjacent_per_merge,
        junction_min_purity=samples.junction_min_purity,
        junction_min_degree=samples.junction_min_degree,
        half_extent_nm=view.half_extent_nm,
        jitter_nm=view.jitter_nm,
    )


def _capped(
    candidates: list[Candidate], settings: PlanSettings, excluded: Counter[str]
) -> list[Candidate]:
    kept = cap(candidates, settings.samples.max_rows, seed=settings.seed)
    over = Counter(c.kind for c in candidates) - Counter(c.kind for c in kept)
    _count(excluded, "cap", over)
    return list(kept)


def _splits(
    candidates: list[Candidate],
    opened: list[OpenedSource],
    settings: PlanSettings,
    excluded: Counter[str],
) -> dict[str, str]:
    splits: dict[str, str] = {}
    for one in opened:
        rule = SplitRule(
            kind=settings.splits.rule,
            cube_nm=settings.splits.cube_nm,
            origin_nm=one.dataset.record.grid_origin_nm,
            fractions=settings.splits.fractions,
            salt=f"{settings.seed}",
            volume_splits={one.name: one.source.split} if one.source.split else {},
        )
        mine = [c for c in candidates if c.volume == one.name]
        assignment = assign_splits(mine, rule)
        splits |= assignment.splits
        _count(excluded, "splits", Counter(assignment.dropped.values()))
    return splits


def _ordered(
    candidates: list[Candidate], splits: dict[str, str], settings: PlanSettings
) -> dict[str, list[Candidate]]:
    """Rows of each split in a keyed order, so that every shard is a fair sample of its split."""
    ordered: dict[str, list[Candidate]] = {split: [] for split in SPLITS}
    for candidate in candidates:
        if candidate.combined_hash in splits:
            ordered[splits[candidate.combined_hash]].append(candidate)
    for chosen in ordered.values():
        chosen.sort(key=lambda c: keyed_digest("shard order", settings.seed, c.combined_hash))
    return ordered


def _check_splits(ordered: dict[str, list[Candidate]], excluded: Counter[str]) -> None:
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


def _rows(units: list[ShardUnit] | tuple[ShardUnit, ...]) -> list[dict[str, Any]]:
    return [
        {
            "split": unit.split,
            "shard_id": unit.shard_id,
            "rows": [c.combined_hash for c in unit.candidates],
        }
        for unit in units
    ]


def _hash(
    settings: PlanSettings, sources: tuple[dict[str, Any], ...], units: list[ShardUnit]
) -> str:
    content = msgspec.to_builtins(settings)
    for source in content["sources"]:
        del source["path"]  # where a volume lies does not change what is made from it
    text = json.dumps([content, sources, _rows(units)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
