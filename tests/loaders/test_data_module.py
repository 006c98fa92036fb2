"""A stock Lightning `Trainer` over the rows of a task."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from segmend.core.errors import BadInputError, NoSamplesError, UnknownNameError
from segmend.core.sample import SAMPLE_TYPES
from segmend.loaders.data_module import Batches, TaskModule
from segmend.loaders.dataset import TaskDataset, on_device
from segmend.loaders.examples import Reading
from segmend.loaders.schedule import Rank
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS
from segmend.testing.rows import random_benchmark

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # torch 2.13, from lightning
    pytest.mark.filterwarnings("ignore:.*num_workers.*"),
    pytest.mark.filterwarnings(
        "ignore::lightning.fabric.utilities.rank_zero.LightningDeprecationWarning"
    ),
]

NAME = "false_split_correction"


class Network(LightningModule):
    """Learns a line, and notes what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.seen: list[list[str]] = []
        self.validated: list[str] = []
        self.tested: list[str] = []

    def training_step(self, batch, _number):
        self.seen.append(batch["hash"])
        assert batch["geometry"].dtype == batch["em"].dtype == torch.float32
        assert batch["em"].max() <= 1
        drawn = batch["geometry"][:, :, [0, 5, 6]].mean((1, 3, 4))
        odds = self.layer(drawn)[:, 0]
        return torch.nn.functional.binary_cross_entropy_with_logits(odds, batch["target"])

    def validation_step(self, batch, _number) -> None:
        self.validated += batch["hash"]

    def test_step(self, batch, *_) -> None:
        self.tested += batch["hash"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Kill(Callback):
    """Saves after a step, then falls over."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise KeyError("killed")


def trainer(**options) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 3, **options},
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """A benchmark with rows in every split."""
    few = {"merge_edit": 2, "adjacent_control": 1}
    counts = {"train": dict.fromkeys(SAMPLE_TYPES, 3), "validation": few, "test": few}
    return random_benchmark(tmp_path_factory.mktemp("large"), counts, shard=8)


@pytest.fixture(scope="module")
def undisturbed(large: Path) -> Network:
    """After three epochs, with its seeds."""
    return fitted(TaskModule(large, NAME, batch_size=2, seed=4, balance=("label",)))


def fitted(module: TaskModule, *callbacks: Callback, ckpt: Path | None = None, **options):
    torch.manual_seed(0)
    network = Network()
    trainer(callbacks=list(callbacks), **options).fit(network, datamodule=module, ckpt_path=ckpt)
    return network


def test_an_epoch_holds_what_its_schedule_says(large: Path, undisturbed: Network) -> None:
    data = TaskDataset(Benchmark.open(large), TASKS[NAME], "train")
    schedule = data.schedule(batch_size=2, seed=4, balance=("label",))
    steps = [step for _ in range(3) for step in schedule]
    assert undisturbed.seen == [[data.examples.hashes[row] for row in s.rows] for s in steps]
    held = TaskDataset(Benchmark.open(large), TASKS[NAME], "validation").examples.hashes
    sanity = 2  # batches that Lightning tries before it trains
    assert tuple(undisturbed.validated[min(len(held), 2 * sanity) :]) == 3 * held


@pytest.mark.parametrize("step", [2, 5, 7, 10])  # five steps are an epoch
def test_a_killed_run_goes_on_where_it_stood(large, undisturbed, tmp_path, step: int) -> None:
    """Rows and weights are those of a run that nobody killed."""
    kept = tmp_path / "kept.ckpt"
    module = TaskModule(large, NAME, batch_size=2, seed=4, balance=("label",))
    torch.manual_seed(0)
    killed = Network()
    with pytest.raises(KeyError, match="killed"):
        trainer(callbacks=[Kill(step, kept)]).fit(killed, datamodule=module)
    again = TaskModule(large, NAME, batch_size=2, seed=4, balance=("label",))
    resumed = fitted(again, ckpt=kept)
    assert killed.seen + resumed.seen == undisturbed.seen
    torch.testing.assert_close(resumed.state_dict(), undisturbed.state_dict(), rtol=0, atol=0)


def test_a_checkpoint_of_another_order_is_refused(large: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.ckpt"
    with pytest.raises(KeyError, match="killed"):
        fitted(TaskModule(large, NAME, batch_size=2, seed=4), Kill(2, kept))
    with pytest.raises(BadInputError, match="another schedule"):
        fitted(TaskModule(large, NAME, batch_size=2, seed=5), ckpt=kept)


def test_test_and_validation_rows_come_once(large: Path) -> None:
    network, module = Network(), TaskModule(large, NAME, batch_size=2)
    trainer().test(network, datamodule=module, verbose=False)
    expected = TaskDataset(Benchmark.open(large), TASKS[NAME], "test").examples.hashes
    assert tuple(network.tested) == expected


def test_an_epoch_that_is_cut_short_is_followed_by_another(large: Path) -> None:
    network = fitted(TaskModule(large, NAME, batch_size=2), limit_train_batches=2)
    data = TaskDataset(Benchmark.open(large), TASKS[NAME], "train")
    schedule, wanted = data.schedule(batch_size=2), []
    for epoch in range(3):
        schedule.set_epoch(epoch)
        wanted += [[data.examples.hashes[i] for i in s.rows] for s in list(schedule)[:2]]
    assert network.seen == wanted


def test_ranks_share_an_epoch(large: Path) -> None:
    data = TaskDataset(Benchmark.open(large), TASKS[NAME], "train")
    parts = [
        [batch["hash"] for batch in Batches(data, data.schedule(batch_size=2, rank=Rank(k, 2)))]
        for k in range(2)
    ]
    assert len(parts[0]) == len(parts[1])
    assert sorted(key for part in parts for keys in part for key in keys) == sorted(
        data.examples.hashes
    )


@pytest.mark.slow
def test_workers_change_nothing(large: Path, undisturbed: Network) -> None:
    module = TaskModule(large, NAME, batch_size=2, seed=4, balance=("label",), workers=2)
    seen = fitted(module, limit_val_batches=0, max_epochs=2).seen
    assert seen == undisturbed.seen[: len(seen)]


def test_a_packed_cache_and_benchmarks_without_validation(folder, packed: Path) -> None:
    module = TaskModule(folder, NAME, batch_size=4, reading=Reading(packed=packed))
    assert module.val_dataloader() == []
    plain = TaskModule(Benchmark.open(folder), NAME, batch_size=4)
    for one, other in zip(module.train_dataloader(), plain.train_dataloader(), strict=True):
        first, second = module.transfer_batch_to_device(one, torch.device("cpu"), 0), other
        assert torch.equal(first["geometry"], on_device(second)["geometry"])


def test_what_cannot_be_is_refused(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean"):
        TaskModule(folder, "false_split")
    with pytest.raises(BadInputError, match="0 rows per batch"):
        TaskModule(folder, NAME, batch_size=0)
    with pytest.raises(BadInputError, match="no-such-folder"):
        TaskModule(folder / "no-such-folder", NAME).setup()
    with pytest.raises(NoSamplesError, match="split 'test'"):
        TaskModule(folder, "split_mask_generation").test_dataloader()
