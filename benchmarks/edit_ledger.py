"""A finished harvest of any number of operations, written by rule: what a benchmark normalises.

Shape, like that of a proofread mouse cortex: neurons of 20 operations each, one after the other, by
proofreaders who click once on either side. Of ten operations eight merge a fragment to the neuron
and two split one off. Every operation is listed by the neuron's last root, a split also by that of
the fragment it cut off. One merge in 50 is undone and done again. One operation in 50 is odd, by
turns: ids as strings, a log in seconds, no details, a kind that contradicts itself, clicks outside.
Sizes are 20 L2 chunks a fragment, 4 for one in 25, which is dust.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import msgspec

from segmend.edits.cave_record import CaveRecord, Controls, load_cave_record
from segmend.edits.ledger import Ledger, to_json

ROOT, SUPERVOXEL = 864_691_135_000_000_000, 89_000_000_000_000_000
START_MS, STEP_MS = 1_600_000_000_000, 60_000
PER_NEURON = 20
ODD = 50
BATCH = 20_000


def record() -> CaveRecord:
    """That of MICrONS, without controls."""
    return msgspec.structs.replace(load_cave_record("microns"), controls=Controls())


def write_ledger(folder: Path, operations: int) -> Ledger:
    """Write a finished harvest; the same bytes of answers for the same number."""
    ledger = Ledger(folder, create=True)
    until = datetime.fromtimestamp((START_MS + operations * STEP_MS) // 1000 + 86_400, UTC)
    facts = {
        "record": msgspec.json.encode(record()).decode(),
        "table": "made_up",
        "versions": "{}",
        "grid": to_json([[40, 8, 8], [0, 0, 0], [30_000, 200_000, 200_000]]),
        "until": until.isoformat(),
    }
    for name, value in facts.items():
        ledger.set_fact(name, value)
    maker = _Maker(operations)
    rows = maker.rows()
    while True:
        batch = list(islice(rows, BATCH))
        if not batch:
            break
        with ledger.change() as db:
            for table, places in (("operations", 8), ("log", 3), ("roots", 6), ("sizes", 5)):
                db.executemany(
                    f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * places)})",
                    [row for one, *row in batch if one == table],
                )
    ledger.set_fact("roots", "complete")
    return ledger


@dataclass
class _Maker:
    """Makes rows of the ledger, neuron by neuron."""

    operations: int
    root: int = ROOT
    made: int = 0

    def rows(self) -> Iterator[tuple]:
        while self.made < self.operations:
            yield from self._neuron()

    def _new(self, chunks: int = 20) -> Iterator[tuple]:
        self.root += 1
        yield ("sizes", str(self.root), "ok", 1, "", chunks)

    def _neuron(self) -> Iterator[tuple]:
        yield from self._new(200)
        base, mine, cut = self.root, [], []
        again: list[bool] = []
        place = 0
        for _ in range(min(PER_NEURON, self.operations - self.made)):
            number = self.made + 1
            undoing = bool(again)
            merge = again.pop(0) if undoing else number % 10 not in (3, 7)
            place = place if undoing else number
            if not merge:
                yield from self._new()
                off = self.root
                yield from self._new(200)
                before, after = [base], [off, self.root]
                cut.append(off)
            else:
                yield from self._new(4 if number % 25 == 0 else 20)
                before = [base, self.root]
                yield from self._new(200)
                after = [self.root]
                if number % 50 == 0 and not undoing:
                    again = [False, True]
            base = self.root
            mine.append((number, merge, before, after, place))
            self.made += 1
        yield ("roots", str(base), "ok", 1, "", len(mine), 200)
        for off in cut:
            yield ("roots", str(off), "ok", 1, "", 1, 20)
        for one in mine:
            yield from self._operation(*one, base)

    def _operation(
        self, number: int, merge: bool, before: list[int], after: list[int], place: int, last: int
    ) -> Iterator[tuple]:
        odd = (number // ODD) % 5 if number % ODD == 13 else -1
        time_ms = START_MS + number * STEP_MS
        ids = [str, int][odd != 0]
        row = {
            "operation_id": number,
            "timestamp": time_ms // 1000 if odd == 1 else time_ms,
            "user_id": number % 97,
            "before_root_ids": [ids(one) for one in before],
            "after_root_ids": [ids(after[-1])],
            "is_merge": merge != (odd == 3),
            "user_name": f"Proofreader {number % 97}",
            "user_affiliation": "Institute of Tracing",
        }
        yield ("log", number, str(last), to_json(row))
        if not merge:
            row |= {"after_root_ids": [ids(after[0])]}
            yield ("log", number, str(after[0]), to_json(row))
        if odd == 2:
            yield ("operations", number, "no details", 1, "not known", None, "ok", 0, None)
            return
        # Far from each other, but for what is undone and done again.
        click = [100 + 7919 * place % 190_000, 100 + 104_729 * place % 190_000, place % 29_000]
        edge = [ids(SUPERVOXEL + 2 * number), ids(SUPERVOXEL + 2 * number + 1)]
        details = {
            "added_edges" if merge else "removed_edges": [edge],
            "roots": [ids(one) for one in after],
            "source_coords": [[10**8] * 3 if odd == 4 else click],
            "sink_coords": [[click[0] + 9, click[1] + 4, click[2] + 1]],
            "timestamp": str(datetime.fromtimestamp(time_ms / 1000, UTC)),
            "user": str(number % 97),
        }
        evidence = {
            "before": before,
            "after": after,
            "final": last,
            "created_ms": 0.0,
            "lineage": [],
        }
        yield (
            "operations", number, "ok", 1, "", to_json(details), "ok", 1, json.dumps(evidence)
        )  # fmt: skip
