"""What the network is told it did wrong."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = 255
"""Target value of pixels that count for nothing."""


def label_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy per row, shape (rows,)."""
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def split_mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy and Dice per row, under the better of the two namings of the sides.

    The published loss (reference 3.1): the smaller over the swap of 0.5 CE + 0.5 (1 - Dice) on the
    foreground. All views of a row share one naming.

    Args:
        logits: Log odds of side B, (rows, views, size, size).
        targets: 0 = A, 1 = B, 255 = ignored, uint8, same shape.

    Returns:
        Shape (rows,); 0 for a row without foreground.
    """
    held = (targets != IGNORE).float().flatten(1)
    is_b = (targets == 1).float().flatten(1)
    flat = logits.flatten(1)
    return torch.minimum(_named(flat, is_b, held), _named(flat, 1 - is_b, held))


def _named(logits: Tensor, is_b: Tensor, held: Tensor) -> Tensor:
    count = held.sum(dim=1).clamp(min=1)
    entropy = functional.binary_cross_entropy_with_logits(logits, is_b, reduction="none")
    b = torch.sigmoid(logits) * held
    dice = (_dice(b, is_b * held) + _dice(held - b, (1 - is_b) * held)) / 2
    loss = 0.5 * (entropy * held).sum(dim=1) / count + 0.5 * (1 - dice)
    return loss * (held.sum(dim=1) > 0)


def _dice(said: Tensor, true: Tensor) -> Tensor:
    # One pixel of smoothing: a side that is neither there nor predicted is right.
    return (2 * (said * true).sum(dim=1) + 1) / (said.sum(dim=1) + true.sum(dim=1) + 1)
