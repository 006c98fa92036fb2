"""Opening a benchmark and reading only what is asked for."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, NoSamplesError, ReadFailedError, SchemaError
from segmend.core.sample import ROW_SCHEMA, SPLITS
from segmend.shards.arrow import arrow_schema
from segmend.shards.layout import SHARDS_CSV, ShardRecord, in_order, read_shards_csv, sidecar_path
from segmend.shards.repair import NEEDED, Finding, repaired_row
from segmend.shards.rows import Row, decode_row
from segmend.shards.sidecar import SIDECAR_SCHEMA, read_sidecar, shard_sidecar, sidecar_schema

_OPEN_SHARDS = 32
"""Files each thread keeps open."""


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
    """A benchmark folder, opened for reading.

    Rows are numbered 0 to n-1 in the order of ``shards.csv`` (train, validation, test; then shard,
    row group and row); that number is a row's *position*. Reading is lazy and checks page
    checksums. Instances can be pickled to other processes and used from several threads.
    """

    def __init__(self, folder: Path, shards: Sequence[ShardRecord]) -> None:
        self.folder = folder
        self.shards = tuple(shards)
        self._index: _Index | None = None
        self._local = threading.local()

    @classmethod
    def open(cls, path: str | Path) -> Benchmark:
        """Open a benchmark and check that what it lists is there.

        Sizes of all shards and the columns of the first are checked here, columns of the others
        when they are first read; `segmend.shards.verify` checks everything.

        Raises:
            BadInputError: if the folder does not exist or is no finished benchmark.
            ReadFailedError: if a shard or sidecar is missing or has another size.
            SchemaError: if a shard or sidecar has other columns.
        """
        folder = Path(path).absolute()  # workers may stand elsewhere
        if not (folder / SHARDS_CSV).is_file():
            raise BadInputError(
                f"{folder} is not a finished benchmark",
                found=f"it has no {SHARDS_CSV}" if folder.is_dir() else "there is no such folder",
                fix="Give the folder that a finished `segmend build` wrote",
            )
        shards = in_order(read_shards_csv(folder))
        if not shards:
            raise NoSamplesError(f"{folder} lists no shards")
        for shard in shards:
            _check_present(folder, shard)
        benchmark = cls(folder, shards)
        benchmark._open_shard(0)
        for split in benchmark.splits:
            sidecar_schema(folder / sidecar_path(split))
        return benchmark

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that have rows, in order."""
        return tuple(s for s in SPLITS if any(shard.split == s for shard in self.shards))

    def __len__(self) -> int:
        return sum(shard.n_samples for shard in self.shards)

    def __reduce__(self) -> tuple[object, ...]:
        # Files stay behind: every process opens its own.
        return (Benchmark, (self.folder, self.shards))

    def sidecar(
        self, split: str | None = None, *, columns: Sequence[str] = tuple(SIDECAR_SCHEMA.names)
    ) -> pa.Table:
        """Identifiers, labels and sites of rows.

        A sidecar as published does not say where its rows lie; the table is then made from the
        shards, which takes longer.

        Args:
            split: Only this split; None for all rows.
            columns: Only these columns of `SIDECAR_SCHEMA`; nothing else is read.

        Returns:
            The columns and ``position`` (int64), in order of position.

        Raises:
            BadInputError: if there is no such split.
            SchemaError: if there is no such column.
            ReadFailedError: if a sidecar cannot be read or disagrees with ``shards.csv``.
            VerificationError: if the metadata of a published row do not hold what they must.
        """
        if split is not None and split not in SPLITS:
            raise BadInputError(f"there is no split '{split}'", fix=f"Splits: {', '.join(SPLITS)}")
        unknown = set(columns) - set(SIDECAR_SCHEMA.names)
        if unknown:
            raise SchemaError(f"sidecars have no column {', '.join(sorted(unknown))}")
        tables, start = [], 0
        for name in self.splits:
            n = sum(shard.n_samples for shard in self.shards if shard.split == name)
            if split in (None, name):
                table = self._split_sidecar(name, n, list(columns))
                positions = pa.array(np.arange(start, start + n, dtype=np.int64))
                tables.append(table.append_column("position", positions))
            start += n
        fields = [*(SIDECAR_SCHEMA.field(c) for c in columns), pa.field("position", pa.int64())]
        empty = pa.schema(fields).empty_table()
        return pa.concat_tables([empty, *tables])

    def _split_sidecar(self, split: str, n: int, columns: list[str]) -> pa.Table:
        path = self.folder / sidecar_path(split)
        if set(sidecar_schema(path).names) == set(SIDECAR_SCHEMA.names):
            return read_sidecar(path, n, columns)
        paths = [shard.path for shard in self.shards if shard.split == split]
        tables = [shard_sidecar(self.folder, path).select(columns) for path in paths]
        return pa.concat_tables(tables)

    def rows(
        self,
        positions: Sequence[int] | NDArray[np.integer],
        columns: Sequence[str],
        *,
        repair: bool = True,
    ) -> Iterator[DecodedRow]:
        """Decoded rows, one row group at a time.

        Args:
            positions: Row numbers in ascending order.
            columns: Columns to decode; nothing else is touched but what tells a row's origin.
            repair: Correct what published rows are known to get wrong
                (`segmend.shards.defects`); if not, values come as they are stored.

        Raises:
            BadInputError: if a position is outside the benchmark.
            SchemaError: if a column does not exist, or a value is not what the schema says.
            ReadFailedError: if bytes are damaged.
        """
        read = (*columns, *(c for c in NEEDED if c not in columns)) if repair else columns
        for inside, table in self.read_groups(positions, read):
            for position, row in zip(inside.tolist(), table.to_pylist(), strict=True):
                if repair:
                    yield DecodedRow(position, *repaired_row(row, columns))
                else:
                    yield DecodedRow(position, decode_row(row, columns), ())

    def read_rows(
        self, positions: Sequence[int] | NDArray[np.integer], columns: Sequence[str]
    ) -> pa.Table:
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
            return _projected(columns).empty_table()
        inverse = np.empty_like(order)
        inverse[order] = np.arange(len(order))
        return pa.concat_tables(parts).take(inverse) if len(order) > 1 else parts[0]

    def read_groups(
        self, positions: Sequence[int] | NDArray[np.integer], columns: Sequence[str]
    ) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """Rows by position, one row group at a time.

        Args:
            positions: Row numbers in ascending order.
            columns: Columns to read; nothing else is touched.

        Yields:
            The positions that lie in one row group, and their rows.
        """
        _projected(columns)
        where = np.asarray(positions, np.int64)
        index = self._positions()
        if where.size and (where[0] < 0 or where[-1] >= len(self)):
            raise BadInputError(
                "a row position lies outside the benchmark",
                found=f"positions {where[0]} to {where[-1]}, {len(self)} rows",
            )
        groups = np.searchsorted(index.starts, where, side="right") - 1
        for group in np.unique(groups):
            inside = where[groups == group]
            table = self._read_group(int(index.shards[group]), int(index.groups[group]), columns)
            rows = inside - index.starts[group]
            whole = np.array_equal(rows, np.arange(table.num_rows))
            if whole:
                yield inside, table
            elif len(rows) == 1:
                yield inside, table.slice(int(rows[0]), 1)
            else:
                yield inside, table.take(rows)

    def _positions(self) -> _Index:
        if self._index is None:
            counts = [self._group_sizes(i) for i in range(len(self.shards))]
            self._index = _Index(counts)
        return self._index

    def _group_sizes(self, shard: int) -> list[int]:
        metadata = self._open_shard(shard).metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        if sum(sizes) != self.shards[shard].n_samples:
            raise ReadFailedError(
                f"{self.folder / self.shards[shard].path} has another number of rows",
                found=f"{sum(sizes)} rows, {SHARDS_CSV} says {self.shards[shard].n_samples}",
            )
        return sizes

    def _read_group(self, shard: int, group: int, columns: Sequence[str]) -> pa.Table:
        key = (shard, group, tuple(columns))
        kept: tuple[Any, pa.Table] | None = getattr(self._local, "group", None)
        if kept is not None and kept[0] == key:
            return kept[1]
        file = self._open_shard(shard)
        try:
            table = file.read_row_group(group, columns=list(columns), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise ReadFailedError(
                f"cannot read {self.folder / self.shards[shard].path} row group {group}",
                found=str(error),
                fix="Run `segmend verify` and fetch or build the shard again",
            ) from error
        table = table.select(list(columns))
        # Neighbouring rows are often asked for one by one.
        self._local.group = (key, table)
        return table

    def _open_shard(self, shard: int) -> pq.ParquetFile:
        """The shard's file of this thread and process: Arrow's readers are not for sharing."""
        if getattr(self._local, "process", None) != os.getpid():
            self._local.process = os.getpid()
            self._local.files = OrderedDict()
        files: OrderedDict[int, pq.ParquetFile] = self._local.files
        if shard not in files:
            files[shard] = _open_parquet(self.folder / self.shards[shard].path)
            while len(files) > _OPEN_SHARDS:
                files.popitem(last=False)[1].close()
        files.move_to_end(shard)
        return files[shard]


class _Index:
    """Where the row groups of all shards begin, as positions."""

    def __init__(self, counts: Sequence[Sequence[int]]) -> None:
        sizes = [n for groups in counts for n in groups]
        self.starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        self.shards = np.repeat(np.arange(len(counts)), [len(groups) for groups in counts])
        self.groups = np.concatenate([np.arange(len(groups)) for groups in counts])


def _projected(columns: Sequence[str]) -> pa.Schema:
    schema = arrow_schema()
    return pa.schema([schema.field(ROW_SCHEMA[name].name) for name in columns])


def _open_parquet(path: Path) -> pq.ParquetFile:
    # Not memory-mapped: an I/O error must be an exception, not the end of the process.
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    if not file.schema_arrow.equals(arrow_schema()):
        names = file.schema_arrow.names
        file.close()
        raise SchemaError(
            f"{path} has other columns than schema {ROW_SCHEMA.name}",
            found=", ".join(sorted(set(names) ^ set(ROW_SCHEMA.names))) or "other types",
        )
    return file


def _check_present(folder: Path, shard: ShardRecord) -> None:
    path = folder / shard.path
    size = path.stat().st_size if path.is_file() else None
    if size != shard.size_bytes:
        raise ReadFailedError(
            f"{path} is not the shard that {SHARDS_CSV} lists",
            found="it is missing" if size is None else f"{size} bytes, not {shard.size_bytes}",
            fix="Fetch or build the shard again",
        )
