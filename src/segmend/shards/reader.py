"""Opening a benchmark and reading only what is asked for."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segmend.core.errors import (
    BadInputError,
    NoSamplesError,
    UnknownNameError,
)
from segmend.core.sample import ROW_SCHEMAS, SPLITS, SchemaVersion
from segmend.core.schema import Schema
from segmend.shards.arrow import arrow_schema
from segmend.shards.keys import Keys
from segmend.shards.layout import (
    SHARDS_CSV,
    ShardRecord,
    check_present,
    in_order,
    parse_shards_csv,
)
from segmend.shards.places import Naming, Places
from segmend.shards.repair import NEEDED, Finding, defect_names, repaired_row
from segmend.shards.rows import Row, decode_row
from segmend.shards.shard_files import ShardFiles
from segmend.shards.sidecars import Sidecars
from segmend.shards.source import Source, open_source
from segmend.shards.stored import stored_rows
from segmend.store.options import StoreOptions

if TYPE_CHECKING:
    from segmend.shards.selection import Selection

Positions = Sequence[int] | NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class DecodedRow:
    """One row, decoded.

    Attributes:
        position: Its number in the benchmark.
        values: Column to value.
        findings: Known defects met in these columns, repaired or not; none if read raw.
    """

    position: int
    values: Row
    findings: tuple[Finding, ...]


class Benchmark:
    """A benchmark, opened for reading.

    Rows are numbered 0 to n-1 in the order of ``shards.csv`` (train, validation, test; then shard,
    row group and row); that number is a row's *position*. Reading is lazy and checks page
    checksums. Instances can be pickled to other processes and used from several threads.

    Attributes:
        source: Where it lies: its URL, revision and licence.
        shards: Its shards, in order.
    """

    def __init__(self, source: Source, shards: Sequence[ShardRecord]) -> None:
        self.source = source
        self.shards = tuple(shards)
        self._files = ShardFiles(source, self.shards)
        self._places = Places(self.shards, self._files)
        self._sidecars = Sidecars(source, self.shards, self._files)
        self._findings: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._keys = Keys(self.shards, self._files, self._sidecars, self._places)

    @classmethod
    def open(
        cls,
        place: str | Path,
        *,
        revision: str | None = None,
        options: StoreOptions | None = None,
    ) -> Benchmark:
        """Open a benchmark, ours or published, of schema v1 or v2, and check what it lists.

        Read are the list of shards, the card and the columns of the first shard. Of a folder, the
        sizes of all shards and the columns of the sidecars are checked too; columns of other shards
        when they are first read. `segmend.shards.verify` checks everything.

        Args:
            place: A folder; an ``https://``, ``s3://`` or ``gs://`` URL; or ``hf://OWNER/NAME``.
            revision: Of the hub: branch, tag or commit; elsewhere what `Source.revision` must be.
            options: How a remote place is read.

        Raises:
            BadInputError: if there is no finished benchmark.
            ReadFailedError: if a shard or sidecar is missing or has another size.
            SchemaError: if a shard or sidecar has other columns.
            VerificationError: if it has another revision.
            MissingDependencyError: for a remote place without the packages that read it.
        """
        source = open_source(place, revision=revision, options=options)
        shards = in_order(parse_shards_csv(source.listing, f"{source.url}/{SHARDS_CSV}"))
        if not shards:
            raise NoSamplesError(f"{source.url} lists no shards")
        benchmark = cls(source, shards)
        if source.folder is not None:
            for shard in shards:
                check_present(source.folder, shard)
        _ = benchmark.version
        if source.folder is not None:
            for split in benchmark.splits:
                benchmark._sidecars.open(split)
        return benchmark

    @property
    def folder(self) -> Path:
        """The folder it lies in.

        Raises:
            BadInputError: if it is remote.
        """
        if self.source.folder is None:
            raise BadInputError(
                f"{self.source.url} is not a folder",
                found="this needs one",
                fix=f"Fetch it: segmend fetch {self.source.url} --benchmark --to FOLDER",
            )
        return self.source.folder

    @property
    def name(self) -> str:
        """Last part of its path or URL, for people."""
        return self.source.url.rstrip("/").rpartition("/")[2]

    @property
    def sha256(self) -> str:
        """Digest of ``shards.csv``, which tells it from every other benchmark."""
        return self.source.sha256

    @property
    def revision(self) -> str:
        """Commit of the hub; elsewhere ``sha256:`` and the digest of ``shards.csv``."""
        return self.source.revision

    @property
    def licence(self) -> str:
        """What its card declares; rows of several sources have their own (`select`)."""
        return self.source.licence

    @property
    def version(self) -> SchemaVersion:
        """Version of its schema, told by its columns."""
        return self._files.version

    @property
    def schema(self) -> Schema:
        """Columns of its rows."""
        return ROW_SCHEMAS[self.version]

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that have rows, in order."""
        return tuple(s for s in SPLITS if any(shard.split == s for shard in self.shards))

    @property
    def findings(self) -> Mapping[str, int]:
        """Rows by known defect (`segmend.shards.defects`) met so far by this object.

        What reading corrects, and what it cannot: rows read twice count twice.
        """
        with self._lock:
            return dict(self._findings)

    def count(self, findings: Iterable[Finding]) -> None:
        """Add the defects met in one row to `findings`."""
        with self._lock:
            self._findings.update(defect_names(findings))

    def __len__(self) -> int:
        return len(self._places)

    def __reduce__(self) -> tuple[object, ...]:
        # Files stay behind: every process opens its own.
        return (Benchmark, (self.source, self.shards))

    def __repr__(self) -> str:
        licence = f", licence {self.licence}" if self.licence else ""
        return (
            f"<Benchmark {self.source.url}: {len(self):,} rows in {len(self.shards)} shards, "
            f"schema {self.version}, revision {self.revision}{licence}>"
        )

    def listed(self, split: str, columns: Sequence[str] | None = None) -> pa.Table:
        """What the sidecar of a split says, in its own order; no shard is touched.

        Args:
            split: Which split.
            columns: Only these columns of the sidecar; None: all it has.

        Raises:
            ReadFailedError: if it cannot be read or has another number of rows than its shards.
            SchemaError: if it has other columns.
        """
        return self._sidecars.listed(split, columns)

    def sidecar(
        self, split: str | None = None, *, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Identifiers, labels and sites of rows.

        A sidecar as published does not say where its rows lie; the table is then made from a few
        columns of the shards and kept (`segmend.shards.derived`), which takes longer once.

        Args:
            split: Only this split; None for all rows.
            columns: Only these of `segmend.shards.sidecar.sidecar_columns`; None: all.

        Returns:
            The columns and ``position`` (int64), in order of position.

        Raises:
            BadInputError: if there is no such split.
            SchemaError: if there is no such column.
            ReadFailedError: if a sidecar cannot be read or disagrees with ``shards.csv``.
            VerificationError: if the metadata of a published row do not hold what they must.
        """
        return self._sidecars.placed(self.splits, split, columns)

    def says_places(self, split: str) -> bool:
        """Whether the sidecar of a split says where rows lie: then it is in their order."""
        return self._sidecars.say_places(split)

    def select(self, *splits: str) -> Selection:
        """Rows by what the sidecars say of them, to be narrowed down; nothing else is read.

        Args:
            splits: Only these splits; none: all.

        Raises:
            BadInputError: if there is no such split.
        """
        from segmend.shards.selection import select

        return select(self, splits)

    def keys_of(self, shard: int) -> pa.ChunkedArray[Any]:
        """Primary keys of the rows of a shard, in order; read from it unless they are known."""
        return self._keys.of_shard(shard)

    def position_of(self, key: str) -> int:
        """Position of the row with a primary key.

        Raises:
            UnknownNameError: if there is none.
            ReadFailedError: if the sidecars name it and its shard does not hold it.
        """
        position = self._keys.position(key, self.splits)
        if position is None:
            raise UnknownNameError(f"{self.source.url} has no row '{key}'")
        return position

    def shard_number(self, path: str) -> int:
        """Number of a shard, by its path.

        Raises:
            ReadFailedError: if ``shards.csv`` does not list it.
        """
        return self._keys.shard_number(path)

    def first_position(self, shard: int) -> int:
        """Position of the first row of a shard."""
        return self._places.first_of(shard)

    def row(self, key: str, columns: Sequence[str], *, repair: bool = True) -> DecodedRow:
        """One row by its primary key; as `rows`.

        Raises:
            UnknownNameError: if there is none.
        """
        (row,) = self.rows([self.position_of(key)], columns, repair=repair)
        return row

    def rows(
        self, positions: Positions, columns: Sequence[str], *, repair: bool = True
    ) -> Iterator[DecodedRow]:
        """Decoded rows, one row group at a time.

        Args:
            positions: Row numbers in ascending order.
            columns: Columns to decode; nothing else is touched but what tells a row's origin.
            repair: Correct what published rows are known to get wrong
                (`segmend.shards.defects`); if not, values come as they are stored. What was met is
                counted in `findings`.

        Raises:
            BadInputError: if a position is outside the benchmark.
            SchemaError: if a column does not exist, or a value is not what the schema says, naming
                shard, row group and row.
            ReadFailedError: if bytes are damaged, naming them too.
        """
        read = (*columns, *(c for c in NEEDED if c not in columns)) if repair else columns
        for inside, table in self.read_groups(positions, read):
            for position, row in zip(inside.tolist(), stored_rows(table), strict=True):
                with self.naming(position):
                    decoded = self._decode(position, row, columns, repair=repair)
                yield decoded

    def _decode(
        self, position: int, row: Row, columns: Sequence[str], *, repair: bool
    ) -> DecodedRow:
        if not repair:
            return DecodedRow(position, decode_row(row, columns), ())
        values, findings = repaired_row(row, columns, self.version)
        self.count(findings)
        return DecodedRow(position, values, findings)

    def naming(self, position: int) -> Naming:
        """A block whose errors say in which shard, row group and row they arose."""
        return Naming(self._places, position)

    def read_rows(self, positions: Positions, columns: Sequence[str]) -> pa.Table:
        """Rows by position, in the order asked for.

        Args:
            positions: Row numbers, repeats allowed.
            columns: Columns to read; nothing else is touched.

        Raises:
            BadInputError: if a position is outside the benchmark.
            SchemaError: if a column does not exist.
            ReadFailedError: if the bytes are damaged, naming shard and row group.
        """
        order = np.argsort(positions, kind="stable")
        parts = [table for _, table in self.read_groups(np.asarray(positions)[order], columns)]
        if not parts:
            return self._projected(columns).empty_table()
        inverse = np.empty_like(order)
        inverse[order] = np.arange(len(order))
        return pa.concat_tables(parts).take(inverse) if len(order) > 1 else parts[0]

    def read_groups(
        self, positions: Positions, columns: Sequence[str]
    ) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """Rows by position, one row group at a time.

        Args:
            positions: Row numbers in ascending order.
            columns: Columns to read; nothing else is touched. Of a remote benchmark, just the bytes
                of these columns of these row groups are fetched, some of them ahead.

        Yields:
            The positions that lie in one row group, and their rows.
        """
        self._projected(columns)
        groups = self._places.groups(np.asarray(positions, np.int64))
        tables = self._files.read([(one.shard, one.group) for one in groups], columns)
        for one, table in zip(groups, tables, strict=True):
            if np.array_equal(one.rows, np.arange(table.num_rows)):
                yield one.positions, table
            elif len(one.rows) == 1:
                yield one.positions, table.slice(int(one.rows[0]), 1)
            else:
                yield one.positions, table.take(one.rows)

    def bytes_to_read(self, positions: Positions, columns: Sequence[str]) -> int:
        """Bytes of the row groups and columns that reading those rows touches, footers left out."""
        self._projected(columns)
        groups = self._places.groups(np.sort(np.asarray(positions, np.int64)))
        return self._files.n_bytes([(one.shard, one.group) for one in groups], columns)

    def _projected(self, columns: Sequence[str]) -> pa.Schema:
        schema, fields = arrow_schema(self.version), self.schema
        return pa.schema([schema.field(fields[name].name) for name in columns])


def benchmark(
    place: str | Path, *, revision: str | None = None, options: StoreOptions | None = None
) -> Benchmark:
    """Open a benchmark, ours or published, local or remote: `Benchmark.open`."""
    return Benchmark.open(place, revision=revision, options=options)
