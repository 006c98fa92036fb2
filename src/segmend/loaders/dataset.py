"""PyTorch views of the examples of a task."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from segmend.core.errors import BadInputError
from segmend.core.random import keyed_unit
from segmend.core.sample import VIEWS
from segmend.loaders.examples import ALL, Examples, Reading, examples
from segmend.loaders.frames import Frames, shapes
from segmend.loaders.order import strata
from segmend.loaders.schedule import Rank, Schedule, Step
from segmend.shards.memory import Pool
from segmend.shards.reader import Benchmark
from segmend.tasks.task import Look, Task

Item = dict[str, Any]
"""Tensors of one example or one batch, by name."""


class TaskDataset(Dataset[Item]):
    """Map-style data set over one task and split, for a stock `DataLoader`.

    By a number it gives one example, by a `Step` of its `schedule` a whole batch at once, decoded
    into its own arrays without a copy:

        data = TaskDataset(benchmark, task, "train", swap_ab=True)
        schedule = data.schedule(batch_size=64, balance=("label", "species"))
        loader = DataLoader(data, sampler=schedule, batch_size=None, num_workers=2,
                            multiprocessing_context="spawn", pin_memory=True)

    Tensors keep the stored types, a third of the bytes of float32; `on_device` normalises them
    where they are used. A batch holds ``hash`` (list of primary keys), ``geometry`` (float16,
    ``(rows, views, 7, 224, 224)``), ``em`` (uint8, ``(rows, planes, 3, 224, 224)``), with targets
    ``target`` (float32 ``(rows,)``, or uint8 ``(rows, views, 224, 224)`` with 0 = A, 128 = B,
    255 = ignore), and its place ``epoch`` and ``seen`` for `Schedule.state`. An example is the
    same without rows and place.

    Files are opened lazily in each process, so workers may be spawned, and each thread has its
    own, so that batches may be made in threads (`segmend.loaders.stream`).

    Args:
        benchmark: Where the rows are.
        task: The question.
        split: ``train``, ``validation`` or ``test``.
        reading: How rows are read: with targets, corrected, from a packed cache.
        swap_ab: Exchange A and B in about half of the examples, in inputs and target alike; for
            training only. Which ones depends on seed, epoch and key, not on workers or order.
        seed: Seed of the exchange.

    Raises:
        NoSamplesError: if no row of the split is routed to the task.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        task: Task,
        split: str,
        reading: Reading = ALL,
        *,
        swap_ab: bool = False,
        seed: int = 0,
    ) -> None:
        self.examples: Examples = examples(benchmark, task, split, reading)
        self._swap_ab = swap_ab
        self._seed = seed
        self._epoch = 0
        self._memory = Pool()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch for examples taken by number; a `Step` brings its own."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, which: int | Step) -> Item:
        if isinstance(which, Step):
            return self._batch(which.rows, which.epoch) | {
                "epoch": which.epoch,
                "seen": which.seen,
            }
        if not 0 <= which < len(self):
            raise IndexError(which)  # the sequence protocol ends here
        batch = self._batch(np.array([which]), self._epoch)
        return {name: value[0] for name, value in batch.items()}

    def schedule(
        self,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        balance: tuple[str, ...] = (),
        drop_last: bool = False,
        rank: Rank | None = None,
    ) -> Schedule:
        """The batches of a run over this data set.

        Args:
            batch_size: Rows per step and rank at the most.
            seed: Seed of the order.
            shuffle: Whether each epoch has its own order.
            balance: What shall come equally often: ``label``, ``species``, or every combination
                of both. Drawn from the sidecar: nothing is read to be thrown away.
            drop_last: As for `Schedule`.
            rank: As for `Schedule`.

        Raises:
            BadInputError: if the examples cannot be balanced like that.
        """
        return Schedule(
            self._keys(),
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            classes=self._classes(balance) if balance else None,
            drop_last=drop_last,
            rank=rank,
        )

    def _keys(self) -> tuple[str, ...]:
        return self.examples.hashes

    def _classes(self, balance: tuple[str, ...]) -> NDArray[np.int64]:
        unknown = set(balance) - {"label", "species"}
        if unknown:
            raise BadInputError(
                f"rows cannot be balanced by {', '.join(sorted(unknown))}",
                fix="Balance by label, species or both",
            )
        labels = [self.examples.labels] if "label" in balance else []
        species = [self.examples.species] if "species" in balance else []
        return strata(*labels, *species)

    def _batch(self, rows: NDArray[np.int64], epoch: int) -> Item:
        return self._filled(rows, epoch, self.examples.task.look)

    def _filled(self, rows: NDArray[np.int64], epoch: int, look: Look) -> Item:
        tensors = self._empty(look, len(rows))
        targets = tensors.get("target")
        frames = Frames(
            tensors["geometry"].numpy(),
            tensors["em"].numpy(),
            None if targets is None else targets.numpy(),
            look,
        )
        self.examples.fill(rows, frames)
        keys = [self.examples.hashes[i] for i in rows]
        if self._swap_ab:
            for slot, key in enumerate(keys):
                if keyed_unit("swap", self._seed, epoch, key) < 0.5:
                    frames.swap(slot, dual=self.examples.task.dual)
        return {"hash": keys, **tensors}

    def _empty(self, look: Look, n: int) -> dict[str, Tensor]:
        """Tensors that a batch is decoded into."""
        found = self.examples
        names = {"geometry": "geometry", "em": "em"}
        names |= {"targets": "target"} if found.targets else {}
        made = shapes(found.task, look, n)
        return {
            names[array]: torch.from_numpy(self._memory.empty(shape, dtype))
            for array, (shape, dtype) in made.items()
            if array in names
        }


