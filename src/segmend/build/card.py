"""What a build tells its card."""

from __future__ import annotations

from collections import Counter

from segmend import __version__
from segmend.build.commits import Closure
from segmend.build.frozen import ROWS_FILE, FrozenPlan
from segmend.build.ledger import LEDGER_FILE
from segmend.core.sample import SCHEMA_VERSION, SPLITS
from segmend.shards.card import CardFacts, plan_sources
from segmend.shards.layout import PLAN_FILE
from segmend.shards.versions import LOSSES

HUB_LICENCES = frozenset(
    {"apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-sa-4.0", "cc0-1.0", "mit"}
)
"""Licences that the Hub knows by these names; any other is ``other`` in the card's header, and in
full in its table of sources."""


def card_facts(plan: FrozenPlan, account: Closure) -> CardFacts:
    """Everything the card says that the shards do not."""
    splits = plan.settings.splits
    kinds = ", ".join(sorted({kind for kind, _ in plan.counts()}))
    volumes = len(plan.sources)
    cubes = f", cubes of {splits.numbers.cube_nm:g} nm" if splits.rule != "volume" else ""
    drawing = Counter({f"drawing: {reason}": n for reason, n in account.failed.items()})
    by_name = {source["dataset"]: source for source in plan.sources}
    licences = {source["licence"].lower() for source in plan.sources}
    defects = [f"Known defect of {n}: {d}" for n, s in by_name.items() for d in s["defects"]]
    return CardFacts(
        pretty_name=plan.settings.name,
        summary=f"A proofreading benchmark of {account.committed:,} rows ({kinds}) from "
        f"{volumes} volume{'s' if volumes > 1 else ''} of {', '.join(by_name)}, "
        f"made by segmend {__version__}.",
        license=licences.pop() if len(licences) == 1 and licences <= HUB_LICENCES else "other",
        sources=plan_sources(plan.sources),
        provenance=(
            (
                f"Plan: sha256 `{plan.content_hash}` (`{PLAN_FILE}`; `{ROWS_FILE}` lists every "
                "planned row)."
            ),
            (
                f"Ledger: {account.planned:,} planned = {account.committed:,} committed + "
                f"{account.failed.total():,} failed with a named reason (`{LEDGER_FILE}`)."
            ),
            f"Split rule: `{splits.rule}`{cubes}.{_published_hash(splits.rule)}",
            *_guarded(plan),
            *_older_schema(plan),
            *defects,
        ),
        accepted_leaks=splits.accepted_leaks,
        left_out=dict(plan.excluded + drawing),
    )


def _published_hash(rule: str) -> str:
    if not rule.startswith("cubes"):
        return ""
    return (
        " Which cube is in which split follows from segmend's own hash; that of ConnectomeBench2 "
        "is not published."
    )


def _older_schema(plan: FrozenPlan) -> list[str]:
    """What rows of v1 have in place of a second render; its names are those of `LOSSES`."""
    if plan.settings.shards.schema == SCHEMA_VERSION:
        return []
    return [f"Schema v1: {LOSSES[name]}." for name in ("render_united", "render_from_masks")]


def _guarded(plan: FrozenPlan) -> list[str]:
    """Rows of each split before and after the guard, where there is one."""
    if plan.settings.splits.numbers.kind != "cubes-guarded":
        return []
    after = Counter[str]()
    for (_, split), n in plan.counts().items():
        after[split] += n
    counts = []
    for split in SPLITS:
        dropped = sum(n for r, n in plan.excluded.items() if r.startswith(f"splits: {split}: "))
        counts.append(f"{split} {after[split] + dropped:,} -> {after[split]:,}")
    return [f"Rows before and after the guard: {', '.join(counts)}."]
