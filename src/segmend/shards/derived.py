"""What published sidecars lack, made from the shards once and kept on this machine.

They say neither where in its shard a row lies nor what its metadata hold. Both are read from a few
columns of the shards, which for remote ones means ranges, and are kept under the sha256 of the
shard, so that they can never be taken for those of another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segmend.core.errors import OutputError
from segmend.core.settings import settings
from segmend.shards.shard_files import ShardFiles
from segmend.shards.sidecar import nullable_labels, published_columns, sidecar_columns, sidecar_rows
from segmend.store.atomic import atomic_file

FOLDER = "benchmarks"
"""Below the settings' cache folder."""

KEY = "combined_sample_hash"


def shard_keys(files: ShardFiles, shard: int) -> pa.ChunkedArray[Any]:
    """Primary keys of a shard's rows, in their order.

    Raises:
        ReadFailedError: if they cannot be read.
    """
    kept = _kept(files, shard, "rows", sidecar_columns(files.version)) or _kept(
        files, shard, "keys", pa.schema([pa.field(KEY, pa.string())])
    )
    if kept is None:
        kept = _read(files, shard, [KEY])
        _keep(files, shard, "keys", kept)
    return kept.column(KEY)


def shard_rows(files: ShardFiles, shard: int) -> pa.Table:
    """The sidecar rows of a shard.

    Returns:
        A table of `sidecar_columns`, in the order of the shard.

    Raises:
        ReadFailedError: if they cannot be read.
        VerificationError: if a row's metadata do not hold what they must, naming the row.
    """
    schema = sidecar_columns(files.version)
    kept = _kept(files, shard, "rows", schema)
    if kept is None:
        columns = [*published_columns(files.version), "metadata"]
        table = nullable_labels(_read(files, shard, columns))
        sizes = np.diff(files.group_starts(shard)).tolist()
        kept = sidecar_rows(table, sizes, files.shards[shard].path, files.version)
        _keep(files, shard, "rows", kept)
    return kept


def _read(files: ShardFiles, shard: int, columns: list[str]) -> pa.Table:
    groups = [(shard, group) for group in range(len(files.group_starts(shard)) - 1)]
    return pa.concat_tables(files.read(groups, columns))


def _path(files: ShardFiles, shard: int, what: str) -> Path:
    digest = files.shards[shard].sha256
    return settings().cache_dir / FOLDER / digest[:2] / f"{digest}-{what}.parquet"


def _kept(files: ShardFiles, shard: int, what: str, schema: pa.Schema) -> pa.Table | None:
    """What is kept of a shard; None if there is nothing, or it is damaged."""
    path = _path(files, shard, what)
    try:
        table = pq.read_table(path, partitioning=None, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return None  # made again, and written over
    fits = table.schema.equals(schema) and len(table) == files.shards[shard].n_samples
    return table if fits else None


def _keep(files: ShardFiles, shard: int, what: str, table: pa.Table) -> None:
    if settings().cache_bytes == 0:
        return
    path = _path(files, shard, what)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            pq.write_table(table, temporary, write_page_checksum=True)
    except (OSError, OutputError):
        return  # a cache that cannot be written costs time, nothing else
