"""A harvest as edits: every operation known is kept, dropped by a named rule, or failed.

The account closes: known = kept + dropped + failed. A batch of operations is in memory at a time;
what the rule of undone edits needs of all of them takes about 100 bytes each.
"""

from __future__ import annotations

import gc
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa

from segmend.core.box import Point
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.edits.cave_record import CaveRecord, Rules
from segmend.edits.chains import Chains, Undone
from segmend.edits.freeze_controls import Freezing, controls_of
from segmend.edits.frozen import BATCH, ROOT_SCHEMA, FrozenEdits, Outcome, freeze
from segmend.edits.harvest import ends, record_of
from segmend.edits.join import Joined
from segmend.edits.ledger import Ledger, Size
from segmend.edits.operation import EditOp
from segmend.edits.sources import all_answers, joined, joiner_of, trace_of

SOURCE = "CAVE"

WITHIN_ONE_ROOT = "within one root"
MORE_SIDES = "more than two sides"
OUTSIDE = "outside the volume"
UNDONE = "undone"
PERHAPS_UNDONE = "perhaps undone"
DUST = "side too small"
TOO_LARGE = "side too large"
ROOT_SHORT = "root too short"
ROOT_RARELY_EDITED = "root rarely edited"
RULES = (
    WITHIN_ONE_ROOT,
    MORE_SIDES,
    OUTSIDE,
    UNDONE,
    DUST,
    TOO_LARGE,
    ROOT_SHORT,
    ROOT_RARELY_EDITED,
)
"""Names of the rules that drop an operation, in the order in which they are asked."""


