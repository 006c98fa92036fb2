"""Intervals that know that rows of one neuron are not independent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.core.random import keyed_generator
from segmend.metrics.checks import Floats, ratio

Statistic = Callable[[Floats], Floats]
"""Takes weights (resamples, rows), gives one value per resample, NaN where undefined."""

FEW_CLUSTERS = 30
"""Below this many clusters a percentile interval is known to be too narrow: cluster-robust tests
over-reject with five to thirty clusters (Cameron, Gelbach and Miller, Rev. Econ. Stat. 2008)."""

_CHUNK_WEIGHTS = 4_000_000
_DRAWS_PER_RESAMPLE = 20


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval of a statistic under resampling of clusters.

    Attributes:
        low: Lower end; NaN if no interval could be made.
        high: Upper end; NaN if no interval could be made.
        n_clusters: Distinct clusters.
        redrawn: Resamples thrown away because the statistic was undefined on them.
        few_clusters: Whether there are too few clusters for the nominal level.
        reason: Why there is no interval; empty if there is one.
    """

    low: float
    high: float
    n_clusters: int
    redrawn: int
    few_clusters: bool
    reason: str = ""


def cluster_bootstrap(
    statistic: Statistic,
    clusters: Any,
    *,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval from ``n`` resamples of whole clusters with replacement.

    As many clusters as there are, are drawn with replacement; every row of a drawn cluster comes
    along. A resample on which the statistic is undefined (one class only) is redrawn and counted:
    the interval is then conditional on the statistic being defined, which is what the point
    estimate is conditional on too. The result depends on the arguments alone.

    Args:
        statistic: See `Statistic`.
        clusters: Cluster of each row, any dtype that can be compared, shape (rows,).
        n: Resamples.
        seed: Key of the draws.
        level: Coverage of the interval.

    Raises:
        BadInputError: without rows, for a level outside (0, 1) or fewer than two resamples.
    """
    if not 0 < level < 1 or n < 2:
        raise BadInputError(f"an interval needs 0 < level < 1 and n >= 2, got {level} and {n}")
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    if not names.size:
        raise BadInputError("an interval needs at least one row, got none")
    few = names.size < FEW_CLUSTERS
    if names.size == 1:
        return Interval(np.nan, np.nan, 1, 0, few, "all rows belong to one cluster")
    values, redrawn = _resample(statistic, index.reshape(-1), n=n, seed=seed)
    if values.size < n:
        reason = f"undefined on {redrawn} of {redrawn + values.size} resamples"
        return Interval(np.nan, np.nan, names.size, redrawn, few, reason)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), names.size, redrawn, few)


def mean_resampled(values: Any, weights: Floats) -> Floats:
    """Weighted mean of ``values`` (rows,) in each resample; a `Statistic` for any mean."""
    # Not a matrix product: the rounding of BLAS depends on its number of threads.
    sums = (weights * np.asarray(values, dtype=np.float64)).sum(axis=1)
    return ratio(sums, weights.sum(axis=1))


def _resample(
    statistic: Statistic, index: NDArray[np.intp], *, n: int, seed: int
) -> tuple[Floats, int]:
    """Up to ``n`` defined values and the number of undefined ones among the draws made."""
    generator = keyed_generator("cluster_bootstrap", seed)
    count = int(index.max()) + 1
    chunk = max(1, min(n, _CHUNK_WEIGHTS // index.size))
    kept: list[Floats] = []
    found = drawn = redrawn = 0
    while found < n and drawn < n * _DRAWS_PER_RESAMPLE:
        values = statistic(_draw(generator, count, chunk)[:, index])
        defined = np.flatnonzero(np.isfinite(values))[: n - found]
        kept.append(values[defined])
        found, drawn = found + defined.size, drawn + chunk
        # Draws behind the last one needed were never asked for.
        asked = int(defined[-1]) + 1 if found == n else chunk
        redrawn += asked - defined.size
    return np.concatenate(kept), redrawn


def _draw(generator: np.random.Generator, count: int, chunk: int) -> Floats:
    """How often each of ``count`` clusters occurs in each of ``chunk`` resamples."""
    picks = generator.integers(0, count, size=(chunk, count))
    flat = picks + count * np.arange(chunk)[:, None]
    counts = np.bincount(flat.reshape(-1), minlength=chunk * count)
    return counts.reshape(chunk, count).astype(np.float64)
