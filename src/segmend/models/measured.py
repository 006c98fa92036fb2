"""What was measured on a site, as a vector beside those of its pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segmend.models.features import UNMEASURED

_DROPOUT = 0.2
_FARTHEST = 4.0
"""Measurements farther than this from the usual, in its spreads, count as this far."""


class Measured(nn.Module):
    """Measurements to a vector; it says nothing at first.

    Each is taken as its distance from what is usual, with a second number that says whether it was
    made at all. What is usual belongs to the weights, so that other rows are measured alike.

    Args:
        measures: How many there are.
        width: Length of the vector.
    """

    usual: Tensor
    spread: Tensor

    def __init__(self, measures: int, width: int) -> None:
        super().__init__()
        self.register_buffer("usual", torch.zeros(measures))
        self.register_buffer("spread", torch.ones(measures))
        self.layers = nn.Sequential(
            nn.Linear(2 * measures, width),
            nn.GELU(),
            nn.Dropout(_DROPOUT),
            nn.Linear(width, width),
        )
        for weight in self.layers[3].parameters():
            nn.init.zeros_(weight)

    def scale_to(self, measures: Tensor) -> None:
        """Learn mean and deviation of each measurement from rows (rows, features)."""
        made = measures != UNMEASURED
        count = made.sum(dim=0).clamp(min=1)
        self.usual.copy_((measures * made).sum(dim=0) / count)
        away = (measures - self.usual) * made
        spread = (away.square().sum(dim=0) / count).sqrt()
        self.spread.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))

    def forward(self, measures: Tensor) -> Tensor:
        """(sites, width) from (sites, features)."""
        made = measures != UNMEASURED
        away = ((measures - self.usual) / self.spread).clamp(-_FARTHEST, _FARTHEST) * made
        vector: Tensor = self.layers(torch.cat([away, made.to(away.dtype)], dim=1))
        return vector
