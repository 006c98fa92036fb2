"""The harvest's ledger: one SQLite file that says of every root and operation what became of it.

A kill at any moment costs at most the requests in flight. Nothing in it is secret.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from segmend.core.errors import BadInputError, OutputError

FORMAT = "segmend harvest 2"
FILE = "harvest.sqlite"

PENDING, OK, NO_EDITS, INCONSISTENT, NO_DETAILS = (
    "pending",
    "ok",
    "no edits",
    "inconsistent",
    "no details",
)
FINAL = (OK, NO_EDITS)
"""Outcomes that are answers. Every other is a failure, which waits for a retry or in quarantine."""

Size = tuple[int | None, str, str]
"""L2 chunks of a root; without any, the outcome and its detail say why."""

VARIABLES = 30_000
"""Values of one query; SQLite takes 32,766."""

QUARANTINE = 3
"""Rounds after which a failure is left alone, unless asked for."""

_TABLES = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO facts VALUES ('format', '{FORMAT}');
CREATE TABLE roots (
  root TEXT PRIMARY KEY, outcome TEXT NOT NULL, rounds INTEGER NOT NULL DEFAULT 0,
  detail TEXT NOT NULL DEFAULT '', edits INTEGER, size INTEGER
) WITHOUT ROWID;
CREATE TABLE log (
  operation INTEGER NOT NULL, root TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (operation, root)
) WITHOUT ROWID;
CREATE TABLE operations (
  operation INTEGER PRIMARY KEY, outcome TEXT NOT NULL, rounds INTEGER NOT NULL DEFAULT 0,
  detail TEXT NOT NULL DEFAULT '', details TEXT,
  checked TEXT NOT NULL DEFAULT 'pending', check_rounds INTEGER NOT NULL DEFAULT 0, evidence TEXT
);
CREATE TABLE sizes (
  root TEXT PRIMARY KEY, outcome TEXT NOT NULL, rounds INTEGER NOT NULL DEFAULT 0,
  detail TEXT NOT NULL DEFAULT '', size INTEGER
) WITHOUT ROWID;
CREATE TABLE neighbours (
  operation INTEGER PRIMARY KEY, outcome TEXT NOT NULL, rounds INTEGER NOT NULL DEFAULT 0,
  detail TEXT NOT NULL DEFAULT '', answer TEXT
);
CREATE TABLE synapses (
  root TEXT PRIMARY KEY, outcome TEXT NOT NULL, rounds INTEGER NOT NULL DEFAULT 0,
  detail TEXT NOT NULL DEFAULT '', answer TEXT
) WITHOUT ROWID;
CREATE TABLE neurons (root TEXT PRIMARY KEY, rows INTEGER NOT NULL, point TEXT NOT NULL)
WITHOUT ROWID;
CREATE INDEX roots_by_outcome ON roots (outcome);
CREATE INDEX operations_by_outcome ON operations (outcome);
CREATE INDEX operations_by_check ON operations (checked);
CREATE INDEX sizes_by_outcome ON sizes (outcome);
CREATE INDEX neighbours_by_outcome ON neighbours (outcome);
CREATE INDEX synapses_by_outcome ON synapses (outcome);
"""  # noqa: S608  FORMAT is ours

ASKED = (
    ("roots", "outcome", "rounds"),
    ("operations", "outcome", "rounds"),
    ("operations", "checked", "check_rounds"),
    ("sizes", "outcome", "rounds"),
    ("neighbours", "outcome", "rounds"),
    ("synapses", "outcome", "rounds"),
)
"""Everything that can fail: table, its column of outcomes, and of rounds."""


