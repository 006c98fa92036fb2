"""PyTorch Lightning over the rows of a task: a stock `Trainer`, batches as everywhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from segmend.core.errors import BadInputError, NoSamplesError
from segmend.loaders.dataset import Item, TaskDataset, on_device
from segmend.loaders.examples import ALL, Reading
from segmend.loaders.schedule import Rank, Schedule, State
from segmend.loaders.stream import BatchStream
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS


class Batches:
    """The batches of one rank, epoch after epoch, as Lightning takes them.

    Lightning keeps `state_dict` in its checkpoints and hands it back: a run that was killed goes on
    with the batch that would have come. Its length is that of a whole epoch, also where a resumed
    one has fewer left, because Lightning adds what it counted before.

    Args:
        data: What batches are made of.
        schedule: Which they are.
        workers: Spawned processes that make them; with none, threads do.
        threads: Threads of this process that make them ahead.
    """

    def __init__(
        self, data: TaskDataset, schedule: Schedule, *, workers: int = 0, threads: int = 1
    ) -> None:
        self.data, self.schedule = data, schedule
        self._workers, self._threads = workers, threads
        self._steps = len(schedule)
        self._place = (schedule.epoch, schedule.seen)
        self._begun: int | None = None

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Item]:
        if self._begun == self.schedule.epoch:  # it was cut short: the next one is another
            self.schedule.set_epoch(self.schedule.epoch + 1)
        self._begun = self.schedule.epoch
        for batch in self._made:
            self._place = (batch["epoch"], batch["seen"])
            yield batch

    def state_dict(self) -> State:
        """The place after the batch that was given last."""
        return self.schedule.state(*self._place)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place.

        Raises:
            BadInputError: if the state is one of other rows, another seed or another balance.
        """
        self.schedule.resume(state)
        self._place = (self.schedule.epoch, self.schedule.seen)
        self._begun = None

    @cached_property
    def _made(self) -> BatchStream | DataLoader[Item]:
        """Makes the rest of the schedule's epoch each time it is iterated."""
        if not self._workers:
            return BatchStream(self.data, self.schedule, threads=self._threads)
        return DataLoader(
            self.data,
            sampler=self.schedule,
            batch_size=None,
            num_workers=self._workers,
            multiprocessing_context="spawn",
            persistent_workers=True,
            pin_memory=torch.cuda.is_available(),
        )


class TaskModule(LightningDataModule):
    """One task of a benchmark as Lightning takes it: training, validation and test.

    The order of an epoch is a pure function of seed and epoch, whatever the number of workers and
    ranks. Batches arrive on the device as `segmend.loaders.dataset.on_device` gives them.

    Args:
        benchmark: An opened benchmark, or its folder or URL.
        task: Name of the task.
        batch_size: Rows per step and rank.
        seed: Of order, balance and exchange of A and B.
        balance: What comes equally often in training: ``label``, ``species``, or both.
        reading: How rows are read, for example from a packed cache.
        workers: Spawned processes that make batches; with none, one thread makes them ahead.

    Raises:
        UnknownNameError: for a task that does not exist.
        BadInputError: for a batch size or number of workers that is none.

    Example:
        >>> module = TaskModule("bench", "false_split_correction")  # doctest: +SKIP
        >>> Trainer(max_epochs=10).fit(network, datamodule=module)  # doctest: +SKIP
    """

    def __init__(
        self,
        benchmark: Benchmark | str | Path,
        task: str,
        *,
        batch_size: int = 64,
        seed: int = 0,
        balance: tuple[str, ...] = (),
        reading: Reading = ALL,
        workers: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or workers < 0:
            raise BadInputError(f"{batch_size} rows per batch, {workers} workers cannot be")
        self.task = TASKS[task]
        self._benchmark, self._reading = benchmark, reading
        self._batch_size, self._seed, self._balance = batch_size, seed, balance
        self._workers = workers

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002  Lightning names it
        """Open the benchmark: a wrong place is an error before the first step."""
        if not isinstance(self._benchmark, Benchmark):
            self._benchmark = Benchmark.open(self._benchmark)

    def train_dataloader(self) -> Batches:
        """Shuffled and balanced; A and B exchanged at random where two segments are shown."""
        return self._batches("train", shuffle=True)

    def val_dataloader(self) -> Batches | list[Batches]:
        """Every row once; an empty list where no row of the split serves the task."""
        try:
            return self._batches("validation", shuffle=False)
        except NoSamplesError:
            return []

    def test_dataloader(self) -> Batches:
        """Every row once."""
        return self._batches("test", shuffle=False)

    def transfer_batch_to_device(
        self,
        batch: Item,
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002  Lightning names it
    ) -> Item:
        """Stored types travel, float32 is made on the device."""
        return on_device(batch, device)

    def _batches(self, split: str, *, shuffle: bool) -> Batches:
        self.setup()
        assert isinstance(self._benchmark, Benchmark)
        data = TaskDataset(
            self._benchmark,
            self.task,
            split,
            self._reading,
            swap_ab=shuffle and self.task.dual,
            seed=self._seed,
        )
        rank = Rank()
        if self.trainer is not None:
            rank = Rank(self.trainer.global_rank, self.trainer.world_size)
        schedule = data.schedule(
            batch_size=self._batch_size,
            seed=self._seed,
            shuffle=shuffle,
            balance=self._balance if shuffle else (),
            rank=rank,
        )
        return Batches(data, schedule, workers=self._workers)
