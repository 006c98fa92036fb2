"""The sidecars of an opened benchmark: what they say, and the same in the order of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError
from segmend.core.sample import SPLITS
from segmend.shards.derived import shard_rows
from segmend.shards.layout import SHARDS_CSV, ShardRecord, sidecar_path
from segmend.shards.shard_files import ShardFiles
from segmend.shards.sidecar import open_sidecar, read_sidecar, sidecar_columns
from segmend.shards.source import Source
from segmend.store.cache import CachedStore
from segmend.store.store import Store


class Sidecars:
    """The sidecars of a benchmark.

    Args:
        source: Where it lies.
        shards: Its shards, in order.
        files: Reads them.
    """

    def __init__(self, source: Source, shards: Sequence[ShardRecord], files: ShardFiles) -> None:
        self._source, self._shards, self._files = source, shards, files

    def open(self, split: str) -> pq.ParquetFile:
        """The file of a split; a remote one that arrives damaged is fetched once more.

        Raises:
            ReadFailedError: if it cannot be read.
            SchemaError: if it has other columns.
        """
        return self._once_more(self._opened, split)

    def listed(self, split: str, columns: Sequence[str] | None = None) -> pa.Table:
        """What the sidecar of a split says, in its own order; see `Benchmark.listed`."""
        return self._once_more(self._listed, split, columns)

    def _once_more(self, read: Callable[..., Any], split: str, *wanted: Any) -> Any:
        """Read, and if what was read is damaged read again, from the origin alone."""
        store = self._source.store
        try:
            return read(store, split, *wanted)
        except ReadFailedError as error:
            if self._source.folder is not None or error.reason != "corrupt":
                raise
        fresh = store.refreshed() if isinstance(store, CachedStore) else store
        return read(fresh, split, *wanted)

    def _opened(self, store: Store, split: str) -> pq.ParquetFile:
        name = sidecar_path(split)
        where, folder = f"{self._source.url}/{name}", self._source.folder
        if folder is not None:
            return open_sidecar(folder / name, where, self._files.version)
        content = store.read(name)
        if content is None:
            raise ReadFailedError(
                f"cannot read {where}", found="there is no such file", reason="missing"
            )
        return open_sidecar(pa.BufferReader(content), where, self._files.version)

    def _listed(self, store: Store, split: str, columns: Sequence[str] | None) -> pa.Table:
        file = self._opened(store, split)
        where = f"{self._source.url}/{sidecar_path(split)}"
        names = file.schema_arrow.names if columns is None else columns
        table = read_sidecar(file, where, self._files.version, names)
        n = self._rows_of(split)
        if len(table) != n:
            raise ReadFailedError(
                f"{where} disagrees with {SHARDS_CSV}",
                found=f"{len(table)} rows instead of {n}",
                reason="corrupt",
            )
        return table

    def placed(
        self, splits: Sequence[str], split: str | None, columns: Sequence[str] | None
    ) -> pa.Table:
        """Rows in the order of the benchmark; see `Benchmark.sidecar`.

        Args:
            splits: Splits that have rows, in order.
            split: Only this one; None: all.
            columns: Only these; None: all.
        """
        schema = sidecar_columns(self._files.version)
        names = schema.names if columns is None else list(columns)
        if split is not None and split not in SPLITS:
            raise BadInputError(f"there is no split '{split}'", fix=f"Splits: {', '.join(SPLITS)}")
        unknown = set(names) - set(schema.names)
        if unknown:
            raise SchemaError(f"sidecars have no column {', '.join(sorted(unknown))}")
        tables, start = [], 0
        for name in splits:
            n = self._rows_of(name)
            if split in (None, name):
                positions = pa.array(np.arange(start, start + n, dtype=np.int64))
                tables.append(self._in_order(name, names).append_column("position", positions))
            start += n
        fields = [*(schema.field(c) for c in names), pa.field("position", pa.int64())]
        return pa.concat_tables([pa.schema(fields).empty_table(), *tables])

    def say_places(self, split: str) -> bool:
        """Whether the sidecar of a split says where rows lie: then it is in their order."""
        return "row_group" in self.open(split).schema_arrow.names

    def _in_order(self, split: str, columns: Sequence[str]) -> pa.Table:
        if self.say_places(split):
            return self.listed(split, columns)
        shards = [i for i, shard in enumerate(self._shards) if shard.split == split]
        return pa.concat_tables(shard_rows(self._files, i).select(columns) for i in shards)

    def _rows_of(self, split: str) -> int:
        return sum(shard.n_samples for shard in self._shards if shard.split == split)