class Ledger:
    """An open ledger.

    Args:
        folder: The harvest's folder.
        create: Make it if it does not exist.

    Raises:
        BadInputError: if there is none and none is to be made, or it is of another format.
        OutputError: if it cannot be written.
    """

    def __init__(self, folder: str | Path, *, create: bool = False) -> None:
        self.folder = Path(folder)
        path = self.folder / FILE
        if not create and not path.is_file():
            raise BadInputError(
                f"{self.folder} is not a harvest",
                found=f"it has no {FILE}",
                fix="segmend edits harvest makes one",
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Transactions are ours: `change` begins and ends them.
            self._db = sqlite3.connect(path, isolation_level=None)
            self._open()
        except (OSError, sqlite3.OperationalError) as error:
            raise OutputError(f"cannot open the harvest {path}", found=str(error)) from error
        except sqlite3.DatabaseError as error:
            raise BadInputError(f"{path} is not a harvest", found=str(error)) from error

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA busy_timeout=10000")
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not tables:
            # Together: tables without a format would be a harvest of another one.
            self._db.executescript(f"BEGIN; {_TABLES} COMMIT;")
        if self.fact("format") != FORMAT:
            raise BadInputError(
                f"{self.folder} is a harvest of another format", found=repr(self.fact("format"))
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of the block is kept, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, one at a time."""
        return iter(self._db.cursor().execute(query, values))

    def fact(self, name: str) -> str | None:
        """A fact of the harvest as a whole."""
        found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def set_fact(self, name: str, value: str) -> None:
        """Keep a fact."""
        with self.change() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def add_roots(self, roots: Iterable[int]) -> None:
        """Add roots to ask about; those that are there stay as they are."""
        with self.change() as db:
            db.executemany(
                "INSERT OR IGNORE INTO roots (root, outcome) VALUES (?, 'pending')",
                ((str(root),) for root in roots),
            )
            db.execute("INSERT OR REPLACE INTO facts VALUES ('roots', 'complete')")

    def waiting(
        self, table: str, key: str, *, outcome: str = "outcome", most: int, after: Any = None
    ) -> list[Any]:
        """What is to be asked for, in the order of the table: from the start, or after a key."""
        # Names of tables and columns are this package's own.
        beyond = "" if after is None else f"AND {key} > ?"
        query = f"SELECT {key} FROM {table} WHERE {outcome} = 'pending' {beyond} ORDER BY {key}"  # noqa: S608
        values = (most,) if after is None else (after, most)
        return [row[0] for row in self.rows(f"{query} LIMIT ?", values)]

    def sizes_of(self, roots: Iterable[int]) -> dict[int, Size]:
        """What is known of the sizes of roots."""
        found: dict[int, Size] = dict.fromkeys(roots, (None, "not asked", ""))
        names = iter([str(root) for root in found])
        while some := list(islice(names, VARIABLES)):
            query = "SELECT root, size, outcome, detail FROM sizes WHERE root IN "
            for root, *size in self.rows(f"{query} ({','.join('?' * len(some))})", some):
                found[int(root)] = (size[0], size[1], size[2])
        return found

    def count(self, table: str, outcome: str = "outcome") -> Counter[str]:
        """Rows by outcome."""
        query = f"SELECT {outcome}, count(*) FROM {table} GROUP BY {outcome}"  # noqa: S608
        return Counter({str(name): int(n) for name, n in self.rows(query)})

    def requeue(self, *, quarantined: bool) -> int:
        """Make failures pending again, those in quarantine only if asked.

        Returns:
            How many.
        """
        limit = 2**31 if quarantined else QUARANTINE
        final = ", ".join(f"'{name}'" for name in (*FINAL, PENDING))
        n = 0
        with self.change() as db:
            for table, outcome, rounds in ASKED:
                done = db.execute(
                    f"UPDATE {table} SET {outcome} = 'pending' "  # noqa: S608
                    f"WHERE {outcome} NOT IN ({final}) AND {rounds} < ?",
                    (limit,),
                )
                n += done.rowcount
        return n


def to_json(value: Any) -> str:
    """JSON as the ledger keeps it; numpy and pandas integers become plain ones."""
    return json.dumps(value, default=_plain, separators=(",", ":"), sort_keys=True)


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} in an answer")
