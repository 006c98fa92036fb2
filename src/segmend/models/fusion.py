"""Ours: one network that looks at all of a site together, whichever segment is called A.

It is the small network and three things more. A pair is shown in both orders of A and B, and
nothing after the encoder tells which order a picture comes from, so that the answer cannot depend
on it. The pictures of a site, one vector each, attend to each other before they are weighed. And
what was measured on the geometry is told beside them: from few rows, boosted trees read more out
of these numbers than convolutions out of the pictures (docs/models.md). The blocks that attend and
the measurements begin as if they were not there: the network begins as the one it is to beat.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from segmend.models.attention import Block
from segmend.models.cnn import SiteNet
from segmend.models.layers import EMBEDDING
from segmend.models.measured import Measured
from segmend.models.net import Shapes, SiteNetwork
from segmend.models.network import NetworkModel

_DEPTH, _HEADS = 2, 4


class FusionNet(SiteNet):
    """All that is shown of a site to one logit, or to a mask on every geometry view."""

    symmetric = True

    def __init__(self, shapes: Shapes) -> None:
        super().__init__(shapes)
        self.blocks = nn.Sequential(
            *(
                Block(EMBEDDING, _HEADS, perceptron=2, drop_path=0.1, still=True)
                for _ in range(_DEPTH)
            )
        )
        self.measured = nn.ModuleDict(
            {task: Measured(s.measures, EMBEDDING) for task, s in shapes.items() if s.measures}
        )

    def slow(self) -> Iterable[nn.Parameter]:
        """The blocks: at the rate of the convolutions they drown what these have to say."""
        return self.blocks.parameters()

    def scale(self, task: str, measures: Tensor) -> None:
        """Learn what is usual of each measurement."""
        cast("Measured", self.measured[task]).scale_to(measures)

    def site(self, task: str, vectors: Tensor, measures: Tensor | None) -> Tensor:
        """The weighted mean of the pictures that have looked at each other, and measurements."""
        site: Tensor = self.fuse[task](self.blocks(vectors))
        return site + self.measured[task](measures) if task in self.measured else site


class Fusion(NetworkModel):
    """`FusionNet` on half-resolution images."""

    measures = True

    def network(self, shapes: Shapes) -> SiteNetwork:
        """An untrained network."""
        return FusionNet(shapes)
