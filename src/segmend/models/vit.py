"""The published design: a vision transformer that looks at one picture at a time.

Two patch embeddings (geometry, EM), one encoder for both, a head on the class token; every view
of a site is an example of its own, and the score of a site is the mean probability over its views
(reference 3.1). Plain torch. Ours differ from the published training in this: no ImageNet weights,
one run per task, and for masks the geometry carries world positions, because one naming of the
sides holds for all views of a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from segmend.core.sample import EM_CHANNELS, IMAGE_SIZE
from segmend.models.attention import Block, positions
from segmend.models.losses import label_loss, split_mask_loss
from segmend.models.net import Shapes, SiteNetwork, of_sites
from segmend.models.network import NetworkModel
from segmend.models.sites import Sites
from segmend.models.views import SIZE

PATCH = 16
LABEL_SMOOTHING = 0.1
_DROPOUT = 0.1


@dataclass(frozen=True, slots=True)
class VitSize:
    """How large a transformer is.

    Attributes:
        image: Width and height of the pictures it sees, pixels.
        width: Length of a token.
        depth: Blocks.
        heads: Attention heads.
        head_widths: Channels of the mask head between tokens and the two classes.
        drop_path: Chance that a branch is left out, rising linearly to this in the last block.
    """

    image: int
    width: int
    depth: int
    heads: int
    head_widths: tuple[int, int, int]
    drop_path: float = 0.1


SIZES = {
    "tiny": VitSize(SIZE, 96, 4, 3, (64, 32, 16)),
    "base": VitSize(IMAGE_SIZE, 768, 12, 12, (256, 128, 64)),
}
"""``base`` is ViT-B/16 as published; ``tiny`` trains on a laptop, at half the resolution."""


class PictureNetwork(SiteNetwork):
    """A network that scores every picture alone, as published."""

    def loss(self, task: str, out: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy with label smoothing over the pictures of a row; or the mask loss."""
        if self.shapes[task].masks:
            return split_mask_loss(out, targets)
        smooth = targets * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / 2
        return label_loss(out, smooth[:, None].expand_as(out)).mean(dim=1)

    def log_odds(self, out: Tensor) -> Tensor:
        """Of the mean probability over the pictures of a site."""
        return torch.logit(torch.sigmoid(out.double()).mean(dim=1), eps=1e-9)


class VitNet(PictureNetwork):
    """Pictures of a site to one logit per picture, or to a mask on every geometry view."""

    def __init__(self, shapes: Shapes, size: VitSize) -> None:
        super().__init__(shapes)
        self.size = size
        if self.views:
            self.geometry = nn.Conv2d(self.channels, size.width, PATCH, stride=PATCH)
        if self.planes:
            self.em = nn.Conv2d(len(EM_CHANNELS), size.width, PATCH, stride=PATCH)
        self.cls = positions(1, size.width)
        self.where = positions(1 + (size.image // PATCH) ** 2, size.width)
        self.blocks = nn.Sequential(
            *(
                Block(size.width, size.heads, drop_path=size.drop_path * i / (size.depth - 1))
                for i in range(size.depth)
            )
        )
        self.norm = nn.LayerNorm(size.width)
        self.heads = nn.ModuleDict(
            {
                task: mask_head((size.width, *size.head_widths))
                if shape.masks
                else score_head(size.width)
                for task, shape in shapes.items()
            }
        )

    def forward(self, shown: Mapping[str, Sites]) -> dict[str, Tensor]:
        """Logits by task: (sites, pictures), geometry views first; masks (sites, views, ...)."""
        return {task: self._answer(task, sites.geometry, sites.em) for task, sites in shown.items()}

    def _answer(self, task: str, geometry: Tensor, em: Tensor) -> Tensor:
        sites, masks = len(geometry), self.shapes[task].masks
        patches = []
        if self.views:
            views = self.widened(geometry).flatten(0, 1)
            patches.append(of_sites(self.geometry(views), sites))
        if self.planes and not masks:
            patches.append(of_sites(self.em(em.flatten(0, 1)), sites))
        tokens = self._encoded(torch.cat(patches, dim=1).flatten(0, 1))
        if not masks:
            logits: Tensor = self.heads[task](tokens[:, 0]).reshape(sites, -1)
            return logits
        side = math.isqrt(tokens.shape[1] - 1)
        maps = tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, side, side)
        a, b = self.heads[task](maps).unbind(1)
        return self.corrected(task, of_sites(b - a, sites), geometry)

    def _encoded(self, patches: Tensor) -> Tensor:
        """Tokens (pictures, 1 + patches, width), the class token first."""
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(tokens), 1, -1), tokens], dim=1)
        encoded: Tensor = self.norm(self.blocks(tokens + self.where))
        return encoded


def score_head(width: int) -> nn.Sequential:
    """Features of a picture to one logit."""
    return nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(width, 1))


def mask_head(widths: tuple[int, ...]) -> nn.Sequential:
    """Maps to two classes per pixel: transposed convolutions, each doubling, the last to both."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.ConvTranspose2d(a, b, 2, stride=2), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], 2, 2, stride=2))


class VitTiny(NetworkModel):
    """The published design, as small as a laptop needs it."""

    size = "tiny"
    image_size = SIZES["tiny"].image
    takes_backbone = True

    def network(self, shapes: Shapes) -> SiteNetwork:
        """An untrained transformer, or the backbone that was asked for."""
        if self.backbone is None:
            return VitNet(shapes, SIZES[self.size])
        from segmend.models.timm_net import TimmNet

        return TimmNet(shapes, self.backbone.name, self.image_size, imagenet=self.backbone.imagenet)


class VitBase(VitTiny):
    """ViT-B/16, as published; for a GPU."""

    size = "base"
    image_size = SIZES["base"].image