class ViewDataset(TaskDataset):
    """The same with every geometry view and EM plane as an example of its own.

    Number ``i`` is the look ``i % len(looks)`` of row ``i // len(looks)``. A batch holds the
    geometry views and the EM planes that fell into it stacked apart: ``geometry``
    ``(a, 7, 224, 224)`` and ``em`` ``(b, 3, 224, 224)``, with ``geometry_slot`` and ``em_slot``
    (int64) naming their places in ``hash``, ``look`` and ``target``. Planes have no split mask,
    so tasks for masks show views alone.

    Only what is shown is read and decoded, except that one npz holds all three views: views one
    by one want the packed cache.
    """

    @property
    def looks(self) -> tuple[Look, ...]:
        """The parts of a row that are shown one by one."""
        task = self.examples.task
        planes = task.planes if task.target_kind == "binary" else ()
        views = (v for v in VIEWS if v in task.views)
        return (*(Look((v,), ()) for v in views), *(Look((), (p,)) for p in planes))

    def __len__(self) -> int:
        return len(self.examples) * len(self.looks)

    def __getitem__(self, which: int | Step) -> Item:
        if isinstance(which, Step):
            return super().__getitem__(which)
        if not 0 <= which < len(self):
            raise IndexError(which)
        batch = self._batch(np.array([which]), self._epoch)
        shown = "geometry" if len(batch["geometry"]) else "em"
        item = {name: batch[name][0] for name in ("hash", "look", shown)}
        return item | ({"target": batch["target"][0]} if "target" in batch else {})

    def _keys(self) -> tuple[str, ...]:
        names = [_name(look) for look in self.looks]
        return tuple(f"{key} {name}" for key in self.examples.hashes for name in names)

    def _classes(self, balance: tuple[str, ...]) -> NDArray[np.int64]:
        return np.repeat(super()._classes(balance), len(self.looks))

    def _batch(self, rows: NDArray[np.int64], epoch: int) -> Item:
        numbers, shown = np.divmod(rows, len(self.looks))
        slots = np.argsort(shown, kind="stable")  # pictures lie look by look
        parts = [
            (look, slots[shown[slots] == i])
            for i, look in enumerate(self.looks)
            if (shown == i).any()
        ]
        made = [self._filled(numbers[at], epoch, look) for look, at in parts]
        batch: Item = {
            "hash": [self.examples.hashes[i] for i in numbers],
            "look": [_name(self.looks[i]) for i in shown],
        }
        for name, like in self._empty(self.examples.task.look, 0).items():
            if name == "target":
                answers = torch.cat([part[name].reshape(-1, *like.shape[2:]) for part in made])
                batch[name] = torch.empty_like(answers)
                batch[name][torch.from_numpy(slots)] = answers
                continue
            pictures = [part[name][:, 0] for part in made if part[name].shape[1]]
            batch[name] = torch.cat([like.new_empty(0, *like.shape[2:]), *pictures])
            filled = [at for (_, at), part in zip(parts, made, strict=True) if part[name].shape[1]]
            places = np.concatenate([np.zeros(0, np.int64), *filled])
            batch[f"{name}_slot"] = torch.from_numpy(places)
        return batch


def on_device(batch: Item, device: torch.device | str = "cpu") -> Item:
    """A batch as a network takes it: float32 on a device.

    Copies the stored types, which are a third as large, and normalises there. With
    ``pin_memory=True`` in the `DataLoader` copies to a GPU overlap with its work.

    Args:
        batch: From a `DataLoader` over `TaskDataset` or `ViewDataset`.
        device: Where to.

    Returns:
        The same names; ``geometry`` float32 as stored, ``em`` float32 in [0, 1].
    """
    moved = {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }
    if "geometry" in moved:
        moved["geometry"] = moved["geometry"].float()
    if "em" in moved:
        moved["em"] = moved["em"].float().div_(255)
    return moved


def _name(look: Look) -> str:
    return "".join((*look.views, *look.planes))
