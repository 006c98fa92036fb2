"""What every network is: asked about sites, with one encoder and a head for each task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmend.core.sample import CHANNELS, channel
from segmend.models.losses import label_loss, split_mask_loss
from segmend.models.sites import Sites


@dataclass(frozen=True, slots=True)
class NetShape:
    """What one task asks of a network.

    Attributes:
        views: Geometry views of a site.
        planes: EM planes of a site.
        masks: Whether it paints a mask on each view, or gives one number per site.
        dual: Whether it is shown two segments, A and B.
        measures: How many measurements it is shown of a site; 0 for pictures alone.
    """

    views: int
    planes: int
    masks: bool
    dual: bool
    measures: int = 0

    @property
    def channels(self) -> int:
        """Channels of a geometry view: those of the row and, for masks, the world position.

        The sides of a mask have no order, but one naming holds for all views: only a network that
        knows where each pixel lies in space can keep to one.
        """
        return len(CHANNELS) + (3 if self.masks else 0)


Shapes = Mapping[str, NetShape]
"""What each task asks, by its name: all that decides the shape of the weights."""


class SiteNetwork(nn.Module):
    """What the training loop asks of a network: one encoder, and a head for each task.

    Attributes:
        shapes: What each task asks.
        symmetric: Whether its answer cannot depend on which segment is called A; if not, both
            orders are asked and averaged.
    """

    symmetric = False

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.shapes = dict(shapes)
        painted = [task for task, shape in shapes.items() if shape.masks]
        self.trust = nn.ParameterDict({task: nn.Parameter(torch.ones(())) for task in painted})

    @property
    def views(self) -> int:
        """The most geometry views of any task."""
        return max(shape.views for shape in self.shapes.values())

    @property
    def planes(self) -> int:
        """The most EM planes of any task; a task with fewer shows the first of them."""
        return max(shape.planes for shape in self.shapes.values())

    @property
    def channels(self) -> int:
        """The most channels that a view of any task has; `widened` fills up the others."""
        return max(shape.channels for shape in self.shapes.values())

    def widened(self, geometry: Tensor) -> Tensor:
        """Views with as many channels as the network takes: nothing is known where none was."""
        return functional.pad(geometry, (0, 0, 0, 0, 0, self.channels - geometry.shape[2]))

    def slow(self) -> Iterable[nn.Parameter]:
        """Weights that learn at a tenth of the rate."""
        return ()

    def corrected(self, task: str, painted: Tensor, geometry: Tensor) -> Tensor:
        """Logits of side B (sites, views, size, size): what was painted corrects the proposal.

        Rows of a mask task propose sides as masks A and B (`packed.pack`); how far they are to be
        trusted is learnt, so that an untrained network paints about what was proposed.
        """
        proposed = geometry[:, :, channel("mask_b")] - geometry[:, :, channel("mask_a")]
        return painted + self.trust[task] * proposed

    def scale(self, task: str, measures: Tensor) -> None:
        """Told, before it learns, what the training rows of a task measure (rows, features)."""

    def ask(self, task: str, sites: Sites) -> Tensor:
        """What `forward` gives for one task alone."""
        out: Tensor = self({task: sites})[task]
        return out

    def loss(self, task: str, out: Tensor, targets: Tensor) -> Tensor:
        """Loss per row, (rows,), of what `forward` gave for a task."""
        masks = self.shapes[task].masks
        return split_mask_loss(out, targets) if masks else label_loss(out, targets)

    def log_odds(self, out: Tensor) -> Tensor:
        """Log odds of label 1, float64 (rows,), of what `forward` gave for a task of labels."""
        return out.double()


def of_sites(images: Tensor, sites: int) -> Tensor:
    """(sites * pictures, ...) taken apart into (sites, pictures, ...)."""
    return images.reshape(sites, -1, *images.shape[1:])
