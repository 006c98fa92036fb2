"""What a network is shown of some sites."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from segmend.core.sample import channel, em_channel

_SIDES = [channel("mask_a"), channel("mask_b")]
_EM_SIDES = [em_channel("mask_a"), em_channel("mask_b")]


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
    geometry[:, :, _SIDES] = sites.geometry[:, :, _SIDES[::-1]]
    em[:, :, _EM_SIDES] = sites.em[:, :, _EM_SIDES[::-1]]
    return Sites(geometry, em, sites.measures)
