"""ROC, precision-recall and calibration curves as inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.apps.pages.drawing import COLOURS, GREY, draw_svg, plain_axes
from segmend.metrics.calibration import reliability_curve
from segmend.metrics.classification import precision_recall_curve, roc_curve

CALIBRATION_BINS = 5
"""Bins of the calibration curve: fewer than the error's 15, so that each holds rows enough to
mean something by eye."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What one model said about the rows of one task.

    Attributes:
        model: Name for the legend.
        labels: 0 or 1 per row.
        scores: Probability of 1 per row.
    """

    model: str
    labels: NDArray[np.float64]
    scores: NDArray[np.float64]


def curves_svg(scored: Sequence[Scored]) -> str:
    """Three panels side by side: ROC, precision-recall, calibration.

    Args:
        scored: Models in the order of the legend; all on the same rows.

    Returns:
        An ``<svg>`` element. The same input gives the same text.
    """

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, 3)
        for panel, curve in zip(panels, (_roc, _precision_recall, _calibration), strict=True):
            _panel(panel, scored, curve)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=6, frameon=False)

    return draw_svg((10.5, 3.4), draw)


def _panel(panel: Any, scored: Sequence[Scored], draw: Callable[..., None]) -> None:
    panel.set_xlim(-0.01, 1.01)
    panel.set_ylim(-0.01, 1.01)
    panel.set_box_aspect(1)
    plain_axes(panel)
    for i, one in enumerate(scored):
        draw(panel, one, color=COLOURS[i % len(COLOURS)], linewidth=1.6)


def _roc(panel: Any, one: Scored, **style: Any) -> None:
    curve = roc_curve(one.labels, one.scores)
    panel.plot([0, 1], [0, 1], linestyle=":", color=GREY, linewidth=1)
    panel.plot(curve.x, curve.y, label=one.model, **style)
    panel.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")


def _precision_recall(panel: Any, one: Scored, **style: Any) -> None:
    curve = precision_recall_curve(one.labels, one.scores)
    panel.axhline(float(np.mean(one.labels)), linestyle=":", color=GREY, linewidth=1)
    # The first point is where nothing is called positive; its precision is a convention.
    panel.plot(curve.x[1:], curve.y[1:], drawstyle="steps-pre", **style)
    panel.set(title="Precision-recall", xlabel="recall", ylabel="precision")


def _calibration(panel: Any, one: Scored, **style: Any) -> None:
    curve = reliability_curve(one.labels, one.scores, bins=CALIBRATION_BINS)
    panel.plot([0, 1], [0, 1], linestyle=":", color=GREY, linewidth=1)
    panel.plot(curve.predicted, curve.observed, marker="o", markersize=3.5, **style)
    panel.set(title="Calibration", xlabel="predicted probability", ylabel="observed frequency")