@dataclass(slots=True)
class Normaliser:
    """Turns a ledger into outcomes.

    Attributes:
        ledger: The harvest.
        record: What it was made with.
        applied: How often each rule filled or converted something, after `outcomes`.
    """

    ledger: Ledger
    record: CaveRecord
    applied: Counter[str] = field(default_factory=Counter)
    _grid: VoxelGrid = field(init=False)
    _start: Point = field(init=False)
    _stop: Point = field(init=False)
    _table: str = field(init=False)

    def __post_init__(self) -> None:
        self._grid = grid_of(self.ledger)
        self._start, self._stop = self._grid.box.start, self._grid.box.stop
        self._table = str(self.ledger.fact("table"))

    def outcomes(self) -> Iterator[EditOp | Outcome]:
        """What became of every operation known, in order of its number.

        Raises:
            BadInputError: if operations are still waiting to be asked about.
        """
        self._check_nothing_waits()
        with tempfile.TemporaryFile(dir=self.ledger.folder) as spool:
            undone = self._join_all(spool)
            surely, perhaps = iter(undone.surely.tolist()), iter(undone.perhaps.tolist())
            spool.seek(0)
            decode = msgspec.msgpack.Decoder(list[Joined | _Spooled]).decode
            while size := spool.read(8):
                ops = decode(spool.read(int.from_bytes(size)))
                sizes = self._sizes(ops)
                for op in ops:
                    fate = (next(surely), next(perhaps))
                    if isinstance(op, _Spooled):
                        yield Outcome(op.operation, "failed", op.reason, op.detail)
                    else:
                        yield self._judged(op, sizes, *fate)

    def _check_nothing_waits(self) -> None:
        ledger = self.ledger
        waiting = {
            "roots": ledger.count("roots")["pending"],
            "operations": ledger.count("operations", "checked")["pending"],
            **{name: ledger.count(name)["pending"] for name in ("sizes", "neighbours", "synapses")},
        }
        if self.record.controls.asked and ledger.fact("controls") != "complete":
            waiting["controls"] = 1
        left = {name: n for name, n in waiting.items() if n}
        if left or ledger.fact("roots") != "complete":
            raise BadInputError(
                f"the harvest {ledger.folder} is not finished",
                found=", ".join(f"{n} {name} wait" for name, n in left.items()) or "no roots yet",
                fix="Run the same segmend edits harvest again: it goes on where it was",
            )

    def _join_all(self, spool: BinaryIO) -> Undone:
        joiner = joiner_of(self._grid, ends(self.ledger), self.record.rules)
        chains, encode = Chains(), msgspec.msgpack.Encoder().encode
        answers = all_answers(self.ledger)
        while batch := list(islice(answers, BATCH)):
            ops = [joined(one, joiner) for one in batch]
            for one, op in zip(batch, ops, strict=True):
                if isinstance(op, Outcome):
                    merge, point, before, after = trace_of(one, joiner)
                else:
                    self.applied.update(set(op.applied) if len(op.applied) > 1 else op.applied)
                    merge, point, before, after = op.kind == "merge", op.point, op.before, op.after
                chains.add(
                    one.operation,
                    merge=merge,
                    point_nm=point,
                    before=before,
                    after=after,
                    failed=isinstance(op, Outcome),
                )
            packed = encode([_spooled(op) for op in ops])
            spool.write(len(packed).to_bytes(8))
            spool.write(packed)
        rules = self.record.rules
        return chains.undone(hops=rules.chain_hops, within_nm=rules.chain_nm)

    def _sizes(self, ops: Iterable[Joined | _Spooled]) -> dict[int, Size]:
        """The sizes of the sides of some operations."""
        if not self.record.rules.sized:
            return {}
        joined_ops = (op for op in ops if isinstance(op, Joined))
        return self.ledger.sizes_of({root for op in joined_ops for root in _sides(op)})

    def _judged(
        self, one: Joined, known: dict[int, Size], surely: bool, perhaps: int
    ) -> EditOp | Outcome:
        found = self._plain_fault(one, undone=surely)
        if found is not None:
            return Outcome(str(one.operation), "dropped", *found)
        if perhaps:
            detail = f"operation {perhaps}, which failed, follows on its roots"
            return Outcome(str(one.operation), "failed", PERHAPS_UNDONE, detail)
        sizes: dict[int, int] = {}
        if known:
            for root in _sides(one):
                size, outcome, detail = known[root]
                if size is None:
                    return Outcome(str(one.operation), "failed", f"size: {outcome}", detail)
                sizes[root] = size
            found = self._size_fault(sizes) or self._root_fault(one)
            if found is not None:
                return Outcome(str(one.operation), "dropped", *found)
        return _edit(one, self.record, self._table, sizes)

    def _plain_fault(self, one: Joined, *, undone: bool) -> tuple[str, str] | None:
        if len(one.before) == 1 and one.kind == "merge":
            return WITHIN_ONE_ROOT, f"both sides are {one.before[0]}"
        if len(one.before) > 2:
            return MORE_SIDES, f"{len(one.before)} roots"
        (z0, y0, x0), (z1, y1, x1) = self._start, self._stop
        strange = [
            (z, y, x)
            for z, y, x in (*one.sources, *one.sinks)
            if not (z0 <= z < z1 and y0 <= y < y1 and x0 <= x < x1)
        ]
        if strange:
            return OUTSIDE, f"a click at {strange[0]} nm (z, y, x)"
        return (UNDONE, "") if undone else None

    def _size_fault(self, sizes: dict[int, int]) -> tuple[str, str] | None:
        rules = self.record.rules
        larger, smaller = sorted(sizes.values(), reverse=True)[:2]
        if smaller < rules.min_smaller_chunks or larger < rules.min_larger_chunks:
            return DUST, f"{smaller} and {larger} L2 chunks"
        if larger > rules.max_root_chunks:
            return TOO_LARGE, f"{larger} L2 chunks"
        return None

    def _root_fault(self, one: Joined) -> tuple[str, str] | None:
        """Kept if at least one root that lists the operation is worth asking about."""
        rules = self.record.rules
        if not (rules.min_edits_per_mm or rules.min_path_um):
            return None
        fault = None
        for root in one.listed_by:
            row = next(
                self.ledger.rows("SELECT edits, size FROM roots WHERE root = ?", (str(root),))
            )
            fault = root_fault(rules, *row)
            if fault is None:
                return None
        return fault


