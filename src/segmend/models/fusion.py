"""Ours: one network that looks at all pictures of a site together, whichever segment is called A.

Each picture becomes a grid of tokens through convolutions; the tokens of all geometry views and EM
planes, marked by picture and place, attend to each other. A pair is encoded in both orders of A
and B and the two are averaged before the head, so that the answer cannot depend on the order; a
mask names its sides by the loss, which counts both namings the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from segmend.core.sample import EM_CHANNELS
from segmend.models.attention import Block, positions
from segmend.models.batches import swapped_images
from segmend.models.net import (
    EMBEDDING,
    Attention,
    Decoder,
    Encoder,
    Pictures,
    Shapes,
    SiteNetwork,
    together,
)
from segmend.models.network import NetworkModel
from segmend.models.views import SIZE

_DEPTH, _HEADS = 2, 4
_GRID = SIZE // 16
"""Tokens along a side of a picture: the encoder halves the resolution four times."""
_DROPOUT = 0.2


class FusionNet(SiteNetwork):
    """All pictures of a site to one logit, or to a mask on every geometry view."""

    symmetric = True

    def __init__(self, shapes: Shapes) -> None:
        super().__init__(shapes)
        if self.views:
            self.geometry = Encoder(self.channels)
        if self.planes:
            self.em = Encoder(len(EM_CHANNELS))
        self.which = positions(self.views + self.planes, EMBEDDING)
        self.where = positions(_GRID * _GRID, EMBEDDING)
        self.blocks = nn.Sequential(
            *(Block(EMBEDDING, _HEADS, perceptron=2, drop_path=0.1) for _ in range(_DEPTH))
        )
        self.norm = nn.LayerNorm(EMBEDDING)
        self.fuse = nn.ModuleDict({task: Attention() for task in shapes})
        self.heads = nn.ModuleDict(
            {task: Decoder() if shape.masks else _score_head() for task, shape in shapes.items()}
        )

    def forward(self, shown: Mapping[str, Pictures]) -> dict[str, Tensor]:
        """Logits by task: (sites,), or for masks (sites, views, size, size)."""
        orders = [(task, *order) for task, p in shown.items() for order in self._orders(task, p)]
        seen = self.seen([(geometry, em) for _, geometry, em in orders])
        sites: dict[str, list[Tensor]] = {task: [] for task in shown}
        for (task, *_), (_, tokens) in zip(orders, seen, strict=True):
            sites[task].append(self.fuse[task](tokens.flatten(1, 2)))
        maps = {task: maps for (task, *_), (maps, _) in zip(orders, seen, strict=True)}
        out = {}
        for task, found in sites.items():
            site, head = torch.stack(found).mean(dim=0), self.heads[task]
            out[task] = head(maps[task], site) if self.shapes[task].masks else head(site)[:, 0]
        return out

    def _orders(self, task: str, pictures: Pictures) -> list[Pictures]:
        """What is encoded for a task: a pair in both orders of A and B."""
        if self.shapes[task].dual:
            return [pictures, swapped_images(*pictures)]
        return [pictures]

    def seen(self, shown: Sequence[Pictures]) -> list[tuple[list[Tensor], Tensor]]:
        """Maps of the geometry views, and tokens (sites, pictures, places, width), of each set.

        The coarsest maps are the tokens of the views, after all have looked at all.
        """
        views: list[list[Tensor]] = [[] for _ in shown]
        planes: list[list[Tensor]] = [[] for _ in shown]
        if self.views:
            views = together(self.geometry, [self.widened(geometry) for geometry, _ in shown])
        if self.planes:
            planes = together(self.em, [em for _, em in shown])
        return [self._mixed(maps, levels[-1:]) for maps, levels in zip(views, planes, strict=True)]

    def _mixed(self, maps: list[Tensor], planes: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        tokens = torch.cat([*maps[-1:], *planes], dim=1).flatten(3).transpose(2, 3)
        marked = tokens + self.which[: tokens.shape[1], None] + self.where
        mixed = self.norm(self.blocks(marked.flatten(1, 2))).reshape(tokens.shape)
        if maps:
            of_views = mixed[:, : maps[-1].shape[1]]
            maps = [*maps[:-1], of_views.transpose(2, 3).reshape(maps[-1].shape)]
        return maps, mixed


def _score_head() -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(_DROPOUT),
        nn.Linear(EMBEDDING, EMBEDDING),
        nn.GELU(),
        nn.Linear(EMBEDDING, 1),
    )


class Fusion(NetworkModel):
    """`FusionNet` on half-resolution images."""

    def network(self, shapes: Shapes) -> SiteNetwork:
        """An untrained network."""
        return FusionNet(shapes)
