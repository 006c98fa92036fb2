"""The small network of the project: convolutions, and a weighted mean over the pictures."""

from __future__ import annotations

from segmend.models.net import Shapes, SiteNet, SiteNetwork
from segmend.models.network import NetworkModel


class Cnn(NetworkModel):
    """`SiteNet` on half-resolution images."""

    def network(self, shapes: Shapes) -> SiteNetwork:
        """An untrained network."""
        return SiteNet(shapes)
