"""Transformer blocks: what the networks that attend are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Self-attention and a perceptron, each normalised before and added to what came in.

    Args:
        width: Length of a token.
        heads: Attention heads; they share the width.
        perceptron: Width of the hidden layer as a multiple of ``width``.
        drop_path: Probability, in training, that a branch of a row is left out.
        still: Whether it begins as if it were not there: both branches say nothing at first.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        perceptron: int = 4,
        drop_path: float = 0.0,
        still: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.drop_path = heads, drop_path
        self.before_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.before_perceptron = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, perceptron * width), nn.GELU(), nn.Linear(perceptron * width, width)
        )
        if still:
            for weight in (*self.mix.parameters(), *self.perceptron[2].parameters()):
                nn.init.zeros_(weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """(rows, tokens, width) from the same."""
        tokens = tokens + self._kept(self._attended(self.before_attention(tokens)))
        return tokens + self._kept(self.perceptron(self.before_perceptron(tokens)))

    def _attended(self, tokens: Tensor) -> Tensor:
        rows, count, width = tokens.shape
        parts = self.queries_keys_values(tokens).reshape(rows, count, 3, self.heads, -1)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        out = functional.scaled_dot_product_attention(queries, keys, values)
        mixed: Tensor = self.mix(out.transpose(1, 2).reshape(rows, count, width))
        return mixed

    def _kept(self, branch: Tensor) -> Tensor:
        """The branch, or in training now and then nothing of it (Huang et al., ECCV 2016)."""
        if not self.training or not self.drop_path:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path
        return branch * kept / (1 - self.drop_path)


def positions(count: int, width: int) -> nn.Parameter:
    """A learnt vector for each of several places, small at first (std 0.02, as ViT has it)."""
    return nn.Parameter(torch.randn(count, width) * 0.02)
