"""The shards of a benchmark, local or remote, read by row group and column."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segmend.core.errors import ReadFailedError, SchemaError
from segmend.core.sample import SchemaVersion
from segmend.shards.arrow import as_version, schema_version
from segmend.shards.layout import SHARDS_CSV, ShardRecord
from segmend.shards.ranged import GroupRequest, read_footer, read_groups
from segmend.shards.source import Source
from segmend.store.cache import CachedStore

_OPEN_SHARDS = 32
"""Files each thread keeps open, and footers of remote shards."""

_AHEAD_BYTES = 32 * 2**20
"""Of remote row groups that are fetched together."""


class ShardFiles:
    """Reads row groups. Used from several threads; every process makes its own.

    Args:
        source: Where the shards lie.
        shards: Which there are.
    """

    def __init__(self, source: Source, shards: Sequence[ShardRecord]) -> None:
        self.source = source
        self.shards = shards
        self._version: SchemaVersion | None = None
        self._starts: dict[int, NDArray[np.int64]] = {}
        self._local = threading.local()

    @property
    def version(self) -> SchemaVersion:
        """Version of the schema, told by the columns of the first shard."""
        if self._version is None:
            self._version = schema_version(self._footer(0).schema.to_arrow_schema(), self._name(0))
        return self._version

    def group_starts(self, shard: int) -> NDArray[np.int64]:
        """First row of each row group of a shard and, last, the number of its rows.

        Raises:
            ReadFailedError: if the footer cannot be read or counts other rows than ``shards.csv``.
        """
        if shard not in self._starts:
            footer = self._footer(shard)
            sizes = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
            if sum(sizes) != self.shards[shard].n_samples:
                raise ReadFailedError(
                    f"{self._name(shard)} has another number of rows",
                    found=f"{sum(sizes)} rows, {SHARDS_CSV} says {self.shards[shard].n_samples}",
                )
            self._starts[shard] = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return self._starts[shard]

    def read(self, wanted: Sequence[tuple[int, int]], columns: Sequence[str]) -> Iterator[pa.Table]:
        """Row groups in the order asked for; remote ones are fetched some at a time.

        Args:
            wanted: Shard and row group of each.
            columns: Columns to read; nothing else is touched.

        Raises:
            ReadFailedError: if bytes are damaged or cannot be read, naming shard and row group.
        """
        if self.source.folder is not None:
            for shard, group in wanted:
                yield self._local_group(shard, group, columns)
            return
        for part in self._parts(wanted, columns):
            yield from self._remote_groups(part)

    def n_bytes(self, wanted: Sequence[tuple[int, int]], columns: Sequence[str]) -> int:
        """Bytes that reading those columns of those row groups takes, as the footers say."""
        requests = (self._request(shard, group, columns) for shard, group in wanted)
        return sum(span.stop - span.start for one in requests for span in one.spans)

    def read_again(self, wanted: tuple[int, int], columns: Sequence[str]) -> pa.Table:
        """Read a remote row group again from its origin, past what was kept of it.

        Raises:
            ReadFailedError: if it cannot be read, or is damaged there too.
        """
        store = self.source.store
        if isinstance(store, CachedStore):
            store = store.refreshed()
        (table,) = read_groups(store, [self._request(*wanted, columns)])
        return self._typed(table, columns)

    def _local_group(self, shard: int, group: int, columns: Sequence[str]) -> pa.Table:
        key = (shard, group, tuple(columns))
        kept: tuple[Any, pa.Table] | None = getattr(self._local, "group", None)
        if kept is not None and kept[0] == key:
            return kept[1]
        file = self._open(shard)
        try:
            table = file.read_row_group(group, columns=list(columns), use_threads=False)
        # Arrow raises UnicodeDecodeError for text that is none.
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise ReadFailedError(
                f"cannot read {self._name(shard)} row group {group}",
                found=str(error),
                fix="Run `segmend verify`, and fetch or build the shard again",
            ) from error
        table = self._typed(table, columns)
        # Neighbouring rows are often asked for one by one.
        self._local.group = (key, table)
        return table

    def _remote_groups(self, part: Sequence[tuple[int, int, GroupRequest]]) -> Iterator[pa.Table]:
        groups = read_groups(self.source.store, [request for _, _, request in part])
        done = 0
        while done < len(part):
            shard, group, request = part[done]
            try:
                table = next(groups)
            except ReadFailedError as error:
                if error.reason != "corrupt":
                    raise
                # Damaged on the way or in the cache: once more, from the origin alone.
                table = self.read_again((shard, group), request.columns)
                groups = read_groups(self.source.store, [one for *_, one in part[done + 1 :]])
            yield self._typed(table, request.columns)
            done += 1

    def _parts(
        self, wanted: Sequence[tuple[int, int]], columns: Sequence[str]
    ) -> Iterator[list[tuple[int, int, GroupRequest]]]:
        part: list[tuple[int, int, GroupRequest]] = []
        size = 0
        for shard, group in wanted:
            request = self._request(shard, group, columns)
            size += sum(span.stop - span.start for span in request.spans)
            part.append((shard, group, request))
            if size >= _AHEAD_BYTES:
                yield part
                part, size = [], 0
        if part:
            yield part

    def _request(self, shard: int, group: int, columns: Sequence[str]) -> GroupRequest:
        record = self.shards[shard]
        return GroupRequest(
            record.path, record.size_bytes, self._footer(shard), group, tuple(columns)
        )

    def _typed(self, table: pa.Table, columns: Sequence[str]) -> pa.Table:
        return as_version(table.select(list(columns)), self.version)

    def _footer(self, shard: int) -> pq.FileMetaData:
        if self.source.folder is not None:
            return self._open(shard).metadata
        kept: OrderedDict[int, pq.FileMetaData] = self._kept()
        record = self.shards[shard]
        if shard not in kept:
            footer = read_footer(self.source.store, record.path, record.size_bytes)
            self._check(shard, footer.schema.to_arrow_schema())
            kept[shard] = footer
            while len(kept) > _OPEN_SHARDS:
                kept.popitem(last=False)
        kept.move_to_end(shard)
        return kept[shard]

    def _open(self, shard: int) -> pq.ParquetFile:
        """The shard's file of this thread and process: Arrow's readers are not for sharing."""
        files: OrderedDict[int, pq.ParquetFile] = self._kept()
        if shard not in files:
            files[shard] = self._opened(shard)
            while len(files) > _OPEN_SHARDS:
                files.popitem(last=False)[1].close()
        files.move_to_end(shard)
        return files[shard]

    def _kept(self) -> OrderedDict[int, Any]:
        if getattr(self._local, "process", None) != os.getpid():
            self._local.process = os.getpid()
            self._local.kept = OrderedDict()
        kept: OrderedDict[int, Any] = self._local.kept
        return kept

    def _opened(self, shard: int) -> pq.ParquetFile:
        path = Path(self._name(shard))
        # Not memory-mapped: an I/O error must be an exception, not the end of the process. Not
        # buffered ahead: that is read by another thread, which must first be given a core.
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)
        except (OSError, pa.ArrowException) as error:
            raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
        try:
            self._check(shard, file.schema_arrow)
        except SchemaError:
            file.close()
            raise
        return file

    def _check(self, shard: int, schema: pa.Schema) -> None:
        found = schema_version(schema, self._name(shard))
        self._version = self._version or found
        if found != self._version:
            raise SchemaError(
                f"{self._name(shard)} has other columns than the shards before it",
                found=f"schema {found}, they have {self._version}",
            )

    def _name(self, shard: int) -> str:
        return f"{self.source.store.url}/{self.shards[shard].path}"
