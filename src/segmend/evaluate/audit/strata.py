"""Values compared like with like: ranks among the rows of one data set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def within(values: NDArray[np.float64], strata: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ranks of values among the rows of their own stratum, in (0, 1); equal values share one.

    Data sets differ in how large views are and in how many rows of each label they have; ranks
    within each compare like with like.
    """
    ranks = np.empty(len(values))
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        _, inverse, counts = np.unique(values[rows], return_inverse=True, return_counts=True)
        middle = np.cumsum(counts) - (counts - 1) / 2
        ranks[rows] = middle[inverse.reshape(-1)] / (len(rows) + 1)
    return ranks
