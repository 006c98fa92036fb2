"""Which rows come in which batch, and how to go on after being killed.

    epoch order   |  0  1  2  3  4  5  6  7  8  9 10 |      a pure function of (seed, epoch)
    steps         |  step 0   |  step 1   | step 2   |      sizes differ by at most one
    2 ranks       | r0  | r1  | r0  | r1  | r0  | r1 |      every rank takes part in every step

Workers, threads and ranks only divide this list. Nothing in an epoch is lost, repeated or filled
up: instead of one short batch at the end, all batches of an epoch are equal to within one row.
The place in it is one number, the rows seen, so a run may go on with other ranks or batch sizes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, NoSamplesError
from segmend.loaders.order import Order, balanced_order, epoch_order

_FORMAT = 1

State = dict[str, Any]
"""A place in a schedule, as JSON values."""


@dataclass(frozen=True, slots=True)
class Step:
    """One batch of one rank.

    Attributes:
        epoch: Its epoch.
        seen: Rows of the epoch that all ranks together have had when this step is done.
        rows: Numbers of the examples, int64.
    """

    epoch: int
    seen: int
    rows: Order


@dataclass(frozen=True, slots=True)
class Rank:
    """Which of several processes that train together this one is."""

    number: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.of:
            raise BadInputError(f"there is no rank {self.number} of {self.of}")


class Schedule:
    """The batches of a run, for one rank: the sampler of a stock `DataLoader`.

    Iterating goes through the rest of the current epoch; having come to its end it stands at the
    beginning of the next. A loader reads ahead, so the place to go on from is not where the
    schedule stands but where the batch came from that was used last: `state` tells.

    Args:
        keys: Primary key of every example; they identify the data in `state`.
        batch_size: Rows per step and rank at the most.
        seed: Seed of the order.
        shuffle: Whether each epoch has its own order; if not, rows come as they lie.
        classes: One class per row (`segmend.loaders.order.strata`): classes then come equally
            often; None for every row once.
        drop_last: Whether batches are exactly ``batch_size`` and the rows that fill none are left
            out of the epoch; for what is compiled for one size.
        rank: Which process this is.

    Raises:
        NoSamplesError: if there are fewer rows than ranks, or than a step with ``drop_last``.
        BadInputError: if a size is not positive or classes do not fit.
    """

    def __init__(
        self,
        keys: Sequence[str],
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        classes: NDArray[Any] | None = None,
        drop_last: bool = False,
        rank: Rank | None = None,
    ) -> None:
        if batch_size < 1:
            raise BadInputError(f"a batch needs at least one row, got {batch_size}")
        if classes is not None and (len(classes) != len(keys) or not shuffle):
            raise BadInputError("classes need one value per row, and a shuffled order")
        self.seed = seed
        self.epoch = 0
        self.seen = 0
        self._rank = rank or Rank()
        self._together = batch_size * self._rank.of
        self._drop_last = drop_last
        self._n = len(keys)
        self._shuffle = shuffle
        self._classes = classes
        self._digest = _digest(keys, seed, shuffle, classes)
        fewest = self._together if drop_last else self._rank.of
        if self._n < fewest:
            raise NoSamplesError(
                f"{self._n} rows make no step of {self._rank.of} ranks",
                fix=f"At least {fewest} are needed",
            )

    def order(self, epoch: int) -> Order:
        """The examples of an epoch in order, all ranks together, int64."""
        if not self._shuffle:
            return np.arange(self._n)
        if self._classes is not None:
            return balanced_order(self._classes, self.seed, epoch)
        return epoch_order(self._n, self.seed, epoch)

    def __len__(self) -> int:
        """Steps to the end of the current epoch, the same for every rank."""
        return self._steps(self._n - self.seen)

    def __iter__(self) -> Iterator[Step]:
        epoch, seen = self.epoch, self.seen
        rest = self.order(epoch)[seen:]
        steps = self._steps(len(rest))
        if self._drop_last:
            rest = rest[: steps * self._together]
        for rows in np.array_split(rest, steps):
            seen += len(rows)
            yield Step(epoch, seen, np.array_split(rows, self._rank.of)[self._rank.number])
        self.set_epoch(epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self.epoch, self.seen = epoch, 0

    def state(self, epoch: int, seen: int) -> State:
        """The place after a batch: what to save beside the weights.

        Args:
            epoch: ``batch["epoch"]`` of the batch used last.
            seen: ``batch["seen"]`` of it.

        Returns:
            A small dict of JSON values for `resume`.
        """
        return {"format": _FORMAT, "epoch": int(epoch), "seen": int(seen), "order": self._digest}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go to a place: the next batch is the one that would have come.

        Raises:
            BadInputError: if the state is none, or of other rows, another seed or other classes.
        """
        try:
            written, order = state["format"], state["order"]
            epoch, seen = int(state["epoch"]), int(state["seen"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadInputError("this is not the state of a schedule", found=repr(error)) from error
        if written != _FORMAT or epoch < 0 or not 0 <= seen <= self._n:
            raise BadInputError("this is not the state of a schedule", found=str(dict(state)))
        if order != self._digest:
            raise BadInputError(
                "the state belongs to another schedule",
                found=f"its order is {order}, here {self._digest}",
                fix="Resume with the same rows, seed and balance",
            )
        self.set_epoch(epoch)
        self.seen = seen
        if not len(self):
            self.set_epoch(epoch + 1)

    def _steps(self, rows: int) -> int:
        if self._drop_last:
            return rows // self._together
        return -(-rows // self._together)


def _digest(keys: Sequence[str], seed: int, shuffle: bool, classes: NDArray[Any] | None) -> str:
    """Names an order: of which rows, drawn how."""
    digest = hashlib.blake2b("\n".join(keys).encode(), digest_size=12)
    digest.update(repr((seed, shuffle)).encode())
    if classes is not None:
        digest.update(np.unique(classes, return_inverse=True)[1].astype("<i8").tobytes())
    return digest.hexdigest()
