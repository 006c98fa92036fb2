"""Metrics with intervals: on all rows, and per species and sample type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from segmend.evaluate.result import Group, Score, number
from segmend.evaluate.scored_rows import ScoredRows
from segmend.metrics.bootstrap import Statistic, cluster_bootstrap, mean_resampled
from segmend.metrics.calibration import (
    apply_temperature,
    brier_score_resampled,
    expected_calibration_error_resampled,
)
from segmend.metrics.classification import (
    auroc_resampled,
    average_precision_resampled,
    balanced_accuracy_resampled,
)
from segmend.metrics.operating import (
    accuracy_resampled,
    precision_at_base_rate_resampled,
    recall_at_precision_resampled,
)
from segmend.metrics.selective import area_under_risk_coverage_resampled

THRESHOLD = 0.5
"""Score from which a row is called 1."""

PRECISIONS = (90, 95, 99)
"""Precisions, in per cent, at which recall is given."""

Values = NDArray[np.float64]

Metric = Callable[..., Values]

_METRICS: dict[str, Metric] = {
    "balanced_accuracy": partial(balanced_accuracy_resampled, threshold=THRESHOLD),
    "accuracy": partial(accuracy_resampled, threshold=THRESHOLD),
    "auroc": auroc_resampled,
    "average_precision": average_precision_resampled,
    **{
        f"recall_at_precision_{percent}": partial(
            recall_at_precision_resampled, precision=percent / 100
        )
        for percent in PRECISIONS
    },
    "brier": brier_score_resampled,
    "ece": expected_calibration_error_resampled,
    "aurc": area_under_risk_coverage_resampled,
}

MAIN_METRIC = {"binary": "balanced_accuracy", "split_mask": "miou"}
"""What tables are sorted by, by kind of target: the figures that were published."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How scores of a binary task are judged beyond the labels themselves.

    Attributes:
        temperature: What log-odds are divided by for the error after calibration; None if no
            predictions on another split were given to fit it.
        base_rate: Share of positives where the model would be used; None if it was not stated.
    """

    temperature: float | None = None
    base_rate: float | None = None

    def metrics(self, scores: Values) -> dict[str, tuple[Metric, Values]]:
        """Every metric with the scores it is computed on."""
        found = {name: (metric, scores) for name, metric in _METRICS.items()}
        if self.temperature is not None:
            calibrated = apply_temperature(scores, self.temperature)
            found["ece_calibrated"] = (expected_calibration_error_resampled, calibrated)
            found["brier_calibrated"] = (brier_score_resampled, calibrated)
        if self.base_rate is not None:
            metric = partial(
                precision_at_base_rate_resampled, base_rate=self.base_rate, threshold=THRESHOLD
            )
            found["precision_at_base_rate"] = (metric, scores)
        return found


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are made.

    Attributes:
        resamples: Resamples of neurons.
        seed: Key of the draws.
        level: Coverage.
    """

    resamples: int = 1000
    seed: int = 0
    level: float = 0.95


def label_scores(
    rows: ScoredRows, scores: Values, resampling: Resampling, *, judged: Judged | None = None
) -> tuple[tuple[Score, ...], tuple[Group, ...]]:
    """Metrics of scores against labels, and recall per group.

    Args:
        rows: What was scored.
        scores: Probability of label 1, in the order of the rows.
        resampling: How intervals are made.
        judged: Temperature and base rate, where there are any.
    """
    judged = judged or Judged()
    chance = _label_chance(float(rows.labels.mean()), judged)
    whole = tuple(
        _score(
            name,
            partial(metric, rows.labels, values),
            rows.clusters,
            resampling,
            chance=chance.get(name),
        )
        for name, (metric, values) in judged.metrics(scores).items()
    )
    right = (scores >= THRESHOLD) == (rows.labels > 0)
    return whole, _groups("recall", right.astype(np.float64), rows, resampling)


