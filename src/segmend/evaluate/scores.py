"""Metrics with intervals: on all rows, and per species and sample type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from segmend.evaluate.result import Group, Score, number
from segmend.evaluate.scored_rows import ScoredRows
from segmend.metrics.bootstrap import Statistic, cluster_bootstrap, mean_resampled
from segmend.metrics.calibration import expected_calibration_error_resampled
from segmend.metrics.classification import (
    auroc_resampled,
    average_precision_resampled,
    balanced_accuracy_resampled,
)

THRESHOLD = 0.5
"""Score from which a row is called 1."""

Values = NDArray[np.float64]

_METRICS: dict[str, Callable[..., Values]] = {
    "balanced_accuracy": partial(balanced_accuracy_resampled, threshold=THRESHOLD),
    "auroc": auroc_resampled,
    "average_precision": average_precision_resampled,
    "ece": expected_calibration_error_resampled,
}


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
    rows: ScoredRows, scores: Values, resampling: Resampling
) -> tuple[tuple[Score, ...], tuple[Group, ...]]:
    """Metrics of scores against labels, and recall per group.

    Args:
        rows: What was scored.
        scores: Probability of label 1, in the order of the rows.
        resampling: How intervals are made.
    """
    # A score that says nothing: half of the pairs, half of each class, the share of positives.
    chance = {"balanced_accuracy": 0.5, "auroc": 0.5, "average_precision": rows.labels.mean()}
    whole = tuple(
        _score(
            name,
            partial(metric, rows.labels, scores),
            rows.clusters,
            resampling,
            chance=float(chance[name]) if name in chance else None,
        )
        for name, metric in _METRICS.items()
    )
    right = (scores >= THRESHOLD) == (rows.labels > 0)
    return whole, _groups("recall", right.astype(np.float64), rows, resampling)


def mask_scores(
    rows: ScoredRows, ious: Values, resampling: Resampling, *, chance: Values | None
) -> tuple[tuple[Score, ...], tuple[Group, ...]]:
    """Mean IoU, on all rows and per group.

    Args:
        rows: What was scored.
        ious: IoU of each row, NaN where the target has no foreground.
        resampling: How intervals are made.
        chance: IoU of the chance model on each row, if it was asked.
    """
    floor = None if chance is None else number(float(_mean(chance, np.ones((1, len(chance))))[0]))
    whole = _score("miou", partial(_mean, ious), rows.clusters, resampling, chance=floor)
    return (whole,), _groups("miou", ious, rows, resampling)


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
        reason = "undefined: no rows of one class" if name != "miou" else "undefined: no foreground"
        return Score(name=name, value=None, low=None, high=None, chance=chance, reason=reason)
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
