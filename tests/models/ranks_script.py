"""Trains a small network on made-up rows; ``torchrun`` starts it (see `test_ranks`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from segmend.core.random import keyed_generator
from segmend.core.sample import VIEWS
from segmend.models.lessons import Lesson
from segmend.models.model import Session, TrainSettings, rank_here
from segmend.models.net import NetShape, SiteNetwork
from segmend.models.packed import Packed
from segmend.models.sites import Sites
from segmend.models.train import train

SHAPES = {
    "pairs": NetShape(views=3, planes=1, masks=False, dual=True),
    "singles": NetShape(views=3, planes=1, masks=False, dual=False),
}
SETTINGS = TrainSettings(epochs=2, batch_size=6, epoch_rows=1, learning_rate=1e-2, ema=0.9)


class Means(SiteNetwork):
    """Without batch norm and dropout, which see one process's part of a batch only."""

    def __init__(self) -> None:
        super().__init__(SHAPES)
        self.heads = nn.ModuleDict({task: nn.Linear(3 * 7 + 3, 1) for task in SHAPES})

    def forward(self, shown: Mapping[str, Sites]) -> dict[str, Tensor]:
        return {task: self.heads[task](_means(p)).squeeze(1) for task, p in shown.items()}


def _means(sites: Sites) -> Tensor:
    return torch.cat([images.mean((3, 4)).flatten(1) for images in sites[:2]], 1)


def rows(count: int) -> Packed:
    draws = keyed_generator("ranks", count)
    return Packed(
        draws.random((count, 3, 7, 112, 112)).astype(np.float16),
        draws.integers(0, 256, (count, 1, 3, 112, 112), np.uint8),
        (np.arange(count) % 2).astype(np.float32),
        tuple(map(str, range(count))),
        VIEWS,
        np.array(["fly"] * count),
    )


def main(out: Path) -> None:
    torch.manual_seed(0)
    net = Means()
    # 17 + 10 rows in 5 batches: parts are of different sizes, and so are the tasks.
    lessons = {
        "pairs": Lesson(rows(17), rows(6), swap=True),
        "singles": Lesson(rows(10), rows(4), swap=False),
    }
    log = train(net, lessons, SETTINGS, Session(checkpoint=out / "place")).log
    losses = torch.tensor([[row["train_loss"], row["validation_loss"]] for row in log])
    save_file(net.state_dict() | {"losses": losses}, out / f"rank-{rank_here()}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