class _Spooled(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A failed operation on its way from one pass to the next."""

    operation: str
    reason: str
    detail: str


def _spooled(op: Joined | Outcome) -> Joined | _Spooled:
    return op if isinstance(op, Joined) else _Spooled(op.operation_id, op.reason, op.detail)


def _sides(op: Joined) -> tuple[int, ...]:
    """The sides of an operation: what a merge joins, what a split leaves."""
    return op.before if op.kind == "merge" else op.after


def root_fault(rules: Rules, edits: int | None, size: int | None) -> tuple[str, str] | None:
    """Why a root's operations are left out, or None."""
    if edits is None or size is None:
        return ROOT_SHORT, "its size is unknown"
    path_um = size * rules.um_per_chunk
    if path_um < rules.min_path_um:
        return ROOT_SHORT, f"{path_um:.0f} um"
    if edits < rules.min_edits_per_mm * path_um / 1000:
        return ROOT_RARELY_EDITED, f"{edits} edits on {path_um:.0f} um"
    return None


def _edit(one: Joined, record: CaveRecord, table: str, sizes: dict[int, int]) -> EditOp:
    facts: dict[str, Any] = {
        "provenance": one.provenance,
        "supervoxels": [[str(a), str(b)] for a, b in one.edges],
        "user": one.user,
    }
    if sizes:
        facts["l2_chunks"] = {str(root): size for root, size in sorted(sizes.items())}
    return EditOp(
        operation_id=str(one.operation),
        kind=one.kind,
        before_ids=one.before,
        after_ids=one.after,
        point_nm=one.point,
        cluster_id=one.cluster,
        dataset=record.name,
        version=table,
        volume="",
        source=SOURCE,
        timestamp=one.time_ms // 1000,
        facts=facts,
        sides_in="after",
        source_points_nm=one.sources,
        sink_points_nm=one.sinks,
    )


def grid_of(ledger: Ledger) -> VoxelGrid:
    """The grid that a harvest's clicks count."""
    size, offset, shape = msgspec.json.decode(str(ledger.fact("grid")))
    return VoxelGrid(size, offset, shape)


def root_tables(ledger: Ledger) -> Iterator[pa.Table]:
    """The roots that were asked about, as `ROOT_SCHEMA`, a batch in memory at a time."""
    cursor = ledger.rows(
        "SELECT root, outcome, edits, size, detail FROM roots ORDER BY length(root), root"
    )
    batch: list[tuple[Any, ...]] = []
    for row in cursor:
        batch.append((int(row[0]), *row[1:]))
        if len(batch) == BATCH:
            yield _root_table(batch)
            batch.clear()
    yield _root_table(batch)


def _root_table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(ROOT_SCHEMA)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, ROOT_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=ROOT_SCHEMA)


def freeze_harvest(ledger: Ledger, folder: str | Path) -> FrozenEdits:
    """Freeze a finished harvest; see `segmend.edits.frozen`.

    Raises:
        BadInputError: if it is not finished.
        OutputError: if the folder exists or cannot be written.
    """
    record = record_of(ledger)
    normaliser = Normaliser(ledger, record)
    grid = grid_of(ledger)
    facts: dict[str, Any] = {
        "source": {
            "kind": SOURCE,
            "record": msgspec.to_builtins(record),
            "table": ledger.fact("table"),
            "until": ledger.fact("until"),
            "versions": msgspec.json.decode(str(ledger.fact("versions"))),
            "grid": {
                "voxel_size_nm": grid.voxel_size,
                "offset_nm": grid.offset,
                "shape": grid.shape,
            },
        },
        "dataset": record.name,
        "species": record.species,
        "licence": record.licence,
        "citation": record.citation,
        "rules": list(RULES),
        "applied": normaliser.applied,
        "root_outcomes": dict(sorted(ledger.count("roots").items())),
    }
    freezing = Freezing(ledger, record)
    with _no_collector():
        return freeze(
            folder,
            freezing.noting(normaliser.outcomes()),
            facts=facts,
            roots=root_tables(ledger),
            controls={kind: controls_of(kind, freezing) for kind in record.controls.asked},
        )


@contextmanager
def _no_collector() -> Iterator[None]:
    """Rows hold no cycles, and looking for some takes a fifth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
