"""Limits on the number of rows, by sample type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from segmend.core.errors import BadInputError
from segmend.core.random import keyed_digest
from segmend.core.sample import sample_type
from segmend.samples.candidate import Candidate, CandidateSet


def cap(candidates: Iterable[Candidate], limits: Mapping[str, int], *, seed: int) -> CandidateSet:
    """Keep at most so many candidates of each sample type.

    Args:
        candidates: In any order.
        limits: Most candidates by sample type; a type that is not named is not limited.
        seed: Seed of the choice.

    Returns:
        The candidates of highest priority. A priority depends on the seed and the candidate's
        primary key alone, so that a smaller limit keeps a subset of what a larger one keeps. What
        is left out is counted by type.

    Raises:
        UnknownNameError: if a limit names no sample type.
        BadInputError: if a limit is negative.
    """
    for kind, limit in limits.items():
        sample_type(kind)
        if limit < 0:
            raise BadInputError(f"the limit of '{kind}' must be 0 or more, got {limit}")
    by_kind: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_kind.setdefault(candidate.kind, []).append(candidate)
    kept: list[Candidate] = []
    excluded: Counter[str] = Counter()
    for kind, rows in by_kind.items():
        limit = limits.get(kind, len(rows))
        rows.sort(key=lambda row: (keyed_digest("cap", seed, row.combined_hash), row.combined_hash))
        kept += rows[:limit]
        if len(rows) > limit:
            excluded[f"{kind}: beyond the limit of {limit}"] = len(rows) - limit
    return CandidateSet(tuple(kept), excluded)
