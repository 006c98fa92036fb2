"""Interpretable features of a row, from its geometry views alone: no metadata, no labels.

A measurement is made on each view; its smallest, mean and largest value over the views are three
features, so that none depends on how the tissue lies. Measurements on the surfaces in space join
all views. Lengths are in half-widths of the view, because the extent in nm is metadata.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from segmend.core.sample import VIEWS
from segmend.models import pair_features, single_features
from segmend.models.views import Frame, frames, reduce_geometry

UNMEASURED = -2.0
"""Stands for a measurement that exists in no view; below every value that one can take."""

_STATISTICS = ("min", "mean", "max")


def feature_names(*, dual: bool) -> tuple[str, ...]:
    """Names of the features of `row_features`, in order."""
    room = pair_features if dual else single_features
    by_view = (f"{name}_{word}" for name in room.VIEW_MEASURES for word in _STATISTICS)
    return (*by_view, *(f"space_{name}" for name in room.SPACE_MEASURES))


def row_features(
    geometry: NDArray[np.floating], *, dual: bool, views: Sequence[str] = VIEWS
) -> NDArray[np.float64]:
    """Features of one row.

    Args:
        geometry: (views, channels, 224, 224) as a task hands it out.
        views: Names of the views.
        dual: Whether two segments are compared (A and B) or one looked at (A; B is ignored).

    Returns:
        float64, one finite number per name in `feature_names`; equal, for pairs, if A and B are
        exchanged.
    """
    measures = _measure(list(frames(reduce_geometry(geometry), views)), dual=dual)
    return np.array([measures.get(name, UNMEASURED) for name in feature_names(dual=dual)])


def _measure(views: list[Frame], *, dual: bool) -> dict[str, float]:
    room = pair_features if dual else single_features
    by_view = [room.view_measures(view) for view in views]
    measures = _over_views(by_view)
    measures |= {f"space_{name}": value for name, value in room.space_measures(views).items()}
    return {name: value for name, value in measures.items() if math.isfinite(value)}


def _over_views(by_view: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for view in by_view for name in view)
    measures: dict[str, float] = {}
    for name in names:
        values = [view[name] for view in by_view if math.isfinite(view.get(name, math.nan))]
        if values:
            summary = (min(values), math.fsum(values) / len(values), max(values))
            measures |= {f"{name}_{s}": v for s, v in zip(_STATISTICS, summary, strict=True)}
    return measures
