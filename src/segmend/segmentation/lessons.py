"""What a network learns from: random patches of a box, and what the best weights are chosen by."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from segmend.core.box import Triple
from segmend.core.errors import NoSamplesError
from segmend.patches.augment import DEFAULT
from segmend.patches.patches import Augmentation, Patches, Sample, batches, collate
from segmend.patches.sampling import GridSampler, RandomSampler, Want
from segmend.patches.sources import Mix, Source
from segmend.patches.targets import Affinities, Semantic, Target

AHEAD = 1
"""Threads that make patches while the network learns."""


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """Patches by number, each a pure function of the seed and its number.

    Attributes:
        patches: What answers.
        sampler: Which patches, by number.
        held_back: Patches to validate on, unchanged; empty: none.
    """

    patches: Patches
    sampler: RandomSampler
    held_back: tuple[Sample, ...] = ()

    def sample(self, number: int) -> Sample:
        """Patch ``number``, augmented."""
        return self.patches[self.sampler[number]]

    def batches(self, start: int, size: int) -> Generator[Sample, None, None]:
        """Batches from patch ``start`` on, made ahead."""
        queries = (self.sampler[number] for number in range(start, len(self.sampler)))
        return batches(self.patches, queries, batch_size=size, threads=AHEAD)


def targets_of(
    source: Source, offsets: Sequence[Triple], *, zero_is: str = "unknown"
) -> list[Target]:
    """Affinities where a source has labels, common classes where it has those.

    Args:
        source: What is learnt from.
        offsets: Of the affinities.
        zero_is: What id 0 is: ``unknown`` or ``boundary``.

    Raises:
        NoSamplesError: if it has neither.
    """
    targets: list[Target] = []
    if source.labels is not None:
        targets.append(Affinities(tuple(offsets), zero_is=zero_is))  # type: ignore[arg-type]
    if source.classes is not None:
        targets.append(Semantic())
    if not targets:
        raise NoSamplesError(
            f"there is nothing to learn from '{source.name}'",
            found="neither neurons nor classes are asked for",
        )
    return targets


def lessons(
    source: Source,
    size: Triple,
    targets: Sequence[Target],
    *,
    length: int,
    seed: int,
    augment: Sequence[Augmentation] = DEFAULT,
) -> Lessons:
    """Random patches of a source, none of which is unknown throughout.

    Args:
        source: What is learnt from.
        size: Of a patch, voxels ``(z, y, x)``.
        targets: What is learnt.
        length: Patches in all.
        seed: Of everything random.
        augment: Changes, in order.

    Raises:
        BadInputError: if a patch does not fit.
        NoSamplesError: if nothing of the source counts.
    """
    mix = Mix((source,), (1.0,))
    patches = Patches(mix, size, targets=targets, augment=augment, labels=False)
    affinities = [target for target in targets if isinstance(target, Affinities)]
    segments_alone = len(affinities) == len(targets) and affinities[0].zero_is == "unknown"
    want: Want = "foreground" if segments_alone else "known"
    return Lessons(patches, RandomSampler(mix, size, length, want=want, seed=seed))


def held_back(source: Source, size: Triple, targets: Sequence[Target]) -> tuple[Sample, ...]:
    """Patches side by side over a source, as they are; every voxel is in one at least.

    Raises:
        BadInputError: if a patch does not fit.
        NoSamplesError: if nothing of the source counts.
    """
    patches = Patches(source, size, targets=targets, labels=False)
    queries = list(GridSampler(patches.mix, size))
    patches.check_counts(queries)
    return tuple(collate([patches[query]]) for query in queries)
