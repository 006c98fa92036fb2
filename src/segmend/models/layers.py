"""What the small network is made of: convolutions to maps, maps to vectors, and back to masks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmend.models.net import of_sites

_WIDTHS = (16, 32, 64, 96)
EMBEDDING = 96
"""Length of the vector that stands for a picture."""
_DROPOUT = 0.2
_MOMENTUM = 0.3
"""Of the running statistics: an epoch of a small benchmark has few steps to follow the weights."""


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
        """(n, images, embedding) from maps (n, images, channels, rows, columns)."""
        pooled = torch.cat([maps.mean(dim=(3, 4)), maps.amax(dim=(3, 4))], dim=2)
        embedded: Tensor = self.project(pooled) + self.which[: maps.shape[1]]
        return embedded


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

    def forward(self, maps: Sequence[Tensor], site: Tensor) -> Tensor:
        """Logits of side B, (n, views, 2 * rows, 2 * columns) of the finest map (n, views, ...)."""
        out = (maps[-1] + self.context(site)[:, None, :, None, None]).flatten(0, 1)
        for stage, skip in zip(self.stages, maps[-2::-1], strict=True):
            out = stage(torch.cat([_enlarged(out), skip.flatten(0, 1)], dim=1))
        return of_sites(_enlarged(self.paint(out))[:, 0], len(site))


def score_head() -> nn.Sequential:
    """The vector of a site to one logit."""
    return nn.Sequential(
        nn.LayerNorm(EMBEDDING),
        nn.Dropout(_DROPOUT),
        nn.Linear(EMBEDDING, EMBEDDING),
        nn.GELU(),
        nn.Linear(EMBEDDING, 1),
    )


def together(encoder: Encoder, pictures: Sequence[Tensor]) -> list[list[Tensor]]:
    """Maps of several sets of pictures, encoded as one.

    The batch norms then see in training what their running statistics stand for later: the
    pictures of all tasks, in the proportion they have in a batch.

    Args:
        encoder: The encoder.
        pictures: Each (sites, pictures, channels, size, size).

    Returns:
        For each set its maps, finest first, each (sites, pictures, channels, rows, columns).
    """
    counts = [len(images) * images.shape[1] for images in pictures]
    maps = encoder(torch.cat([images.flatten(0, 1) for images in pictures]))
    taken_apart = [level.split(counts) for level in maps]
    return [
        [of_sites(level[number], len(images)) for level in taken_apart]
        for number, images in enumerate(pictures)
    ]


def _enlarged(images: Tensor) -> Tensor:
    return functional.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
