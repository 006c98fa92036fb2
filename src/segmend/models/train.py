"""One readable training loop: AdamW, warm-up and cosine, the epoch that validation likes best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmend.core.errors import SegmendError
from segmend.core.random import keyed_generator
from segmend.loaders.order import balanced_order, epoch_order
from segmend.models.batches import Batch, Changes, batch_of
from segmend.models.model import LogRow, Report, TrainSettings
from segmend.models.net import SiteNet
from segmend.models.packed import Packed

Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes logits and targets, gives one number per row."""

_WEIGHT_DECAY = 0.05
_CLIP = 1.0
_WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; the published design warms up 5 of 20-50
epochs (reference 3.1)."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is learnt from what.

    Attributes:
        train: Rows to learn from.
        validation: Rows to choose the epoch by; None if there are none: the last epoch is kept.
        loss: Loss per row.
        swap: Whether A and B may change places.
    """

    train: Packed
    validation: Packed | None
    loss: Loss
    swap: bool

    @property
    def binary(self) -> bool:
        """Whether each row has one label."""
        return self.train.targets is not None and self.train.targets.ndim == 1


def train(net: SiteNet, lesson: Lesson, settings: TrainSettings, *, report: Report) -> list[LogRow]:
    """Train a network in place and leave it in the state of its best epoch.

    Same settings, rows and number of threads give the same losses.

    Returns:
        One row per epoch: epoch, learning_rate, train_loss and, with validation rows,
        validation_loss (both classes counting the same).
    """
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=settings.learning_rate, weight_decay=_WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, _shape(_steps(lesson, settings) * settings.epochs)
    )
    log: list[LogRow] = []
    best, best_loss = _copy(net), math.inf
    with _seeded(settings.seed):
        for epoch in range(settings.epochs):
            rate = float(schedule.get_last_lr()[0])
            losses = []
            for batch in _batches(net, lesson, settings, epoch):
                losses.append(_step(net, batch, lesson.loss, optimiser))
                schedule.step()
            row = {"epoch": epoch, "learning_rate": rate, "train_loss": float(np.mean(losses))}
            if lesson.validation is not None:
                row["validation_loss"] = validation_loss(net, lesson.validation, lesson.loss)
            _check_finite(row)
            log.append(row)
            # Without validation rows the last epoch is the best.
            loss_now = row.get("validation_loss", -float(epoch))
            if loss_now < best_loss:
                best, best_loss = _copy(net), loss_now
            report("training", epoch + 1, settings.epochs)
    net.load_state_dict(best)
    net.eval()
    return log


def _step(net: SiteNet, batch: Batch, loss: Loss, optimiser: torch.optim.Optimizer) -> float:
    """Learn from one batch; the loss before."""
    value = loss(net(batch.geometry, batch.em), batch.targets).mean()
    optimiser.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(net.parameters(), _CLIP)
    optimiser.step()
    return value.item()


def _check_finite(row: LogRow) -> None:
    if not all(math.isfinite(value) for value in row.values()):
        raise SegmendError(
            f"training diverged in epoch {row['epoch']:.0f}",
            found=", ".join(f"{name} {value}" for name, value in row.items()),
            fix="Train with a smaller learning rate",
        )


def validation_loss(net: SiteNet, rows: Packed, loss: Loss, *, batch_size: int = 64) -> float:
    """Mean loss over rows, both classes counting the same if the targets are labels."""
    net.eval()
    with torch.inference_mode():
        parts = [
            loss(net(batch.geometry, batch.em), batch.targets)
            for batch in in_order(rows, positions=net.shape.masks, batch_size=batch_size)
        ]
    values = torch.cat(parts).double().numpy()
    if rows.targets is None or rows.targets.ndim > 1:
        return float(values.mean())
    return float(np.mean([values[rows.targets == c].mean() for c in np.unique(rows.targets)]))


def in_order(rows: Packed, *, positions: bool, batch_size: int = 64) -> Iterator[Batch]:
    """All rows in their order, unchanged."""
    for start in range(0, len(rows), batch_size):
        indices = np.arange(start, min(start + batch_size, len(rows)))
        yield batch_of(rows, indices, positions=positions)


def _batches(net: SiteNet, lesson: Lesson, settings: TrainSettings, epoch: int) -> Iterator[Batch]:
    """The batches of one epoch: classes balanced, rows changed at random."""
    net.train()
    changes = Changes(
        generator=keyed_generator("augment", settings.seed, epoch),
        swap=lesson.swap,
        flip=not net.shape.masks,
    )
    order = _order(lesson, settings, epoch)
    for indices in np.array_split(order, _steps(lesson, settings)):
        yield batch_of(lesson.train, indices, positions=net.shape.masks, changes=changes)


def _rounds(lesson: Lesson, settings: TrainSettings) -> int:
    """How often an epoch goes through the rows."""
    return math.ceil(settings.epoch_rows / len(lesson.train))


def _steps(lesson: Lesson, settings: TrainSettings) -> int:
    return math.ceil(_rounds(lesson, settings) * len(lesson.train) / settings.batch_size)


def _order(lesson: Lesson, settings: TrainSettings, epoch: int) -> NDArray[np.int64]:
    rounds, seed, orders = _rounds(lesson, settings), settings.seed, []
    for number in range(epoch * rounds, (epoch + 1) * rounds):
        if lesson.binary and lesson.train.targets is not None:
            orders.append(balanced_order(lesson.train.targets.tolist(), seed, number))
        else:
            orders.append(epoch_order(len(lesson.train), seed, number))
    return np.concatenate(orders)


def _shape(total: int) -> Callable[[int], float]:
    """Learning rate as a share of its peak: linear rise, then half a cosine down to zero."""
    rise = max(1, round(total * _WARM_UP))

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))

    return share


def _copy(net: SiteNet) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeded and deterministic torch inside, everything as it was afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
