"""A PyTorch view of the examples of a task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from segmend.core.random import keyed_unit
from segmend.core.sample import SPLIT_MASK_A, SPLIT_MASK_B, channel, em_channel
from segmend.loaders.examples import Example, Examples, examples
from segmend.shards.reader import Benchmark
from segmend.tasks.task import Task

Item = dict[str, Any]


class TaskDataset(Dataset[Item]):
    """Map-style data set over one task and split, for a stock `DataLoader`.

    An item is a dict of ``hash`` (str, the primary key), ``geometry`` (float32 tensor
    ``(views, channels, 224, 224)``), ``em`` (float32 in [0, 1], ``(planes, channels, 224, 224)``)
    and, with targets, ``target``: a float32 scalar, or uint8 ``(views, 224, 224)`` with 0 = A,
    128 = B, 255 = ignore.

    Files are opened lazily in each process, so workers may be spawned.

    Args:
        benchmark: Where the rows are.
        task: The question.
        split: ``train``, ``validation`` or ``test``.
        swap_ab: Exchange A and B in about half of the items, in inputs and target alike; for
            training only. Which ones depends on seed, epoch and key, not on workers or order.
        seed: Seed of the exchange.
        targets: Whether items have a ``target``.

    Raises:
        NoSamplesError: if no row of the split is routed to the task.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        task: Task,
        split: str,
        *,
        swap_ab: bool = False,
        seed: int = 0,
        targets: bool = True,
    ) -> None:
        self.examples: Examples = examples(benchmark, task, split, targets=targets)
        self._swap_ab = swap_ab
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; call it before iterating a `DataLoader` (no persistent workers)."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> Item:
        example = self.examples[i]
        key = ("swap", self._seed, self._epoch, example.sample_hash)
        if self._swap_ab and keyed_unit(*key) < 0.5:
            example = swapped(example, dual=self.examples.task.dual)
        return to_item(example)


def swapped(example: Example, *, dual: bool) -> Example:
    """The example with A and B exchanged.

    Args:
        example: Any example.
        dual: Whether its task shows two segments; if not, inputs stay as they are, because both
            sides are united in A.
    """
    inputs, target = example.inputs, example.target
    if dual:
        inputs = replace(
            inputs,
            geometry=_exchange(inputs.geometry, channel("mask_a"), channel("mask_b"), axis=1),
            em=_exchange(inputs.em, em_channel("mask_a"), em_channel("mask_b"), axis=3),
        )
    if isinstance(target, np.ndarray):
        a, b = target == SPLIT_MASK_A, target == SPLIT_MASK_B
        target = np.where(a, np.uint8(SPLIT_MASK_B), np.where(b, np.uint8(SPLIT_MASK_A), target))
    return replace(example, inputs=inputs, target=target)


def to_item(example: Example) -> Item:
    """Tensors of an example, as `TaskDataset` describes them."""
    em = torch.from_numpy(np.ascontiguousarray(np.moveaxis(example.inputs.em, -1, 1)))
    item: Item = {
        "hash": example.sample_hash,
        "geometry": torch.from_numpy(example.inputs.geometry).float(),
        "em": em.float().div_(255),
    }
    if isinstance(example.target, np.ndarray):
        item["target"] = torch.from_numpy(example.target)
    elif example.target is not None:
        item["target"] = torch.tensor(example.target, dtype=torch.float32)
    return item


def _exchange(images: NDArray[Any], a: int, b: int, *, axis: int) -> NDArray[Any]:
    order = np.arange(images.shape[axis])
    order[[a, b]] = b, a
    return np.take(images, order, axis=axis)
