"""What is learnt from: rows of each task, and the batches of an epoch in their order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.loaders.order import balanced_order, epoch_order, strata
from segmend.models.batches import Batch, Changes, batch_of
from segmend.models.model import TrainSettings
from segmend.models.packed import Packed


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is learnt from what, for one task.

    Attributes:
        train: Rows to learn from.
        validation: Rows to choose the epoch by; None if there are none: the last epoch is kept.
        swap: Whether A and B may change places.
        chosen: Numbers of the rows of ``train`` to learn from; None for all.
    """

    train: Packed
    validation: Packed | None
    swap: bool
    chosen: NDArray[np.int64] | None = None

    @property
    def rows(self) -> NDArray[np.int64]:
        """Numbers of the rows to learn from."""
        return np.arange(len(self.train)) if self.chosen is None else self.chosen

    def classes(self, balance: tuple[str, ...]) -> NDArray[np.int64] | None:
        """A class per row to learn from, to come equally often; None where nothing balances."""
        rows, columns = self.rows, []
        if "label" in balance and self.train.targets is not None and self.train.targets.ndim == 1:
            columns.append(self.train.targets[rows])
        if "species" in balance:
            columns.append(self.train.species[rows])
        return strata(*columns) if columns else None


Lessons = Mapping[str, Lesson]
"""Lessons by the name of the task."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Which part of every batch a process takes.

    Attributes:
        rank: Its number among them.
        world: How many there are.
        masks: Tasks that are answered with masks: their rows are not mirrored.
    """

    rank: int
    world: int
    masks: frozenset[str]


def epoch_rows(lessons: Lessons, settings: TrainSettings) -> dict[str, int]:
    """Rows of each task in an epoch: all of them, in the proportion that the settings weigh."""
    rows = {
        task: math.ceil(settings.epoch_rows / len(lesson.rows)) * len(lesson.rows)
        for task, lesson in lessons.items()
    }
    weights = dict(settings.weights)
    if not weights:
        return rows
    unknown = sorted(weights.keys() - lessons.keys())
    if unknown:
        raise BadInputError(
            f"weights for tasks that are not learnt: {', '.join(unknown)}",
            fix=f"Tasks: {', '.join(lessons)}",
        )
    shares = {task: weights.get(task, 1.0) for task in lessons}
    every, total = sum(rows.values()), sum(shares.values())
    return {task: max(1, round(every * share / total)) for task, share in shares.items()}


def epoch_steps(lessons: Lessons, settings: TrainSettings) -> int:
    """Batches of an epoch."""
    return math.ceil(sum(epoch_rows(lessons, settings).values()) / settings.batch_size)


def epoch_numbers(
    lesson: Lesson, settings: TrainSettings, epoch: int, count: int
) -> NDArray[np.int64]:
    """Numbers of the rows of an epoch: classes and species equally often, as the settings ask."""
    rounds = math.ceil(count / len(lesson.rows))
    classes, orders = lesson.classes(settings.balance), []
    for number in range(epoch * rounds, (epoch + 1) * rounds):
        if classes is None:
            orders.append(epoch_order(len(lesson.rows), settings.seed, number))
        else:
            orders.append(balanced_order(classes, settings.seed, number))
    return lesson.rows[np.concatenate(orders)[:count]]


def epoch_batches(
    lessons: Lessons, settings: TrainSettings, epoch: int, seat: Seat
) -> Iterator[tuple[dict[str, Batch], dict[str, int]]]:
    """A process's part of the batches of an epoch, and how many rows each batch has in all.

    The next one is made while this one is learnt from.

    Raises:
        BadInputError: if a batch has fewer rows of a task than there are processes.
    """
    steps = epoch_steps(lessons, settings)
    counts = epoch_rows(lessons, settings)
    orders = {
        task: np.array_split(epoch_numbers(lesson, settings, epoch, counts[task]), steps)
        for task, lesson in lessons.items()
    }
    check_sizes(orders, seat.world)

    def make(step: int) -> dict[str, Batch]:
        key = (settings.seed, epoch, step)
        return {
            task: _part(seat, task in seat.masks, lesson, key, orders[task][step])
            for task, lesson in lessons.items()
        }

    with ThreadPoolExecutor(1, thread_name_prefix="segmend-batches") as pool:
        ahead = pool.submit(make, 0)
        for step in range(steps):
            batch = ahead.result()
            if step + 1 < steps:
                ahead = pool.submit(make, step + 1)
            yield batch, {task: len(order[step]) for task, order in orders.items()}


def check_sizes(orders: Mapping[str, Sequence[NDArray[np.int64]]], processes: int) -> None:
    """Every process learns from every task in every step."""
    for task, order in orders.items():
        smallest = min(map(len, order))
        if smallest < processes:
            raise BadInputError(
                "a batch has fewer rows than there are processes",
                found=f"{smallest} rows of '{task}', {processes} processes",
                fix="Train with a larger --batch-size, or give the task a larger --weight",
            )


def _part(
    seat: Seat, masks: bool, lesson: Lesson, key: tuple[int, ...], rows: NDArray[np.int64]
) -> Batch:
    """One process's part of a batch, its rows changed at random as without other processes."""
    numbers = np.arange(seat.rank, len(rows), seat.world)
    changes = Changes(key, numbers, swap=lesson.swap, flip=not masks)
    return batch_of(lesson.train, rows[numbers], positions=masks, changes=changes)


def in_order(rows: Packed, *, positions: bool, batch_size: int = 64) -> Iterator[Batch]:
    """All rows in their order, unchanged."""
    for start in range(0, len(rows), batch_size):
        indices = np.arange(start, min(start + batch_size, len(rows)))
        yield batch_of(rows, indices, positions=positions)
