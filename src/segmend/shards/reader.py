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
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segmend.core.errors import (
    BadInputError,
    NoSamplesError,
    ReadFailedError,
    SchemaError,
    SegmendError,
    UnknownNameError,
)
from segmend.core.sample import ROW_SCHEMAS, SPLITS, SchemaVersion
from segmend.core.schema import Schema
from segmend.shards.arrow import arrow_schema
from segmend.shards.derived import KEY, shard_keys, shard_rows
from segmend.shards.layout import SHARDS_CSV, ShardRecord, in_order, parse_shards_csv, sidecar_path
from segmend.shards.repair import NEEDED, Finding, defect_names, repaired_row
from segmend.shards.rows import Row, decode_row
from segmend.shards.shard_files import ShardFiles
from segmend.shards.sidecar import open_sidecar, read_sidecar, sidecar_columns
from segmend.shards.source import Source, open_source
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
        counts = [shard.n_samples for shard in self.shards]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._findings: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._listed_keys: dict[str, pa.Table] = {}

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
                _check_present(source.folder, shard)
        _ = benchmark.version
        if source.folder is not None:
            for split in benchmark.splits:
                benchmark._open_sidecar(split)
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
        return int(self._starts[-1])

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
        file = self._open_sidecar(split)
        where = f"{self.source.url}/{sidecar_path(split)}"
        names = file.schema_arrow.names if columns is None else columns
        table = read_sidecar(file, where, self.version, names)
        n = sum(shard.n_samples for shard in self.shards if shard.split == split)
        if len(table) != n:
            raise ReadFailedError(
                f"{where} disagrees with {SHARDS_CSV}", found=f"{len(table)} rows instead of {n}"
            )
        return table

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
        schema = sidecar_columns(self.version)
        names = schema.names if columns is None else list(columns)
        if split is not None and split not in SPLITS:
            raise BadInputError(f"there is no split '{split}'", fix=f"Splits: {', '.join(SPLITS)}")
        unknown = set(names) - set(schema.names)
        if unknown:
            raise SchemaError(f"sidecars have no column {', '.join(sorted(unknown))}")
        tables, start = [], 0
        for name in self.splits:
            n = sum(shard.n_samples for shard in self.shards if shard.split == name)
            if split in (None, name):
                table = self._placed(name, names)
                positions = pa.array(np.arange(start, start + n, dtype=np.int64))
                tables.append(table.append_column("position", positions))
            start += n
        fields = [*(schema.field(c) for c in names), pa.field("position", pa.int64())]
        empty = pa.schema(fields).empty_table()
        return pa.concat_tables([empty, *tables])

    def _placed(self, split: str, columns: Sequence[str]) -> pa.Table:
        """A split's sidecar in the order of its rows."""
        if self.says_places(split):
            return self.listed(split, columns)
        shards = [i for i, shard in enumerate(self.shards) if shard.split == split]
        return pa.concat_tables(shard_rows(self._files, i).select(columns) for i in shards)

    def says_places(self, split: str) -> bool:
        """Whether the sidecar of a split says where rows lie: then it is in their order."""
        return "row_group" in self._open_sidecar(split).schema_arrow.names

    def _open_sidecar(self, split: str) -> pq.ParquetFile:
        name = sidecar_path(split)
        where, folder = f"{self.source.url}/{name}", self.source.folder
        content = pa.BufferReader(self.source.read(name)) if folder is None else folder / name
        return open_sidecar(content, where, self.version)

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
        return shard_keys(self._files, shard)

    def position_of(self, key: str) -> int:
        """Position of the row with a primary key.

        Raises:
            UnknownNameError: if there is none.
            ReadFailedError: if the sidecars name it and its shard does not hold it.
        """
        for split in self.splits:
            listed = self._keys(split)
            row = pc.index(listed.column(KEY), key).as_py()
            if row >= 0:
                shard = self.shard_number(listed.column("shard")[row].as_py())
                place = pc.index(self.keys_of(shard), key).as_py()
                if place < 0:
                    raise ReadFailedError(
                        f"{sidecar_path(split)} disagrees with its shards",
                        found=f"{self.shards[shard].path} holds no row {key}",
                    )
                return int(self._starts[shard]) + int(place)
        raise UnknownNameError(f"{self.source.url} has no row '{key}'")

    def _keys(self, split: str) -> pa.Table:
        """Key and shard of every row of a split, kept for the next search."""
        if split not in self._listed_keys:
            self._listed_keys[split] = self.listed(split, [KEY, "shard"])
        return self._listed_keys[split]

    def shard_number(self, path: str) -> int:
        """Number of a shard, by its path.

        Raises:
            ReadFailedError: if ``shards.csv`` does not list it.
        """
        for i, shard in enumerate(self.shards):
            if shard.path == path:
                return i
        raise ReadFailedError(f"a sidecar names the shard {path}, which {SHARDS_CSV} does not list")

    def first_position(self, shard: int) -> int:
        """Position of the first row of a shard."""
        return int(self._starts[shard])

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
            for position, row in zip(inside.tolist(), table.to_pylist(), strict=True):
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

    def naming(self, position: int) -> _Naming:
        """A block whose errors say in which shard, row group and row they arose."""
        return _Naming(self, position)

    def place_of(self, position: int) -> str:
        """Shard, row group and row of a position, for people."""
        shard = int(np.searchsorted(self._starts, position, side="right")) - 1
        starts, inside = self._files.group_starts(shard), position - int(self._starts[shard])
        group = int(np.searchsorted(starts, inside, side="right")) - 1
        return f"{self.shards[shard].path} row group {group} row {inside - int(starts[group])}"

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
        groups = self._groups_of(np.asarray(positions, np.int64))
        tables = self._files.read([(shard, group) for shard, group, _, _ in groups], columns)
        for (_, _, inside, rows), table in zip(groups, tables, strict=True):
            if np.array_equal(rows, np.arange(table.num_rows)):
                yield inside, table
            elif len(rows) == 1:
                yield inside, table.slice(int(rows[0]), 1)
            else:
                yield inside, table.take(rows)

    def bytes_to_read(self, positions: Positions, columns: Sequence[str]) -> int:
        """Bytes of the row groups and columns that reading those rows touches, footers left out."""
        self._projected(columns)
        groups = self._groups_of(np.sort(np.asarray(positions, np.int64)))
        return self._files.n_bytes([(shard, group) for shard, group, _, _ in groups], columns)

    def _groups_of(
        self, where: NDArray[np.int64]
    ) -> list[tuple[int, int, NDArray[np.int64], NDArray[np.int64]]]:
        """Shard, row group, positions and rows in it, for positions in ascending order."""
        if where.size and (where[0] < 0 or where[-1] >= len(self)):
            raise BadInputError(
                "a row position lies outside the benchmark",
                found=f"positions {where[0]} to {where[-1]}, {len(self)} rows",
            )
        found = []
        shards = np.searchsorted(self._starts, where, side="right") - 1
        for shard in np.unique(shards).tolist():
            inside = where[shards == shard]
            starts = self._files.group_starts(shard)
            rows = inside - self._starts[shard]
            groups = np.searchsorted(starts, rows, side="right") - 1
            for group in np.unique(groups).tolist():
                here = groups == group
                found.append((shard, group, inside[here], rows[here] - starts[group]))
        return found

    def _projected(self, columns: Sequence[str]) -> pa.Schema:
        schema, fields = arrow_schema(self.version), self.schema
        return pa.schema([schema.field(fields[name].name) for name in columns])


class _Naming:
    """Puts the place of a row in front of what an error says; built only when there is one."""

    def __init__(self, benchmark: Benchmark, position: int) -> None:
        self._benchmark, self._position = benchmark, position

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, SegmendError):
            error.asked = f"{self._benchmark.place_of(self._position)}: {error.asked}"


def _check_present(folder: Path, shard: ShardRecord) -> None:
    path = folder / shard.path
    size = path.stat().st_size if path.is_file() else None
    if size != shard.size_bytes:
        raise ReadFailedError(
            f"{path} is not the shard that {SHARDS_CSV} lists",
            found="it is missing" if size is None else f"{size} bytes, not {shard.size_bytes}",
            fix="Fetch or build the shard again",
        )


def benchmark(
    place: str | Path, *, revision: str | None = None, options: StoreOptions | None = None
) -> Benchmark:
    """Open a benchmark, ours or published, local or remote: `Benchmark.open`."""
    return Benchmark.open(place, revision=revision, options=options)
