"""A result: scores with intervals, and everything one must know to believe them."""

from __future__ import annotations

import math

import msgspec

from segmend.core.errors import BadInputError

FORMAT = 2


class Score(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One metric.

    Attributes:
        name: Name of the metric; docs/evaluation.md defines each.
        value: On all rows; null where it is undefined.
        low: Lower end of the interval; null if there is none.
        high: Upper end of the interval; null if there is none.
        chance: What needs no model at all; null where that has no meaning or was not given.
        reason: Why the value or the interval is null; empty otherwise.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    chance: float | None
    reason: str = ""


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rows of one species and sample type.

    Attributes:
        species: Animal, or ``synthetic``.
        sample_type: Sample type; it decides the label, so that accuracy is recall.
        label: Label of all these rows; null for masks.
        n_rows: Rows.
        n_clusters: Neurons.
        score: ``recall`` (share called right at the threshold) or ``miou`` of these rows.
    """

    species: str
    sample_type: str
    label: float | None
    n_rows: int
    n_clusters: int
    score: Score


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a model scored on a split of a benchmark.

    Attributes:
        format: Version of this form.
        task: Name of the task.
        task_version: Its version.
        model: Name of the model.
        run: Name of the run.
        benchmark: Name of the benchmark folder.
        benchmark_sha256: sha256 of its ``shards.csv``.
        split: Split that was scored.
        accepted_leaks: Leaks that the plan of the benchmark declares.
        n_rows: Rows scored.
        n_positives: Rows of label 1; null for masks.
        n_clusters: Neurons.
        n_unclustered: Rows without a neuron; each counts as a cluster of its own.
        few_clusters: Whether there are too few neurons for the intervals to hold their level.
        level: Coverage of the intervals.
        resamples: Resamples of neurons behind each interval.
        seed: Key of the resamples.
        threshold: Score from which a row is called 1.
        temperature: What log-odds were divided by for the scores called calibrated; null if no
            predictions on another split were given to fit it.
        base_rate: Share of positives that ``precision_at_base_rate`` supposes; null if not stated.
        scores: Metrics on all rows.
        groups: Metrics per species and sample type.
        environment: Versions of packages.
    """

    format: int
    task: str
    task_version: str
    model: str
    run: str
    benchmark: str
    benchmark_sha256: str
    split: str
    accepted_leaks: tuple[str, ...]
    n_rows: int
    n_positives: int | None
    n_clusters: int
    n_unclustered: int
    few_clusters: bool
    level: float
    resamples: int
    seed: int
    threshold: float
    temperature: float | None
    base_rate: float | None
    scores: tuple[Score, ...]
    groups: tuple[Group, ...]
    environment: dict[str, str]

    def score(self, name: str) -> Score:
        """The metric of that name.

        Raises:
            BadInputError: if the result has none.
        """
        for score in self.scores:
            if score.name == name:
                return score
        raise BadInputError(
            f"this result has no '{name}'", fix=f"It has {', '.join(s.name for s in self.scores)}"
        )

    def to_json(self) -> str:
        """The result as JSON text."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Result:
        """Read and validate a result.

        Raises:
            BadInputError: naming the field that is missing, unknown or of another type.
        """
        try:
            result = msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError as error:
            raise BadInputError("this is not a result of segmend", found=str(error)) from error
        if result.format != FORMAT:
            raise BadInputError(
                f"this result has format {result.format}", found=f"only {FORMAT} can be read"
            )
        return result


def number(value: float) -> float | None:
    """A number for JSON: null for NaN."""
    return None if math.isnan(value) else value
