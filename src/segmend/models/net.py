"""The small network: one encoder per kind of image, attention over the images of a site."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmend.core.sample import CHANNELS, EM_CHANNELS
from segmend.models.losses import label_loss, split_mask_loss

_WIDTHS = (16, 32, 64, 96)
EMBEDDING = 96
"""Length of the vector that stands for a picture."""
_DROPOUT = 0.2
_MOMENTUM = 0.3
"""Of the running statistics: an epoch of a small benchmark has few steps to follow the weights."""


@dataclass(frozen=True, slots=True)
class NetShape:
    """What decides the shape of the weights.

    Attributes:
        views: Geometry views of a site.
        planes: EM planes of a site.
        masks: Whether it paints a mask on each view, or gives one number per site.
        dual: Whether it is shown two segments, A and B.
    """

    views: int
    planes: int
    masks: bool
    dual: bool

    @property
    def channels(self) -> int:
        """Channels of a geometry view: those of the row and, for masks, the world position.

        The sides of a mask have no order, but one naming holds for all views: only a network that
        knows where each pixel lies in space can keep to one.
        """
        return len(CHANNELS) + (3 if self.masks else 0)


class SiteNetwork(nn.Module):
    """What the training loop asks of a network.

    Attributes:
        shape: What decides the shape of its weights.
        symmetric: Whether its answer cannot depend on which segment is called A; if not, both
            orders are asked and averaged.
    """

    symmetric = False

    def __init__(self, shape: NetShape) -> None:
        super().__init__()
        self.shape = shape

    def loss(self, out: Tensor, targets: Tensor) -> Tensor:
        """Loss per row, (rows,), of what `forward` gave."""
        return split_mask_loss(out, targets) if self.shape.masks else label_loss(out, targets)

    def log_odds(self, out: Tensor) -> Tensor:
        """Log odds of label 1, float64 (rows,), of what `forward` gave."""
        return out.double()


class Encoder(nn.Module):
    """Four strided convolutions: maps at 1/2, 1/4, 1/8 and 1/16 of the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, *_WIDTHS)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(b, momentum=_MOMENTUM),
                nn.ReLU(inplace=True),
            )
            for a, b in pairwise(widths)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of images (n, channels, size, size), finest first."""
        maps = []
        # A third faster on CPUs than channels first (benchmarks/bench_models.py).
        images = images.contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps


class Embedding(nn.Module):
    """One vector per image from its coarsest map, told apart by a learnt vector per image."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * _WIDTHS[-1], EMBEDDING)
        self.which = nn.Parameter(torch.zeros(images, EMBEDDING))

    def forward(self, maps: Tensor) -> Tensor:
        """(n, images, embedding) from maps (n * images, channels, rows, columns)."""
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        images, width = self.which.shape
        return self.project(pooled).reshape(-1, images, width) + self.which


class Attention(nn.Module):
    """A weighted mean over the images of a site, the weights asked of the images themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.ask = nn.Linear(EMBEDDING, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(n, embedding) from (n, images, embedding)."""
        weights = torch.softmax(self.ask(torch.tanh(embeddings)), dim=1)
        return (weights * embeddings).sum(dim=1)


class Decoder(nn.Module):
    """Back up to half of the resolution, with what the whole site says added at the bottom."""

    def __init__(self) -> None:
        super().__init__()
        self.context = nn.Linear(EMBEDDING, _WIDTHS[-1])
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a + b, b, 3, padding=1, bias=False),
                nn.BatchNorm2d(b, momentum=_MOMENTUM),
                nn.ReLU(inplace=True),
            )
            for a, b in zip(_WIDTHS[:0:-1], _WIDTHS[-2::-1], strict=True)
        )
        self.paint = nn.Conv2d(_WIDTHS[0], 1, 1)

    def forward(self, maps: list[Tensor], site: Tensor) -> Tensor:
        """Logits of side B, (n * views, 2 * rows, 2 * columns) of the finest map."""
        images = len(maps[-1]) // len(site)
        context = self.context(site).repeat_interleave(images, dim=0)
        out = maps[-1] + context[:, :, None, None]
        for stage, skip in zip(self.stages, maps[-2::-1], strict=True):
            out = stage(torch.cat([_enlarged(out), skip], dim=1))
        return _enlarged(self.paint(out))[:, 0]


class SiteNet(SiteNetwork):
    """Geometry views and EM planes of a site to one logit, or to a mask on every view.

    A mask has two classes and so one logit per pixel, that of side B against side A.
    """

    def __init__(self, shape: NetShape) -> None:
        super().__init__(shape)
        if shape.views:
            self.geometry = Encoder(shape.channels)
            self.geometry_embedding = Embedding(shape.views)
        if shape.planes:
            self.em = Encoder(len(EM_CHANNELS))
            self.em_embedding = Embedding(shape.planes)
        self.fuse = Attention()
        self.head = (
            Decoder()
            if shape.masks
            else nn.Sequential(
                nn.LayerNorm(EMBEDDING),
                nn.Dropout(_DROPOUT),
                nn.Linear(EMBEDDING, EMBEDDING),
                nn.GELU(),
                nn.Linear(EMBEDDING, 1),
            )
        )

    def forward(self, geometry: Tensor, em: Tensor) -> Tensor:
        """Logits of sites.

        Args:
            geometry: float32 (sites, views, `NetShape.channels`, size, size).
            em: float32 (sites, planes, 3, size, size).

        Returns:
            (sites,) or, for masks, (sites, views, size, size).
        """
        embeddings, maps = [], []
        if self.shape.views:
            maps = self.geometry(geometry.flatten(0, 1))
            embeddings.append(self.geometry_embedding(maps[-1]))
        if self.shape.planes:
            embeddings.append(self.em_embedding(self.em(em.flatten(0, 1))[-1]))
        site = self.fuse(torch.cat(embeddings, dim=1))
        if self.shape.masks:
            painted: Tensor = self.head(maps, site)
            return of_sites(painted, len(geometry))
        scores: Tensor = self.head(site)[:, 0]
        return scores


def _enlarged(images: Tensor) -> Tensor:
    return functional.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)


def of_sites(images: Tensor, sites: int) -> Tensor:
    """(sites * pictures, ...) taken apart into (sites, pictures, ...)."""
    return images.reshape(sites, -1, *images.shape[1:])
