"""Ask a CAVE server for a history: roots, logs, details, evidence, sizes; resumable at any point.

Every root and every operation ends with an outcome in the ledger. A batch that fails is asked for
again in halves, so that one bad root does not take others with it.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.core.ids import as_id
from segmend.edits.around import Around
from segmend.edits.asking import Asking, Report, priority
from segmend.edits.batches import Failure, attempt, halved
from segmend.edits.cave_record import CaveRecord
from segmend.edits.cave_server import CaveServer
from segmend.edits.evidence import look_up
from segmend.edits.join import Evidence, known_after
from segmend.edits.ledger import INCONSISTENT, NO_DETAILS, NO_EDITS, OK, Ledger, to_json
from segmend.edits.sources import Sources, all_sources, joiner_of, sources_of


def quiet(_stage: str, _done: int, _total: int) -> None:
    """A report that nobody reads."""


def harvest(
    ledger: Ledger,
    server: CaveServer,
    record: CaveRecord,
    *,
    until: datetime | None = None,
    workers: int = 8,
    report: Report = quiet,
) -> None:
    """Fill a ledger, from wherever it was left.

    Args:
        ledger: Where outcomes go.
        server: Who is asked.
        record: What is asked for.
        until: End of the history; by default now, or the ledger's.
        workers: Requests in flight.
        report: Told about progress.

    Raises:
        BadInputError: if the ledger is of another record, server or time.
        ReadFailedError: if not even the roots can be read.
    """
    _begin(ledger, server, record, until)
    asking = Asking(ledger, workers, report)
    run = _Run(asking, server, record, ends(ledger))
    run.roots()
    run.logs()
    run.details()
    run.evidence()
    if record.controls.asked:
        # Volumes and kernels take a second to import, which a harvest without controls need not
        # pay.
        from segmend.edits.harvest_controls import ControlRun

        joiner = joiner_of(server.grid, run.until, record.rules)
        ControlRun(asking, server, record, run.until, joiner).run()
    if record.rules.sized:
        run.sizes()


def ends(ledger: Ledger) -> datetime:
    """The end of a ledger's history."""
    return datetime.fromisoformat(str(ledger.fact("until")))


def record_of(ledger: Ledger) -> CaveRecord:
    """The record that a ledger was made with.

    Raises:
        BadInputError: if no server has answered yet.
    """
    text = ledger.fact("record")
    if text is None:
        raise BadInputError(
            f"the harvest {ledger.folder} has not begun",
            found="its server was not reached yet",
            fix="Run segmend edits harvest again: it says why",
        )
    return msgspec.json.decode(text, type=CaveRecord)


def _begin(ledger: Ledger, server: CaveServer, record: CaveRecord, until: datetime | None) -> None:
    facts = {"record": msgspec.json.encode(record).decode(), "table": server.table}
    for name, value in facts.items():
        kept = ledger.fact(name)
        if kept not in (None, value):
            raise BadInputError(
                f"{ledger.folder} is a harvest of another {name}",
                found=f"it was made with {kept}",
                fix="Harvest into another folder",
            )
    kept = ledger.fact("until")
    # Whole seconds: what a harvest asks for can be written down and asked for again.
    end = (until or datetime.now(UTC)).replace(microsecond=0)
    if kept is not None and until is not None and end != datetime.fromisoformat(kept):
        raise BadInputError(
            f"{ledger.folder} is a harvest until {kept}", found=f"asked for {end.isoformat()}"
        )
    facts["versions"] = to_json(server.versions)
    facts["grid"] = to_json([server.grid.voxel_size, server.grid.offset, server.grid.shape])
    facts["until"] = kept or end.isoformat()
    # Together: what has a record has everything that a report or a freeze asks for.
    with ledger.change() as db:
        db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())


