"""What is asked of a CAVE server for controls: neighbours of edits, synapses, proofread neurons.

Supervoxels come from the bucket that the server's ``info`` names, everything else from the server.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import numpy as np

from segmend.core.box import Box, Point
from segmend.core.ids import Ids, as_ids
from segmend.edits.around import Around, Beside, SynapseRow, SynapsesOf
from segmend.edits.asking import Asking, priority
from segmend.edits.batches import attempt, halved
from segmend.edits.cave_record import CaveRecord
from segmend.edits.cave_server import CaveServer, understood
from segmend.edits.frozen import Outcome
from segmend.edits.join import Joined, Joiner, midpoint
from segmend.edits.sources import all_answers, answers_of, joined
from segmend.segments.neighbours import neighbours

CONSIDERED = 3
"""Neighbours that are looked at, nearest first, for each control that is wanted."""


@dataclass(frozen=True, slots=True)
class ControlRun:
    """A harvest's controls.

    Attributes:
        asking: Who asks.
        server: Who is asked.
        record: What is asked for.
        until: End of the history.
        joiner: Puts the sources of an operation together.
    """

    asking: Asking
    server: CaveServer
    record: CaveRecord
    until: datetime
    joiner: Joiner

    def run(self) -> None:
        """Ask for all controls of the record."""
        controls = self.record.controls
        if controls.proofread:
            self._neurons()
        if controls.adjacent:
            self._neighbours()
        if controls.synapses:
            self._synapses()
        self.asking.ledger.set_fact("controls", "complete")

    def _neurons(self) -> None:
        """One annotated point of every proofread neuron at the end of the history."""
        ledger, asked = self.asking.ledger, self.record.controls
        if ledger.fact("neurons") == "complete":
            return
        column = self.record.roots.column
        place = column.removesuffix("root_id") + "position"
        names = ["id", column, *(f"{place}_{axis}" for axis in "xyz")]
        found = self.server.rows_of_table(asked.proofread, names, self.until)
        with understood(f"the table {asked.proofread}"):
            roots, points = as_ids(found[column]).tolist(), _points(found, place)
        rows: dict[int, list[int]] = {}
        for row in np.argsort(found["id"], kind="stable").tolist():
            rows.setdefault(roots[row], []).append(row)
        with ledger.change() as db:
            db.executemany(
                "INSERT OR REPLACE INTO neurons VALUES (?, ?, ?)",
                [
                    (str(root), len(same), msgspec.json.encode(points[same[0]]).decode())
                    for root, same in rows.items()
                ],
            )
            db.execute("INSERT OR REPLACE INTO facts VALUES ('neurons', 'complete')")

    def _neighbours(self) -> None:
        ledger, kinds = self.asking.ledger, self.record.controls.edits
        with ledger.change() as db:
            for one in all_answers(ledger):
                op = joined(one, self.joiner)
                if isinstance(op, Outcome):
                    # It may have been an edit until a log that came late contradicted it.
                    db.execute("DELETE FROM neighbours WHERE operation = ?", (one.operation,))
                elif op.kind in kinds:
                    db.execute(
                        "INSERT OR IGNORE INTO neighbours (operation, outcome) "
                        "VALUES (?, 'pending')",
                        (op.operation,),
                    )

        def load(numbers: list[int]) -> list[Joined | Outcome]:
            return [joined(one, self.joiner) for one in answers_of(ledger, numbers)]

        def ask(batch: list[Joined]) -> dict[int, Any]:
            return {one.operation: attempt(self._around, one) for one in batch}

        def save(db: sqlite3.Connection, number: int, found: Around) -> None:
            db.execute(
                "UPDATE neighbours SET outcome='ok', detail='', answer=?, rounds=rounds+1 "
                "WHERE operation=?",
                (msgspec.json.encode(found).decode(), number),
            )

        self.asking.settle("neighbours", "operation", ask, save, load=load)

    def _around(self, op: Joined) -> Around:
        """As published: the segmentation of a cube, just before a merge or just after a split."""
        asked = self.record.controls
        volume = self.server.supervoxels(self.record.segmentation_mip)
        box = Box.around(op.point, asked.cube_nm)
        voxels = volume.grid.to_voxels(box).intersect(volume.grid.voxels)
        margin_ms = round(1000 * self.record.rules.margin_s)
        time_ms = op.time_ms + (margin_ms if op.kind == "split" else -margin_ms)
        if voxels is None:
            return Around(time_ms, (), 0)
        cube = np.asarray(volume.read_voxels(voxels).data)
        supervoxels, place = np.unique(cube, return_inverse=True)
        roots = self._roots(supervoxels, time_ms / 1000)
        bases = op.before if op.kind == "merge" else op.after
        labels = roots[place].reshape(cube.shape)
        found = neighbours(labels, bases, volume.grid.crop(voxels))
        found.sort(key=lambda n: (_distance(n.contact.point_nm, op.point), n.base, n.other))
        nearest = found[: CONSIDERED * asked.adjacent]
        touched = np.isin(roots, as_ids([r for n in nearest for r in (n.base, n.other)]))
        finals = self._finals(supervoxels[touched], roots[touched])
        return Around(
            time_ms,
            tuple(
                Beside(
                    base=n.base,
                    other=n.other,
                    base_nm=n.base_nm,
                    other_nm=n.other_nm,
                    point_nm=n.contact.point_nm,
                    faces=n.contact.faces,
                    merged=min((finals[n.base] & finals[n.other]) - {0}, default=0),
                )
                for n in nearest
            ),
            len(found) - len(nearest),
        )

    def _finals(self, supervoxels: Ids, roots: Ids) -> dict[int, set[int]]:
        """The roots at the end of the history that hold a part of each root in the cube."""
        finals: dict[int, set[int]] = {}
        ends = self._roots(supervoxels, self.until.timestamp())
        for root, end in zip(roots.tolist(), ends.tolist(), strict=True):
            finals.setdefault(root, set()).add(end)
        return finals

    def _roots(self, supervoxels: Ids, time_s: float) -> Ids:
        """Roots of supervoxels; 0 stays 0."""
        roots = np.zeros(len(supervoxels), np.uint64)
        known = np.flatnonzero(supervoxels)
        step = self.record.batches.tables
        for start in range(0, len(known), step):
            some = known[start : start + step]
            roots[some] = as_ids(self.server.roots_at(supervoxels[some].tolist(), time_s))
        return roots

    def _synapses(self) -> None:
        with self.asking.ledger.change() as db:
            db.execute(
                "INSERT OR IGNORE INTO synapses (root, outcome) SELECT root, 'pending' FROM roots"
            )

        def ask(batch: list[str]) -> dict[str, Any]:
            return halved(self._synapses_of, batch)

        def save(db: sqlite3.Connection, root: str, found: SynapsesOf) -> None:
            db.execute(
                "UPDATE synapses SET outcome='ok', detail='', answer=?, rounds=rounds+1 "
                "WHERE root=?",
                (msgspec.json.encode(found).decode(), root),
            )

        self.asking.settle("synapses", "root", ask, save, size=self.record.batches.synapses)

    def _synapses_of(self, batch: list[str]) -> dict[str, SynapsesOf]:
        asked = self.record.controls
        sides = [f"{side}_pt_root_id" for side in ("pre", "post")]
        points = ["pre_pt", "post_pt", *([asked.cleft] if asked.cleft else [])]
        places = [f"{point}_position" for point in points]
        names = [*sides, *(f"{place}_{axis}" for place in places for axis in "xyz"), *asked.scores]
        roots = [int(root) for root in batch]
        found = self.server.rows_of_table(
            asked.synapses, ["id", *names], self.until, roots=(sides[0], roots)
        )
        rows: dict[str, list[SynapseRow]] = {root: [] for root in batch}
        with understood(f"the table {asked.synapses}"):
            pre, post = (as_ids(found[side]).tolist() for side in sides)
            pre_nm, post_nm, *more = (_points(found, place) for place in places)
            centre_nm = (
                more[0]
                if more
                else [midpoint((a,), (b,)) for a, b in zip(pre_nm, post_nm, strict=True)]
            )
            scores = [found[name].tolist() for name in asked.scores]
            for i, number in enumerate(found["id"].tolist()):
                said = dict(zip(asked.scores, (column[i] for column in scores), strict=True))
                row = SynapseRow(number, pre[i], post[i], pre_nm[i], post_nm[i], centre_nm[i], said)
                rows[str(pre[i])].append(row)  # a root that was not asked about is no answer
            return {root: self._chosen(listed) for root, listed in rows.items()}

    def _chosen(self, rows: list[SynapseRow]) -> SynapsesOf:
        asked, dropped, good = self.record.controls, Counter[str](), []
        for row in rows:
            fault = self._synapse_fault(row)
            if fault:
                dropped[fault] += 1
            else:
                good.append(row)
        good.sort(key=lambda row: (priority(asked.seed, row.id), row.id))
        if len(good) > asked.per_root:
            dropped[f"more than {asked.per_root} of one root"] = len(good) - asked.per_root
        kept = sorted(good[: asked.per_root], key=lambda row: row.id)
        return SynapsesOf(tuple(kept), dict(sorted(dropped.items())))

    def _synapse_fault(self, row: SynapseRow) -> str:
        for name, least in self.record.controls.min_scores.items():
            value = row.scores[name]
            if value is None or not value >= least:
                return f"{name} below {least:g}"
        if not row.post:
            return "no root on the other side"
        return "one root on both sides" if row.pre == row.post else ""


def _distance(a: Point, b: Point) -> float:
    return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))


def _points(found: dict[str, Any], place: str) -> list[Point]:
    """Positions of a table, ``(z, y, x)`` nm."""
    columns = [np.asarray(found[f"{place}_{axis}"], np.float64) for axis in "zyx"]
    if not all(np.isfinite(column).all() for column in columns):
        raise ValueError(f"a row has no {place}")
    values: Sequence[Any] = [column.tolist() for column in columns]
    return [(z, y, x) for z, y, x in zip(*values, strict=True)]
