"""All checks of a benchmark, as the verbs ``verify`` and ``demo`` run them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmend.apps.progress import Progress
from segmend.build.ledger import LEDGER_FILE, ledger_problems
from segmend.core.errors import SegmendError
from segmend.shards.verify import Problem, Verification, verify


@dataclass(frozen=True, slots=True)
class Checked:
    """What all checks found.

    Attributes:
        shards: What the check of the shards found.
        problems: Everything that is wrong, ledger included.
    """

    shards: Verification
    problems: tuple[Problem, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        counts = {f"{kind}/{split}": n for (kind, split), n in sorted(self.shards.counts.items())}
        return {
            "intact": not self.problems,
            "rows": self.shards.n_rows,
            "shards": self.shards.n_shards,
            "bytes": self.shards.n_bytes,
            "counts": counts,
            "defects": dict(self.shards.defects),
            "problems": [{"where": p.where, "what": p.what} for p in self.problems],
        }


def verify_benchmark(folder: Path, progress: Progress) -> Checked:
    """Check a benchmark and, where it was built here, its plan and ledger.

    Args:
        folder: The benchmark.
        progress: Where to say what is happening.

    Raises:
        BadInputError: if the folder does not exist.
    """
    progress.say(f"verifying {folder}")
    found = verify(folder, progress=lambda n, of: progress.report("checking shards", n, of))
    return Checked(found, (*found.problems, *_ledger(folder, found)))


def _ledger(folder: Path, found: Verification) -> list[Problem]:
    try:
        return [Problem(LEDGER_FILE, what) for what in ledger_problems(folder)]
    except SegmendError as error:
        # A benchmark that cannot be opened has no rows to compare; that was reported already.
        return [] if found.problems else [Problem(LEDGER_FILE, str(error))]
