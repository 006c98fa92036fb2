"""Drawings as inline SVG, in one style."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from segmend.core.errors import require

# Okabe and Ito's palette, readable without colour vision; chance is always grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
GREY = "#8a8a8a"


def draw_svg(size: tuple[float, float], draw: Callable[[Any], None]) -> str:
    """An ``<svg>`` element. The same drawing gives the same text.

    Args:
        size: Width and height, inches.
        draw: Draws into a matplotlib ``Figure``.

    Raises:
        MissingDependencyError: if the extra ``report`` is not installed.
    """
    require("matplotlib", extra="report")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Ids in the SVG are salted; fonts are drawn by the reader's browser.
    with mpl.rc_context({"svg.hashsalt": "segmend", "svg.fonttype": "none"}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def plain_axes(panel: Any) -> None:
    """A faint grid, and no frame above and to the right."""
    panel.grid(visible=True, linewidth=0.4, alpha=0.5)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
