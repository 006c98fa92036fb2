"""What a network is shown of some sites."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from segmend.core.sample import channel, em_channel

SIDES = [channel("mask_a"), channel("mask_b")]
EM_SIDES = [em_channel("mask_a"), em_channel("mask_b")]
"""Channels of geometry and of EM that change places with A and B."""


class Sites(NamedTuple):
    """Pictures of some sites, and what was measured on them.

    Attributes:
        geometry: float32 (sites, views, `NetShape.channels`, size, size).
        em: float32 in [0, 1], (sites, planes, 3, size, size).
        measures: float32 (sites, features) of `row_features`; None for a network that takes none.
    """

    geometry: Tensor
    em: Tensor
    measures: Tensor | None = None


def swapped(sites: Sites) -> Sites:
    """The same sites with A and B exchanged; measurements do not tell which is which."""
    geometry, em = sites.geometry.clone(), sites.em.clone()
    geometry[:, :, SIDES] = sites.geometry[:, :, SIDES[::-1]]
    em[:, :, EM_SIDES] = sites.em[:, :, EM_SIDES[::-1]]
    return Sites(geometry, em, sites.measures)
