"""All candidates of a volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from segmend.core.sample import sample_type
from segmend.samples.candidate import Candidate, CandidateSet
from segmend.samples.context import SampleContext
from segmend.samples.types import (
    adjacent_control,
    junction_control,
    merge_edit,
    split_edit,
    synapse_control,
)

Source = Callable[[SampleContext], CandidateSet]

SOURCES: dict[str, Source] = {
    module.KIND: module.candidates
    for module in (merge_edit, split_edit, adjacent_control, junction_control, synapse_control)
}
"""Where the candidates of each sample type come from."""


def draw_candidates(context: SampleContext, kinds: Iterable[str] = tuple(SOURCES)) -> CandidateSet:
    """Draw all candidates of a volume.

    Args:
        context: The volume with its edits, synapses and rules.
        kinds: Names of the sample types to draw; by default all five.

    Returns:
        The candidates, sorted by primary key, and everything left out by sample type and reason.

    Raises:
        UnknownNameError: if there is no such sample type.
        BadInputError: if two candidates share a primary key.
    """
    candidates: list[Candidate] = []
    excluded: Counter[str] = Counter()
    for kind in kinds:
        drawn = SOURCES[sample_type(kind).name](context)
        candidates += drawn.candidates
        excluded.update(drawn.excluded)
    return CandidateSet(tuple(candidates), excluded)
