"""What a harvest lacks, by how much a root was edited and how large it is.

What is missing is seldom missing at random: logs time out where lineages are long. The tables here
make that visible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from segmend.edits.harvest import ends, record_of
from segmend.edits.ledger import ASKED, FINAL, PENDING, QUARANTINE, Ledger

EDIT_BINS = (0, 1, 2, 5, 10, 50, 200)
SIZE_BINS = (0, 10, 100, 1000, 10_000)
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Bin:
    """Roots of like size or editing.

    Attributes:
        name: ``10-99``, ``unknown``, ...
        answered: Roots whose log was read.
        missing: Roots whose log was not, by outcome.
    """

    name: str
    answered: int
    missing: Counter[str]

    @property
    def share_missing(self) -> float:
        """Share of the bin's roots whose log was not read."""
        lost = self.missing.total()
        return lost / (lost + self.answered) if lost + self.answered else 0.0


@dataclass(frozen=True, slots=True)
class Coverage:
    """What became of everything that was asked for.

    Attributes:
        name: Of the record.
        species: Of the tissue.
        until: End of the history.
        roots: By outcome.
        operations: By outcome of their details.
        checks: By outcome of their evidence.
        sizes: By outcome.
        neighbours: Edits by outcome of the look around them, for controls.
        synapses: Roots by outcome of their synapses, for controls.
        quarantined: Failures that no retry asks for again, unless told to.
        by_edits: Bins by operations in a root's log.
        by_size: Bins by L2 chunks of a root.
    """

    name: str
    species: str
    until: str
    roots: Counter[str]
    operations: Counter[str]
    checks: Counter[str]
    sizes: Counter[str]
    neighbours: Counter[str]
    synapses: Counter[str]
    quarantined: int
    by_edits: tuple[Bin, ...]
    by_size: tuple[Bin, ...]

    @property
    def stages(self) -> dict[str, Counter[str]]:
        """The counts by what was asked for."""
        return {
            "roots": self.roots,
            "operations": self.operations,
            "checks": self.checks,
            "sizes": self.sizes,
            "neighbours": self.neighbours,
            "synapses": self.synapses,
        }

    @property
    def finished(self) -> bool:
        """Whether everything was asked for."""
        return not any(counts[PENDING] for counts in self.stages.values())

    @property
    def reasons(self) -> Counter[str]:
        """Everything without an answer, by what it is and why."""
        return Counter(
            {
                f"{name}: {outcome}": n
                for name, counts in self.stages.items()
                for outcome, n in counts.items()
                if outcome not in (*FINAL, PENDING)
            }
        )

    @property
    def missing(self) -> int:
        """How much is without an answer."""
        return self.reasons.total()

    def as_json(self) -> dict[str, Any]:
        """As JSON."""

        def bins(found: tuple[Bin, ...]) -> list[dict[str, Any]]:
            return [
                {
                    "bin": one.name,
                    "answered": one.answered,
                    "missing": dict(one.missing),
                    "share_missing": one.share_missing,
                }
                for one in found
            ]

        return {
            "name": self.name,
            "species": self.species,
            "until": self.until,
            "finished": self.finished,
            **{name: dict(counts) for name, counts in self.stages.items()},
            "quarantined": self.quarantined,
            "by_edits": bins(self.by_edits),
            "by_size": bins(self.by_size),
        }


def coverage_of(ledger: Ledger) -> Coverage:
    """What a harvest has and lacks."""
    record = record_of(ledger)
    return Coverage(
        record.name,
        record.species,
        ends(ledger).isoformat(),
        ledger.count("roots"),
        ledger.count("operations"),
        ledger.count("operations", "checked"),
        ledger.count("sizes"),
        ledger.count("neighbours"),
        ledger.count("synapses"),
        _quarantined(ledger),
        _bins(ledger, "edits", EDIT_BINS),
        _bins(ledger, "size", SIZE_BINS),
    )


def _quarantined(ledger: Ledger) -> int:
    final = ", ".join(f"'{name}'" for name in (*FINAL, PENDING))
    total = 0
    for table, outcome, rounds in ASKED:
        query = (
            f"SELECT count(*) FROM {table} WHERE {outcome} NOT IN ({final}) "  # noqa: S608
            f"AND {rounds} >= {QUARANTINE}"
        )
        total += int(next(ledger.rows(query))[0])
    return total


def _bins(ledger: Ledger, column: str, edges: Sequence[int]) -> tuple[Bin, ...]:
    names = [_name(low, high) for low, high in zip(edges, (*edges[1:], None), strict=True)]
    cases = " ".join(
        f"WHEN {column} >= {low} THEN {place}" for place, low in reversed(list(enumerate(edges)))
    )
    query = (
        f"SELECT CASE WHEN {column} IS NULL THEN {len(edges)} {cases} END, outcome, count(*) "  # noqa: S608
        "FROM roots WHERE outcome != 'pending' GROUP BY 1, 2"
    )
    answered, missing = Counter[int](), dict[int, Counter[str]]()
    for place, outcome, n in ledger.rows(query):
        if outcome in FINAL:
            answered[place] += n
        else:
            missing.setdefault(place, Counter())[outcome] += n
    return tuple(
        Bin(name, answered[place], missing.get(place, Counter()))
        for place, name in enumerate((*names, UNKNOWN))
        if answered[place] or place in missing
    )


def _name(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} and more"
    return str(low) if high == low + 1 else f"{low}-{high - 1}"