def _label_chance(positives: float, judged: Judged) -> dict[str, float]:
    """What needs no model: half of the pairs, half of each class, the share of positives."""
    chance = {
        "balanced_accuracy": 0.5,
        "accuracy": max(positives, 1 - positives),
        "auroc": 0.5,
        "average_precision": positives,
        "brier": positives * (1 - positives),
        "brier_calibrated": positives * (1 - positives),
    }
    return (
        chance
        if judged.base_rate is None
        else chance | {"precision_at_base_rate": judged.base_rate}
    )


def mask_scores(
    rows: ScoredRows,
    values: Mapping[str, Values],
    resampling: Resampling,
    *,
    chance: Mapping[str, Values] | None,
) -> tuple[tuple[Score, ...], tuple[Group, ...]]:
    """Means of what was computed per row, on all rows; mean IoU per group.

    Args:
        rows: What was scored.
        values: Metric to its value on each row, NaN where it is undefined; ``miou`` first.
        resampling: How intervals are made.
        chance: The same of the chance model, if it was asked.
    """
    whole = tuple(
        _score(
            name,
            partial(_mean, each),
            rows.clusters,
            resampling,
            chance=None if chance is None else number(_whole(partial(_mean, chance[name]), rows)),
        )
        for name, each in values.items()
    )
    return whole, _groups("miou", values["miou"], rows, resampling)


def _whole(statistic: Statistic, rows: ScoredRows) -> float:
    return float(statistic(np.ones((1, len(rows.clusters))))[0])


def label_differences(
    rows: ScoredRows, ours: Values, theirs: Values, resampling: Resampling
) -> tuple[Score, ...]:
    """Every metric of one set of scores minus that of another, on the same resamples.

    Args:
        rows: What was scored.
        ours: Probability of label 1, in the order of the rows.
        theirs: The same, of the other model.
        resampling: How intervals are made.
    """
    return tuple(
        _score(
            name,
            _minus(partial(metric, rows.labels, ours), partial(metric, rows.labels, theirs)),
            rows.clusters,
            resampling,
        )
        for name, metric in _METRICS.items()
    )


def mask_differences(
    rows: ScoredRows,
    ours: Mapping[str, Values],
    theirs: Mapping[str, Values],
    resampling: Resampling,
) -> tuple[Score, ...]:
    """Means of one set of masks minus those of another; arguments as in `mask_scores`."""
    return tuple(
        _score(
            name,
            _minus(partial(_mean, ours[name]), partial(_mean, theirs[name])),
            rows.clusters,
            resampling,
        )
        for name in ours
    )


def _minus(ours: Statistic, theirs: Statistic) -> Statistic:
    return lambda weights: ours(weights) - theirs(weights)


def _score(
    name: str,
    statistic: Statistic,
    clusters: NDArray[np.int64],
    resampling: Resampling,
    *,
    chance: float | None = None,
) -> Score:
    value = float(statistic(np.ones((1, len(clusters))))[0])
    if np.isnan(value):
        return Score(
            name=name,
            value=None,
            low=None,
            high=None,
            chance=chance,
            reason="undefined on these rows",
        )
    interval = cluster_bootstrap(
        statistic, clusters, n=resampling.resamples, seed=resampling.seed, level=resampling.level
    )
    return Score(
        name=name,
        value=value,
        low=number(interval.low),
        high=number(interval.high),
        chance=chance,
        reason=interval.reason and f"no interval: {interval.reason}",
    )


def _groups(
    name: str, values: Values, rows: ScoredRows, resampling: Resampling
) -> tuple[Group, ...]:
    """Mean of one value per row in every species and sample type."""
    groups = []
    for group in sorted(set(rows.groups)):
        inside = np.array([other == group for other in rows.groups])
        clusters = rows.clusters[inside]
        groups.append(
            Group(
                species=group[0],
                sample_type=group[1],
                label=float(rows.labels[inside][0]) if rows.labels.size else None,
                n_rows=len(clusters),
                n_clusters=len(np.unique(clusters)),
                score=_score(name, partial(_mean, values[inside]), clusters, resampling),
            )
        )
    return tuple(groups)


def _mean(values: Values, weights: Values) -> Values:
    """Mean over the rows whose value is defined."""
    defined = np.isfinite(values)
    return mean_resampled(values[defined], weights[:, defined])
