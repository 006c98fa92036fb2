"""The training loop on rows made up in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segmend.core.errors import BadInputError, ReadFailedError, SegmendError
from segmend.core.random import keyed_generator
from segmend.core.sample import VIEWS, channel
from segmend.models.checkpoint import CHECKPOINT
from segmend.models.cnn import Cnn
from segmend.models.fusion import Fusion
from segmend.models.lessons import Lesson, epoch_numbers, in_order
from segmend.models.losses import label_loss
from segmend.models.model import LogRow, Session, TrainSettings
from segmend.models.net import NetShape, SiteNetwork
from segmend.models.network import new_net as seeded_net
from segmend.models.packed import Packed
from segmend.models.train import _shape, train

TASK = "pairs"
SHAPE = NetShape(views=3, planes=1, masks=False, dual=True)
SPECIES = np.array(["fly", "mouse"])
SETTINGS = TrainSettings(epochs=3, batch_size=8, epoch_rows=1, learning_rate=3e-3)


def new_net(shape: NetShape, *, seed: int) -> SiteNetwork:
    return seeded_net(Cnn(), {TASK: shape}, seed=seed)


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
    return Packed(
        geometry, em, labels, tuple(str(i) for i in range(count)), VIEWS, SPECIES[:1].repeat(count)
    )


def lesson(**changes: object) -> dict[str, Lesson]:
    parts = {"train": rows(32), "validation": rows(16), "swap": True}
    return {TASK: Lesson(**(parts | changes))}  # type: ignore[arg-type]


def test_same_seed_same_losses_and_another_seed_others() -> None:
    logs = []
    for seed in (0, 0, 1):
        settings = TrainSettings(seed=seed, epochs=1, batch_size=8, epoch_rows=1)
        logs.append(train(new_net(SHAPE, seed=seed), lesson(), settings).log)
        torch.rand(3)  # what others draw has no influence
    assert logs[0] == logs[1] != logs[2]


def test_training_leaves_global_state_of_torch_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(new_net(SHAPE, seed=0), lesson(), SETTINGS)
    assert torch.rand(1) == expected
    assert not torch.are_deterministic_algorithms_enabled()


def test_it_learns_what_the_masks_tell() -> None:
    net = new_net(SHAPE, seed=0)
    settings = TrainSettings(epochs=8, batch_size=8, epoch_rows=1, learning_rate=2e-3)
    log = train(net, lesson(), settings).log
    assert log[-1]["train_loss"] < 0.4 < log[0]["train_loss"]


def test_fusion_learns_what_the_masks_tell() -> None:
    net = seeded_net(Fusion(), {TASK: SHAPE}, seed=0)
    settings = TrainSettings(epochs=8, batch_size=4, epoch_rows=1, learning_rate=1e-3)
    log = train(net, lesson(train=rows(16), validation=None), settings).log
    assert log[-1]["train_loss"] < 0.4 < log[0]["train_loss"]


def test_the_net_is_left_in_the_state_of_its_best_epoch() -> None:
    net = new_net(SHAPE, seed=0)
    log = train(net, lesson(), SETTINGS).log
    with torch.inference_mode():
        losses = [
            label_loss(net.ask(TASK, b.sites), b.targets)
            for b in in_order(rows(16), positions=False)
        ]
    best = min(row["validation_loss"] for row in log)
    assert torch.cat(losses).mean().item() == pytest.approx(best, rel=1e-5)


def test_without_validation_rows_the_last_epoch_stays_and_the_log_says_so() -> None:
    log = train(new_net(SHAPE, seed=0), lesson(validation=None), SETTINGS).log
    assert len(log) == SETTINGS.epochs
    assert all("validation_loss" not in row for row in log)


def test_validation_counts_rare_and_common_labels_the_same() -> None:
    net = new_net(SHAPE, seed=0)
    rare = rows(16, of_ones=0.125)
    log = train(net, lesson(validation=rare), SETTINGS).log
    with torch.inference_mode():
        (batch,) = in_order(rare, positions=False)
        losses = label_loss(net.ask(TASK, batch.sites), batch.targets).numpy()
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

    def counting(_: str, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append(len(targets))
        return label_loss(logits, targets)

    train(new_net(SHAPE, seed=0), lesson(validation=None), settings, loss=counting)
    assert sum(seen) == 64  # twice the 32 rows
    assert max(seen) <= 8


def test_diverged_training_is_an_error_and_no_model() -> None:
    def broken(_: str, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return label_loss(logits, targets) * float("nan")

    with pytest.raises(SegmendError, match="diverged in epoch 0"):
        train(new_net(SHAPE, seed=0), lesson(), SETTINGS, loss=broken)


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    settings = replace(SETTINGS, ema=0.9)
    whole = new_net(SHAPE, seed=0)
    expected = train(whole, lesson(), settings).log

    class KilledError(Exception):
        pass

    def kill(row: object) -> None:
        raise KilledError

    killed = new_net(SHAPE, seed=0)
    with pytest.raises(KilledError):
        train(killed, lesson(), settings, Session(note=kill, checkpoint=tmp_path))
    again = new_net(SHAPE, seed=1)  # a new process need not even begin from the same weights
    seen: list[LogRow] = []
    log = train(again, lesson(), settings, Session(note=seen.append, checkpoint=tmp_path)).log
    assert log == expected
    assert seen == expected[1:]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_place_of_another_training_is_refused(tmp_path: Path) -> None:
    session = Session(checkpoint=tmp_path)
    settings = replace(SETTINGS, epochs=1)
    train(new_net(SHAPE, seed=0), lesson(validation=None), settings, session)
    with pytest.raises(BadInputError, match="another training"):
        train(new_net(SHAPE, seed=0), lesson(), replace(settings, seed=1), session)
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(ReadFailedError, match="cannot read"):
        train(new_net(SHAPE, seed=0), lesson(), settings, session)


def test_species_and_labels_come_equally_often() -> None:
    packed = rows(32, of_ones=0.75)
    packed = replace(packed, species=SPECIES[(np.arange(32) % 8 == 0).astype(int)])
    balanced = Lesson(packed, None, swap=True)
    order = epoch_numbers(balanced, SETTINGS, 0, 320)
    assert packed.targets is not None
    cells, counts = np.unique(
        np.stack([packed.targets[order], packed.species[order] == "fly"]),
        axis=1,
        return_counts=True,
    )
    assert cells.shape[1] == 4
    assert counts.max() - counts.min() <= 10  # one per round
    plain = epoch_numbers(balanced, replace(SETTINGS, balance=()), 0, 32)
    assert sorted(plain) == list(range(32))


def test_the_average_follows_the_weights_and_is_what_is_kept() -> None:
    net = new_net(SHAPE, seed=0)
    slow = train(net, lesson(), replace(SETTINGS, ema=0.5)).log
    plain = train(new_net(SHAPE, seed=0), lesson(), SETTINGS).log
    assert [row["train_loss"] for row in slow] == [row["train_loss"] for row in plain]
    assert [row["validation_loss"] for row in slow] != [row["validation_loss"] for row in plain]


def test_a_larger_part_of_the_rows_holds_the_smaller() -> None:
    packed = rows(32)
    parts = [replace(SETTINGS, train_rows=n).chosen(packed.hashes) for n in (4, 16, 99)]
    assert [len(p) for p in parts if p is not None] == [4, 16, 32]
    assert set(parts[0]) < set(parts[1]) < set(parts[2])  # type: ignore[arg-type]
    few = lesson(chosen=parts[0])[TASK]
    assert set(epoch_numbers(few, SETTINGS, 0, 4)) <= set(parts[0])  # type: ignore[arg-type]


def test_training_waits_little_and_says_so() -> None:
    told = train(new_net(SHAPE, seed=0), lesson(validation=None), SETTINGS)
    assert told.rows_per_second > 0
    assert 0 <= told.waiting < 1
