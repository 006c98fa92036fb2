"""Many requests at once, in batches that are halved where they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from segmend.core.errors import ReadFailedError

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something was not read.

    Attributes:
        outcome: For the ledger: ``timeout``, ``forbidden``, ...
        detail: The evidence.
    """

    outcome: str
    detail: str


def failure_of(error: ReadFailedError) -> Failure:
    """A failed read as an outcome."""
    return Failure((error.reason or "unknown").replace("_", " "), str(error))


def attempt(ask: Callable[[Item], Found], item: Item) -> Found | Failure:
    """Ask for one thing; a failed read becomes an outcome."""
    try:
        return ask(item)
    except ReadFailedError as error:
        return failure_of(error)


def halved(
    ask: Callable[[list[Item]], dict[Item, Any]],
    batch: list[Item],
    *,
    alone: Callable[[Item, Failure], Any] = lambda _item, failure: failure,
) -> dict[Item, Any]:
    """Ask for a batch; if it fails, for its halves, down to single items.

    Args:
        ask: Asks for a batch.
        batch: What to ask for.
        alone: Has the last word on a single item that failed.

    Returns:
        For each item what was found, or a `Failure`.
    """
    try:
        return ask(batch)
    except ReadFailedError as error:
        failure = failure_of(error)
        # A server that cannot be reached, or asks for patience, says nothing of the items.
        if error.reason in ("connection", "rate_limited"):
            return dict.fromkeys(batch, failure)
    if len(batch) == 1:
        return {batch[0]: alone(batch[0], failure)}
    middle = len(batch) // 2
    first = halved(ask, batch[:middle], alone=alone)
    return first | halved(ask, batch[middle:], alone=alone)


def in_flight(
    pool: ThreadPoolExecutor, ask: Callable[[Item], Found], items: Iterable[Item], *, most: int
) -> Iterator[Found]:
    """Ask for all items, several at once; yields what came, as it comes.

    If the caller stops, what has not begun is not asked for.

    Args:
        pool: Whose threads ask.
        ask: Asks for one.
        items: What to ask for, taken as there is room.
        most: Items that are begun or wait for a thread.
    """
    waiting, running = iter(items), set[Future[Found]]()
    try:
        while True:
            for item in islice(waiting, most - len(running)):
                running.add(pool.submit(ask, item))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        for future in running:
            future.cancel()
