"""The small network of the project: convolutions, and a weighted mean over the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from segmend.core.sample import EM_CHANNELS
from segmend.models.layers import Attention, Decoder, Embedding, Encoder, score_head, together
from segmend.models.net import Shapes, SiteNetwork
from segmend.models.network import NetworkModel
from segmend.models.sites import Sites, swapped


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


class Cnn(NetworkModel):
    """`SiteNet` on half-resolution images."""

    def network(self, shapes: Shapes) -> SiteNetwork:
        """An untrained network."""
        return SiteNet(shapes)
