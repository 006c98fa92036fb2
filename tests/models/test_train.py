"""The training loop on rows made up in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segmend.core.errors import SegmendError
from segmend.core.random import keyed_generator
from segmend.core.sample import VIEWS, channel
from segmend.models.cnn import new_net
from segmend.models.losses import label_loss
from segmend.models.model import TrainSettings, quiet
from segmend.models.net import NetShape
from segmend.models.packed import Packed
from segmend.models.train import Lesson, _shape, in_order, train

SHAPE = NetShape(views=3, planes=1, masks=False)
SETTINGS = TrainSettings(epochs=3, batch_size=8, epoch_rows=1, learning_rate=3e-3)


def rows(count: int, *, of_ones: float = 0.5) -> Packed:
    """Rows whose label is whether the two masks are of equal size: no order of A and B in it."""
    generator = keyed_generator("rows", count, of_ones)
    geometry = np.zeros((count, 3, 7, 112, 112), np.float16)
    labels = (np.arange(count) < of_ones * count).astype(np.float32)
    for row, label in enumerate(labels):
        sizes = (50, 50) if label else generator.permutation([20, 50])
        for side, size in zip(("mask_a", "mask_b"), sizes, strict=True):
            start = generator.integers(0, 112 - size)
            geometry[row, :, channel(side), start : start + size, 30 : 30 + size] = 1
    em = np.zeros((count, 1, 3, 112, 112), np.uint8)
    return Packed(geometry, em, labels, tuple(str(i) for i in range(count)), VIEWS)


def lesson(**changes: object) -> Lesson:
    parts = {"train": rows(32), "validation": rows(16), "loss": label_loss, "swap": True}
    return Lesson(**(parts | changes))  # type: ignore[arg-type]


def test_same_seed_same_losses_and_another_seed_others() -> None:
    logs = []
    for seed in (0, 0, 1):
        settings = TrainSettings(seed=seed, epochs=1, batch_size=8, epoch_rows=1)
        logs.append(train(new_net(SHAPE, seed=seed), lesson(), settings, report=quiet))
        torch.rand(3)  # what others draw has no influence
    assert logs[0] == logs[1] != logs[2]


def test_training_leaves_global_state_of_torch_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(new_net(SHAPE, seed=0), lesson(), SETTINGS, report=quiet)
    assert torch.rand(1) == expected
    assert not torch.are_deterministic_algorithms_enabled()


def test_it_learns_what_the_masks_tell() -> None:
    net = new_net(SHAPE, seed=0)
    settings = TrainSettings(epochs=8, batch_size=8, epoch_rows=1, learning_rate=2e-3)
    log = train(net, lesson(), settings, report=quiet)
    assert log[-1]["train_loss"] < 0.4 < log[0]["train_loss"]


def test_the_net_is_left_in_the_state_of_its_best_epoch() -> None:
    net = new_net(SHAPE, seed=0)
    log = train(net, lesson(), SETTINGS, report=quiet)
    with torch.inference_mode():
        losses = [
            label_loss(net(b.geometry, b.em), b.targets)
            for b in in_order(rows(16), positions=False)
        ]
    best = min(row["validation_loss"] for row in log)
    assert torch.cat(losses).mean().item() == pytest.approx(best, rel=1e-5)


def test_without_validation_rows_the_last_epoch_stays_and_the_log_says_so() -> None:
    log = train(new_net(SHAPE, seed=0), lesson(validation=None), SETTINGS, report=quiet)
    assert len(log) == SETTINGS.epochs
    assert all("validation_loss" not in row for row in log)


def test_validation_counts_rare_and_common_labels_the_same() -> None:
    net = new_net(SHAPE, seed=0)
    rare = rows(16, of_ones=0.125)
    log = train(net, lesson(validation=rare), SETTINGS, report=quiet)
    with torch.inference_mode():
        (batch,) = in_order(rare, positions=False)
        losses = label_loss(net(batch.geometry, batch.em), batch.targets).numpy()
    by_class = [losses[rare.targets == label].mean() for label in (0, 1)]
    assert min(row["validation_loss"] for row in log) == pytest.approx(np.mean(by_class), rel=1e-5)


def test_the_learning_rate_rises_then_falls() -> None:
    shares = [_shape(100)(step) for step in range(101)]
    assert np.argmax(shares) in (9, 10)
    assert shares[9] == 1
    assert shares[100] == pytest.approx(0)
    assert (np.diff(shares[:10]) > 0).all()
    assert (np.diff(shares[10:]) < 0).all()


def test_a_small_training_split_repeats_within_an_epoch() -> None:
    settings = TrainSettings(epochs=1, batch_size=8, epoch_rows=60)
    seen = []

    def counting(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append(len(targets))
        return label_loss(logits, targets)

    train(new_net(SHAPE, seed=0), lesson(validation=None, loss=counting), settings, report=quiet)
    assert sum(seen) == 64  # twice the 32 rows
    assert max(seen) <= 8


def test_diverged_training_is_an_error_and_no_model() -> None:
    def broken(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return label_loss(logits, targets) * float("nan")

    with pytest.raises(SegmendError, match="diverged in epoch 0"):
        train(new_net(SHAPE, seed=0), lesson(loss=broken), SETTINGS, report=quiet)
