"""Grey values, segment sizes and classes as one drawing."""

from __future__ import annotations

from typing import Any

import numpy as np

from segmend.apps.explore.survey import Survey
from segmend.apps.pages.drawing import COLOURS, GREY, draw_svg, plain_axes
from segmend.apps.tables import percent
from segmend.catalog.exploration import size_histogram


def charts_svg(found: Survey) -> str:
    """Panels side by side, those that have something to show."""
    sized = [one for one in found.layers if one.sizes]
    drawn = [_grey] + [_sizes] * bool(sized) + [_classes] * bool(found.classes)

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(drawn), squeeze=False)[0]
        for panel, one in zip(panels, drawn, strict=True):
            plain_axes(panel)
            one(panel, found)

    return draw_svg((3.7 * len(drawn), 3.2), draw)


def _grey(panel: Any, found: Survey) -> None:
    share = 100 * found.grey / max(1, int(found.grey.sum()))
    panel.fill_between(np.arange(256), share, step="mid", color=GREY, linewidth=0)
    panel.set(title="Grey values", xlabel="grey value", ylabel="% of the voxels", xlim=(0, 255))
    panel.set_ylim(bottom=0)


def _sizes(panel: Any, found: Survey) -> None:
    sized = [(one.name, one.sizes) for one in found.layers if one.sizes]
    for i, (name, sizes) in enumerate(sized):
        edges, counts = size_histogram(sizes)
        panel.stairs(counts, edges, label=name, color=COLOURS[i % len(COLOURS)], linewidth=1.6)
    panel.set(title="Segment sizes", xlabel="voxels in the box", ylabel="segments", xscale="log")
    panel.legend(frameon=False, fontsize="small")


def _classes(panel: Any, found: Survey) -> None:
    names = list(found.classes)[::-1]
    share = np.array([found.classes[name] for name in names])
    share = share / max(1, share.sum())
    bars = panel.barh(range(len(names)), 100 * share, color=COLOURS[0])
    panel.bar_label(bars, [percent(value) for value in share], padding=3, fontsize="small")
    panel.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    panel.set(title="Classes", xlabel="% of the voxels", xlim=(0, 135), xticks=range(0, 101, 25))
