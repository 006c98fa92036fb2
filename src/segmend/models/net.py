"""The small network: one encoder per kind of image, attention over the images of a site."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmend.core.sample import CHANNELS, EM_CHANNELS, channel
from segmend.models.losses import label_loss, split_mask_loss
from segmend.models.sites import Sites, swapped

_WIDTHS = (16, 32, 64, 96)
EMBEDDING = 96
"""Length of the vector that stands for a picture."""
_DROPOUT = 0.2
_MOMENTUM = 0.3
"""Of the running statistics: an epoch of a small benchmark has few steps to follow the weights."""


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


class SiteNet(SiteNetwork):
    """Geometry views and EM planes of sites to one logit each, or to a mask on every view.

    A mask has two classes and so one logit per pixel, that of side B against side A. A network that
    is to be symmetric looks at pairs in both orders and weighs the pictures of both together.
    """

    def __init__(self, shapes: Shapes) -> None:
        super().__init__(shapes)
        if self.views:
            self.geometry = Encoder(self.channels)
            self.geometry_embedding = Embedding(self.views)
        if self.planes:
            self.em = Encoder(len(EM_CHANNELS))
            self.em_embedding = Embedding(self.planes)
        self.fuse = nn.ModuleDict({task: Attention() for task in shapes})
        self.heads = nn.ModuleDict(
            {task: Decoder() if shape.masks else score_head() for task, shape in shapes.items()}
        )

    def forward(self, shown: Mapping[str, Sites]) -> dict[str, Tensor]:
        """Logits by task.

        Args:
            shown: What is shown of the sites of each task.

        Returns:
            (sites,) or, for masks, (sites, views, size, size).
        """
        orders = [(task, order) for task, s in shown.items() for order in self._orders(task, s)]
        maps = self._seen([order for _, order in orders])
        vectors: dict[str, list[Tensor]] = {task: [] for task in shown}
        for (task, _), (views, planes) in zip(orders, maps, strict=True):
            vectors[task] += self._embedded(views, planes)
        painted = {task: views for (task, _), (views, _) in zip(orders, maps, strict=True)}
        out = {}
        for task, sites in shown.items():
            site = self.site(task, torch.cat(vectors[task], dim=1), sites.measures)
            head = self.heads[task]
            if self.shapes[task].masks:
                out[task] = self.corrected(task, head(painted[task], site), sites.geometry)
            else:
                out[task] = head(site)[:, 0]
        return out

    def site(self, task: str, vectors: Tensor, measures: Tensor | None) -> Tensor:  # noqa: ARG002
        """One vector per site, (sites, embedding).

        Args:
            task: The task.
            vectors: Those of the pictures, in both orders of A and B where both are looked at,
                (sites, pictures, embedding).
            measures: As `Sites.measures`.
        """
        site: Tensor = self.fuse[task](vectors)
        return site

    def _orders(self, task: str, sites: Sites) -> list[Sites]:
        """In which orders of A and B the sites of a task are looked at."""
        both = self.symmetric and self.shapes[task].dual
        return [sites, swapped(sites)] if both else [sites]

    def _embedded(self, views: list[Tensor], planes: list[Tensor]) -> list[Tensor]:
        """Vectors of geometry views and of EM planes, each (sites, pictures, embedding)."""
        vectors = []
        if views:
            vectors.append(self.geometry_embedding(views[-1]))
        if planes:
            vectors.append(self.em_embedding(planes[-1]))
        return vectors

    def _seen(self, sets: Sequence[Sites]) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Maps of the geometry views and of the EM planes of each set of sites."""
        views: list[list[Tensor]] = [[] for _ in sets]
        planes: list[list[Tensor]] = [[] for _ in sets]
        if self.views:
            views = together(self.geometry, [self.widened(sites.geometry) for sites in sets])
        if self.planes:
            planes = together(self.em, [sites.em for sites in sets])
        return list(zip(views, planes, strict=True))


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


def of_sites(images: Tensor, sites: int) -> Tensor:
    """(sites * pictures, ...) taken apart into (sites, pictures, ...)."""
    return images.reshape(sites, -1, *images.shape[1:])
