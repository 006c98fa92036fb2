"""Ours: one network that looks at all pictures of a site together, whichever segment is called A.

Each picture becomes a grid of tokens through convolutions; the tokens of all geometry views and EM
planes, marked by picture and place, attend to each other. The blocks that attend begin as if they
were not there: the network begins as the CNN it is to be better than. A pair is encoded in both
orders of A and B and the two are averaged before the head, so that the answer cannot depend on the
order; a mask names its sides by the loss, which counts both namings the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from segmend.core.sample import EM_CHANNELS
from segmend.models.attention import Block, positions
from segmend.models.measured import Measured
from segmend.models.net import (
    EMBEDDING,
    Attention,
    Decoder,
    Embedding,
    Encoder,
    Shapes,
    SiteNetwork,
    score_head,
    together,
)
from segmend.models.network import NetworkModel
from segmend.models.sites import Sites, swapped
from segmend.models.views import SIZE

_DEPTH, _HEADS = 2, 4
_GRID = SIZE // 16
"""Tokens along a side of a picture: the encoder halves the resolution four times."""


class FusionNet(SiteNetwork):
    """All pictures of a site to one logit, or to a mask on every geometry view."""

    symmetric = True

    def __init__(self, shapes: Shapes) -> None:
        super().__init__(shapes)
        if self.views:
            self.geometry = Encoder(self.channels)
            self.geometry_embedding = Embedding(self.views)
        if self.planes:
            self.em = Encoder(len(EM_CHANNELS))
            self.em_embedding = Embedding(self.planes)
        self.which = positions(self.views + self.planes, EMBEDDING)
        self.where = positions(_GRID * _GRID, EMBEDDING)
        self.blocks = nn.Sequential(
            *(
                Block(EMBEDDING, _HEADS, perceptron=2, drop_path=0.1, still=True)
                for _ in range(_DEPTH)
            )
        )
        self.fuse = nn.ModuleDict({task: Attention() for task in shapes})
        self.measured = nn.ModuleDict(
            {task: Measured(s.measures, EMBEDDING) for task, s in shapes.items() if s.measures}
        )
        self.heads = nn.ModuleDict(
            {task: Decoder() if shape.masks else score_head() for task, shape in shapes.items()}
        )

    def slow(self) -> Iterable[nn.Parameter]:
        """The blocks: at the rate of the convolutions they drown what these have to say."""
        return self.blocks.parameters()

    def scale(self, task: str, measures: Tensor) -> None:
        """Learn what is usual of each measurement."""
        cast("Measured", self.measured[task]).scale_to(measures)

    def forward(self, shown: Mapping[str, Sites]) -> dict[str, Tensor]:
        """Logits by task: (sites,), or for masks (sites, views, size, size)."""
        orders = [(task, order) for task, s in shown.items() for order in self._orders(task, s)]
        seen = self.seen([order for _, order in orders])
        sites: dict[str, list[Tensor]] = {task: [] for task in shown}
        for (task, _), (_, coarse) in zip(orders, seen, strict=True):
            sites[task].append(self.fuse[task](self._embedded(coarse)))
        maps = {task: maps for (task, _), (maps, _) in zip(orders, seen, strict=True)}
        out = {}
        for task, found in sites.items():
            site, head = torch.stack(found).mean(dim=0), self.heads[task]
            if self.shapes[task].masks:
                out[task] = self.corrected(task, head(maps[task], site), shown[task].geometry)
            else:
                out[task] = head(site + self._told(task, shown[task]))[:, 0]
        return out

    def _told(self, task: str, sites: Sites) -> Tensor | float:
        """What the measurements add to the vectors of the sites."""
        if task not in self.measured:
            return 0.0
        told: Tensor = self.measured[task](sites.measures)
        return told

    def _orders(self, task: str, sites: Sites) -> list[Sites]:
        """What is encoded for a task: a pair in both orders of A and B."""
        return [sites, swapped(sites)] if self.shapes[task].dual else [sites]

    def _embedded(self, coarse: Tensor) -> Tensor:
        """One vector per picture, (sites, pictures, width)."""
        vectors = []
        if self.views:
            vectors.append(self.geometry_embedding(coarse[:, : self.views]))
        if self.planes:
            vectors.append(self.em_embedding(coarse[:, self.views :]))
        return torch.cat(vectors, dim=1)

    def seen(self, shown: Sequence[Sites]) -> list[tuple[list[Tensor], Tensor]]:
        """What each set of pictures shows after all have looked at all.

        Returns:
            For each set the maps of its geometry views, finest first, and the coarsest maps of all
            its pictures, (sites, pictures, width, rows, columns).
        """
        views: list[list[Tensor]] = [[] for _ in shown]
        planes: list[list[Tensor]] = [[] for _ in shown]
        if self.views:
            views = together(self.geometry, [self.widened(sites.geometry) for sites in shown])
        if self.planes:
            planes = together(self.em, [sites.em for sites in shown])
        found = []
        for maps, levels in zip(views, planes, strict=True):
            coarse = self._mixed(torch.cat([*maps[-1:], *levels[-1:]], dim=1))
            found.append(([*maps[:-1], coarse[:, : self.views]], coarse))
        return found

    def _mixed(self, coarse: Tensor) -> Tensor:
        """Coarsest maps whose places have attended to each other, those of all pictures."""
        tokens = coarse.flatten(3).transpose(2, 3)
        marked = tokens + self.which[: tokens.shape[1], None] + self.where
        mixed: Tensor = self.blocks(marked.flatten(1, 2)).reshape(tokens.shape)
        return mixed.transpose(2, 3).reshape(coarse.shape)


class Fusion(NetworkModel):
    """`FusionNet` on half-resolution images."""

    measures = True

    def network(self, shapes: Shapes) -> SiteNetwork:
        """An untrained network."""
        return FusionNet(shapes)
