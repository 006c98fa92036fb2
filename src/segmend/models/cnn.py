"""The small network of the project: convolutions, and a weighted mean over the pictures."""

from __future__ import annotations

from segmend.models.net import NetShape, SiteNet, SiteNetwork
from segmend.models.network import NetworkModel


class Cnn(NetworkModel):
    """`SiteNet` on half-resolution images."""

    def network(self, shape: NetShape) -> SiteNetwork:
        """An untrained network."""
        return SiteNet(shape)
