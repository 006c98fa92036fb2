"""Everything in a benchmark folder that derives from its committed shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from segmend.core.errors import NoSamplesError, ReadFailedError, VerificationError
from segmend.core.random import keyed_unit
from segmend.core.sample import ROW_SCHEMAS, SAMPLE_TYPES, SPLITS, SchemaVersion
from segmend.shards.card import CardFacts, write_card
from segmend.shards.croissant import write_croissant
from segmend.shards.figure import write_figure
from segmend.shards.layout import (
    AUDIT_FILE,
    DEMO,
    SHARDS_CSV,
    ShardRecord,
    in_order,
    sidecar_path,
    write_shards_csv,
)
from segmend.shards.legal import write_legal
from segmend.shards.rows import Row
from segmend.shards.sidecar import shard_sidecar
from segmend.shards.writer import write_rows
from segmend.store.atomic import atomic_file, sha256_file

DEMO_ROWS = 4
"""Rows per sample type in ``demo.parquet``, as published (reference 1.9)."""


def finish(folder: str | Path, records: Sequence[ShardRecord], facts: CardFacts) -> None:
    """Write everything that stands beside the shards and, last, ``shards.csv``.

    Sidecars, ``demo.parquet``, README.md, ``croissant.json``, ``CITATION.cff``, ``LICENSES.md`` and
    the figure of the card. An ``audit.json`` of an earlier state is removed.

    A folder with a ``shards.csv`` is a finished benchmark. An old one is removed first, so that
    a kill in between leaves a folder that says it is unfinished; calling again completes it.

    Args:
        folder: The benchmark, with all shards in place.
        records: What `write_shard` returned for each of them, in any order.
        facts: What the card says beyond the shards.

    Raises:
        NoSamplesError: if there are no shards.
        VerificationError: if a shard is not the one of its record, or a key occurs twice.
    """
    folder = Path(folder)

    def sidecar_of(record: ShardRecord) -> pa.Table:
        _check_committed(folder, record)
        return shard_sidecar(folder, record.path)

    def rows_of(places: Sequence[RowPlace]) -> Iterator[Row]:
        return stored_rows(folder, places)

    finish_from(folder, records, facts, sidecar_of=sidecar_of, rows_of=rows_of)


def finish_from(
    folder: Path,
    records: Sequence[ShardRecord],
    facts: CardFacts,
    *,
    sidecar_of: Callable[[ShardRecord], pa.Table],
    rows_of: Callable[[Sequence[RowPlace]], Iterable[Row]],
) -> None:
    """As `finish`, for shards that lie elsewhere.

    Args:
        folder: Where to write what stands beside the shards.
        records: As `finish` takes them.
        facts: As `finish` takes them.
        sidecar_of: The sidecar rows of a shard.
        rows_of: Stored rows by their place.

    Raises:
        NoSamplesError: if there are no shards.
        VerificationError: if a key occurs twice.
    """
    if not records:
        raise NoSamplesError(f"{folder} has no shards to finish")
    for stale in (SHARDS_CSV, AUDIT_FILE):
        (folder / stale).unlink(missing_ok=True)
    (folder / sidecar_path("train")).parent.mkdir(exist_ok=True)
    ordered = in_order(records)
    everything = _write_sidecars(folder, ordered, sidecar_of)
    demo = list(rows_of(demo_places(everything)))
    version = version_of(demo[0])
    with atomic_file(folder / DEMO) as temporary:
        write_rows(temporary, demo, version=version)
    write_figure(folder, demo, version)
    counts = count_rows(everything)
    write_card(folder, facts, counts, version)
    write_croissant(folder, facts, counts, ordered, version=version)
    write_legal(folder, facts)
    write_shards_csv(folder, ordered)


def _write_sidecars(
    folder: Path, records: Sequence[ShardRecord], sidecar_of: Callable[[ShardRecord], pa.Table]
) -> pa.Table:
    """Write the sidecar of each split; all of them as one table."""
    filled = {}
    for split in SPLITS:
        tables = [sidecar_of(record) for record in records if record.split == split]
        if tables:
            filled[split] = pa.concat_tables(tables).combine_chunks()
    everything = pa.concat_tables(filled.values())
    _check_unique(everything)
    for split in SPLITS:
        path = folder / sidecar_path(split)
        if split in filled:
            with atomic_file(path) as temporary:
                pq.write_table(filled[split], temporary, write_page_checksum=True)
        else:
            path.unlink(missing_ok=True)  # of an earlier build that had the split
    return everything


def version_of(row: Row) -> SchemaVersion:
    """Version of the schema that a stored row has."""
    return next(v for v, schema in ROW_SCHEMAS.items() if tuple(row) == schema.names)


def count_rows(sidecar: pa.Table) -> Counter[tuple[str, str]]:
    """Rows by (sample type, split)."""
    return Counter(zip(*_values(sidecar, "sample_type", "split"), strict=True))


def demo_keys(sidecar: pa.Table) -> list[str]:
    """Primary keys of the rows in ``demo.parquet``: up to `DEMO_ROWS` of each sample type.

    They are chosen by a hash of their own key, so that they are the same in every process and
    adding rows rarely changes them.
    """
    keys, kinds = _values(sidecar, "combined_sample_hash", "sample_type")
    chosen: list[str] = []
    for kind in SAMPLE_TYPES:
        of_kind = [key for key, k in zip(keys, kinds, strict=True) if k == kind]
        chosen += sorted(of_kind, key=lambda key: (keyed_unit("demo", key), key))[:DEMO_ROWS]
    return chosen


RowPlace = tuple[str, int, int]
"""Shard, row group and row."""


def demo_places(sidecar: pa.Table) -> list[RowPlace]:
    """Where the rows of ``demo.parquet`` lie, in its order."""
    keys, *place = _values(sidecar, "combined_sample_hash", "shard", "row_group", "row")
    places = dict(zip(keys, zip(*place, strict=True), strict=True))
    return [places[key] for key in demo_keys(sidecar)]


def stored_rows(folder: Path, places: Sequence[RowPlace]) -> Iterator[Row]:
    """Rows as they are stored in the shards of a folder."""
    for shard, group, row in places:
        with pq.ParquetFile(folder / shard, page_checksum_verification=True) as file:
            yield file.read_row_group(group, use_threads=False).slice(row, 1).to_pylist()[0]


def _values(table: pa.Table, *columns: str) -> list[list[Any]]:
    return [table.column(name).to_pylist() for name in columns]


def _check_committed(folder: Path, record: ShardRecord) -> None:
    path = folder / record.path
    try:
        digest = sha256_file(path)
    except OSError as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    if digest != record.sha256:
        raise VerificationError(
            f"{path} is not the shard that was committed",
            found=f"its sha256 is {digest}, the record says {record.sha256}",
            fix="Write the shard again",
        )


def _check_unique(sidecar: pa.Table) -> None:
    counts = Counter(*_values(sidecar, "combined_sample_hash"))
    twice = [key for key, n in counts.items() if n > 1]
    if twice:
        raise VerificationError(
            f"{len(twice)} primary keys occur more than once", found=", ".join(twice[:3])
        )
