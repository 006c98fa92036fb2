"""Work through what waits in a table of the ledger, many requests at a time."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from segmend.edits.batches import Failure, in_flight
from segmend.edits.ledger import Ledger

Report = Callable[[str, int, int], None]
"""Told the stage, what is done and what there is to do."""

Ask = Callable[[list[Any]], dict[Any, Any]]
"""Asks for a batch: for each subject what was found, or a `Failure`."""

Save = Callable[[sqlite3.Connection, Any, Any], None]
"""Writes what was found of one subject."""

WINDOW = 4
"""Batches submitted per worker: enough to keep it busy, few enough to keep memory flat."""


def priority(seed: int, number: int) -> str:
    """By which a part is chosen of many roots or synapses: it depends on none of the others."""
    return hashlib.md5(f"{seed}:{number}".encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks.

    Attributes:
        ledger: Where outcomes go.
        workers: Requests in flight.
        report: Told about progress.
    """

    ledger: Ledger
    workers: int
    report: Report

    def settle(
        self,
        table: str,
        key: str,
        ask: Ask,
        save: Save,
        *,
        size: int = 1,
        load: Callable[[list[Any]], list[Any]] = list,
    ) -> None:
        """Ask for everything that waits in a table; each answer is saved, each failure named.

        Args:
            table: The table.
            key: Its column of subjects.
            ask: Asks for a batch.
            save: Writes an answer.
            size: Subjects of a batch.
            load: Turns waiting subjects into what is asked about.
        """
        for found in self.each(table, key, ask, size=size, load=load):
            with self.ledger.change() as db:
                for subject, answer in found.items():
                    if isinstance(answer, Failure):
                        _fail(db, table, key, subject, answer)
                    else:
                        save(db, subject, answer)

    def each(
        self,
        table: str,
        key: str,
        ask: Ask,
        *,
        size: int = 1,
        outcome: str = "outcome",
        load: Callable[[list[Any]], list[Any]] = list,
    ) -> Iterator[dict[Any, Any]]:
        """Ask for everything that waits in a table; yields what came, as it comes.

        The caller must give each subject an outcome before it goes on.
        """
        total = self.ledger.count(table, outcome)["pending"]
        done, most = 0, self.workers * WINDOW
        self.report(table, done, total)

        def batches() -> Iterator[list[Any]]:
            # What is in flight is still pending: each page begins after the one before.
            items = self.ledger.waiting(table, key, outcome=outcome, most=size * most)
            while items:
                loaded = load(items)
                yield from (loaded[i : i + size] for i in range(0, len(loaded), size))
                items = self.ledger.waiting(
                    table, key, outcome=outcome, most=size * most, after=items[-1]
                )

        with ThreadPoolExecutor(self.workers, "harvest") as pool:
            for found in in_flight(pool, ask, batches(), most=most):
                yield found
                done += len(found)
                self.report(table, done, total)


def _fail(db: sqlite3.Connection, table: str, key: str, subject: Any, failure: Failure) -> None:
    db.execute(
        f"UPDATE {table} SET outcome=?, detail=?, rounds=rounds+1 WHERE {key}=?",  # noqa: S608
        (failure.outcome, failure.detail, subject),
    )
