"""Ours: one network that looks at all pictures of a site together, whichever segment is called A.

Each picture becomes a grid of tokens through convolutions; the tokens of all geometry views and EM
planes, marked by picture and place, attend to each other. A pair is encoded in both orders of A
and B and the two are averaged before the head, so that the answer cannot depend on the order; a
mask names its sides by the loss, which counts both namings the same.
"""

from __future__ import annotations

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
    NetShape,
    SiteNetwork,
    of_sites,
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

    def __init__(self, shape: NetShape) -> None:
        super().__init__(shape)
        if shape.views:
            self.geometry = Encoder(shape.channels)
        if shape.planes:
            self.em = Encoder(len(EM_CHANNELS))
        self.which = positions(shape.views + shape.planes, EMBEDDING)
        self.where = positions(_GRID * _GRID, EMBEDDING)
        self.blocks = nn.Sequential(
            *(Block(EMBEDDING, _HEADS, perceptron=2, drop_path=0.1) for _ in range(_DEPTH))
        )
        self.norm = nn.LayerNorm(EMBEDDING)
        self.fuse = Attention()
        self.head = (
            Decoder()
            if shape.masks
            else nn.Sequential(
                nn.Dropout(_DROPOUT),
                nn.Linear(EMBEDDING, EMBEDDING),
                nn.GELU(),
                nn.Linear(EMBEDDING, 1),
            )
        )

    def forward(self, geometry: Tensor, em: Tensor) -> Tensor:
        """Logits (sites,), or for masks (sites, views, size, size)."""
        if self.shape.masks:
            maps, tokens = self._encoded(geometry, em)
            views = tokens[:, : self.shape.views].flatten(0, 1)
            maps[-1] = views.transpose(1, 2).reshape(len(views), -1, _GRID, _GRID)
            painted: Tensor = self.head(maps, self.fuse(tokens.flatten(1, 2)))
            return of_sites(painted, len(geometry))
        site = self._site(geometry, em)
        if self.shape.dual:
            site = (site + self._site(*swapped_images(geometry, em))) / 2
        scores: Tensor = self.head(site)[:, 0]
        return scores

    def _site(self, geometry: Tensor, em: Tensor) -> Tensor:
        """One vector per site, (sites, width), for one order of A and B."""
        _, tokens = self._encoded(geometry, em)
        site: Tensor = self.fuse(tokens.flatten(1, 2))
        return site

    def _encoded(self, geometry: Tensor, em: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps of the geometry views, and tokens (sites, pictures, places, width) of all."""
        sites, maps, coarse = len(geometry), [], []
        if self.shape.views:
            maps = self.geometry(geometry.flatten(0, 1))
            coarse.append(of_sites(maps[-1], sites))
        if self.shape.planes:
            coarse.append(of_sites(self.em(em.flatten(0, 1))[-1], sites))
        tokens = torch.cat(coarse, dim=1).flatten(3).transpose(2, 3)
        marked = tokens + self.which[:, None] + self.where
        mixed = self.norm(self.blocks(marked.flatten(1, 2)))
        return maps, mixed.reshape(sites, -1, _GRID * _GRID, EMBEDDING)


class Fusion(NetworkModel):
    """`FusionNet` on half-resolution images."""

    def network(self, shape: NetShape) -> SiteNetwork:
        """An untrained network."""
        return FusionNet(shape)