@dataclass(frozen=True, slots=True)
class _Run:
    asking: Asking
    server: CaveServer
    record: CaveRecord
    until: datetime

    @property
    def ledger(self) -> Ledger:
        return self.asking.ledger

    def roots(self) -> None:
        """Which roots to ask about."""
        if self.ledger.fact("roots") == "complete":
            return
        asked = self.record.roots
        if asked.source == "table":
            roots = self.server.roots_of_table(asked.table, asked.column, self.until)
        else:
            since = self.until - timedelta(days=asked.days)
            roots = self.server.new_roots(since, self.until)
        if asked.most:
            roots = sorted(roots, key=lambda r: (priority(asked.seed, r), r))[: asked.most]
        self.ledger.add_roots(roots)

    def logs(self) -> None:
        """The change log of every root."""

        def ask(batch: list[str]) -> dict[str, Any]:
            return halved(self._logs_of, batch, alone=self._log_alone)

        def save(db: sqlite3.Connection, root: str, log: Any) -> None:
            outcome, rows, detail = log
            db.execute(
                "UPDATE roots SET outcome=?, detail=?, edits=?, rounds=rounds+1 WHERE root=?",
                (outcome, detail, len(rows), root),
            )
            db.executemany(
                "INSERT OR REPLACE INTO log VALUES (?, ?, ?)",
                ((int(row["operation_id"]), root, to_json(row)) for row in rows),
            )
            db.executemany(
                "INSERT OR IGNORE INTO operations (operation, outcome) VALUES (?, 'pending')",
                ((int(row["operation_id"]),) for row in rows),
            )

        self.asking.settle("roots", "root", ask, save, size=self.record.batches.logs)

    def _logs_of(self, batch: list[str]) -> dict[str, Any]:
        logs = self.server.change_logs([int(root) for root in batch])
        missing = Failure(INCONSISTENT, "the answer lacks its log")
        return {root: self._log(logs.get(int(root)), missing) for root in batch}

    @staticmethod
    def _log(log: list[dict[str, Any]] | None, missing: Failure) -> Any:
        if log is None:
            return missing
        numbers = [row.get("operation_id") for row in log]
        if not all(isinstance(n, int) and n > 0 for n in numbers):
            return Failure(INCONSISTENT, f"its log names operations {numbers[:3]}")
        return (OK if log else NO_EDITS, log, "")

    def details(self) -> None:
        """The details of every operation that a log names."""

        def ask(batch: list[int]) -> dict[int, Any]:
            return halved(self._details_of, batch)

        def save(db: sqlite3.Connection, number: int, details: Any) -> None:
            db.execute(
                "UPDATE operations SET outcome='ok', detail='', details=?, rounds=rounds+1 "
                "WHERE operation=?",
                (to_json(details), number),
            )

        self.asking.settle("operations", "operation", ask, save, size=self.record.batches.details)

    def _details_of(self, batch: list[int]) -> dict[int, Any]:
        found = self.server.details(batch)
        missing = Failure(NO_DETAILS, "the server's answer lacks it")
        return {number: found.get(number, missing) for number in batch}

    def evidence(self) -> None:
        """Roots of clicked supervoxels around every operation, and what log and details lack."""
        with self.ledger.change() as db:
            # What has no details has nothing to look up; it fails by its own outcome.
            db.execute(
                "UPDATE operations SET checked='ok' WHERE outcome!='ok' AND checked='pending'"
            )
            db.execute(
                "UPDATE operations SET checked='pending' WHERE outcome='ok' AND evidence IS NULL "
                "AND checked='ok'"
            )

        def ask(batch: list[Sources]) -> dict[int, Any]:
            return {one.operation: attempt(self._look_up, one) for one in batch}

        load = partial(sources_of, self.ledger)
        for found in self.asking.each("operations", "operation", ask, outcome="checked", load=load):
            with self.ledger.change() as db:
                db.executemany(
                    "UPDATE operations SET checked=?, detail=?, evidence=?, "
                    "check_rounds=check_rounds+1 WHERE operation=?",
                    [
                        (one.outcome, one.detail, None, number)
                        if isinstance(one, Failure)
                        else (OK, "", msgspec.json.encode(one).decode(), number)
                        for number, one in found.items()
                    ],
                )

    def _look_up(self, one: Sources) -> Evidence:
        return look_up(one, self.server, rules=self.record.rules, until=self.until)

    def sizes(self) -> None:
        """The sizes of roots: of those asked about, and of the sides of every operation."""
        self._queue_sizes()

        def ask(batch: list[str]) -> dict[str, Any]:
            return halved(self._sizes_of, batch)

        def save(db: sqlite3.Connection, root: str, size: Any) -> None:
            db.execute(
                "UPDATE sizes SET outcome='ok', detail='', size=?, rounds=rounds+1 WHERE root=?",
                (size, root),
            )
            db.execute("UPDATE roots SET size=? WHERE root=?", (size, root))

        self.asking.settle("sizes", "root", ask, save, size=self.record.batches.leaves)

    def _queue_sizes(self) -> None:
        add = "INSERT OR IGNORE INTO sizes (root, outcome) VALUES (?, 'pending')"
        with self.ledger.change() as db:
            db.execute(
                "INSERT OR IGNORE INTO sizes (root, outcome) SELECT root, 'pending' FROM roots"
            )
            for one in all_sources(self.ledger):
                db.executemany(add, ((str(root),) for root in _sides(one)))
            for (answer,) in self.ledger.rows("SELECT answer FROM neighbours WHERE outcome='ok'"):
                found = msgspec.json.decode(answer, type=Around).nearest
                db.executemany(add, ((str(one.other),) for one in found if not one.merged))

    def _sizes_of(self, batch: list[str]) -> dict[str, Any]:
        found = self.server.sizes([int(root) for root in batch])
        missing = Failure(INCONSISTENT, "the answer lacks it")
        return {root: found.get(int(root), missing) for root in batch}

    def _log_alone(self, root: str, failure: Failure) -> Any:
        """A log that times out may be that of a root without edits (#397): its lineage tells."""
        if failure.outcome != "timeout":
            return failure
        try:
            graph = self.server.lineage(int(root), self.until)
        except ReadFailedError:
            return failure
        return (
            failure if graph["links"] else (NO_EDITS, [], "its log timed out, its lineage is empty")
        )


def _sides(one: Sources) -> set[int]:
    """The two sides of an operation: the roots that a merge joins, or that a split leaves."""
    try:
        if one.rows[0]["is_merge"]:
            return {as_id(root) for root in one.rows[0]["before_root_ids"]}
        known = known_after(one.rows, one.details)
    except (BadInputError, LookupError, TypeError):
        return set()  # joining will say what is unreadable
    return known | set(one.evidence.after) | set(one.evidence.lineage)
