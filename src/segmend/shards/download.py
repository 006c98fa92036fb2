"""A benchmark, or whole shards of it, to this machine: resumed, verified, mended where damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from segmend.core.errors import BadInputError, NoSamplesError, ReadFailedError, SchemaError
from segmend.core.random import keyed_unit
from segmend.core.sample import ROW_SCHEMAS, SPLITS, image_columns
from segmend.shards.croissant import CROISSANT
from segmend.shards.derived import KEY
from segmend.shards.figure import FIGURE
from segmend.shards.layout import (
    AUDIT_FILE,
    CARD,
    DEMO,
    SHARDS_CSV,
    ShardRecord,
    sidecar_path,
    write_shards_csv,
)
from segmend.shards.legal import CITATION, LICENCES
from segmend.shards.ranged import column_spans, read_footer
from segmend.shards.reader import Benchmark
from segmend.shards.rows import decode_row
from segmend.shards.source import SOURCE_FILE
from segmend.store.atomic import atomic_file, output_errors, sha256_file
from segmend.store.fetch import fetch

_PICTURES = {name for version in ROW_SCHEMAS for name in image_columns(version)}

Report = Callable[[int, int], None]
"""Told bytes so far and in all."""


_OF_ANY_PART = (CARD, CITATION, LICENCES, FIGURE)
_OF_THE_WHOLE = (CROISSANT, AUDIT_FILE)  # they speak of every shard


@dataclass(frozen=True, slots=True)
class Fetched:
    """What is now on this machine.

    Attributes:
        folder: The benchmark; it opens like any other.
        n_shards: Shards in it.
        n_bytes: Bytes of them.
        kept: Shards that were there already, intact.
        mended: Row groups that were damaged and fetched again, by shard.
    """

    folder: Path
    n_shards: int
    n_bytes: int
    kept: int
    mended: dict[str, int]


def choose_shards(
    benchmark: Benchmark, *, splits: Sequence[str] = (), n_bytes: int | None = None, seed: int = 0
) -> tuple[ShardRecord, ...]:
    """Shards of some splits, or as many of them, drawn by chance, as fit into a size.

    Every split keeps its share of the bytes, and at least one shard. Rows of published shards were
    shuffled before they were put there: whole shards are a fair sample of their split.

    Args:
        benchmark: Where from.
        splits: Only these; none: all.
        n_bytes: Most bytes; None: all shards.
        seed: Another one draws others.

    Raises:
        BadInputError: if there is no such split.
        NoSamplesError: if there are none, or not even one shard of each split fits.
    """
    unknown = set(splits) - set(SPLITS)
    if unknown:
        raise BadInputError(f"there is no split '{min(unknown)}'", fix=f"Splits: {SPLITS}")
    of_splits = [
        [shard for shard in benchmark.shards if shard.split == split]
        for split in benchmark.splits
        if not splits or split in splits
    ]
    everything = [shard for shards in of_splits for shard in shards]
    if not everything:
        raise NoSamplesError(f"{benchmark.source.url} has no shards of {', '.join(splits)}")
    total = sum(shard.size_bytes for shard in everything)
    if n_bytes is None or n_bytes >= total:
        return tuple(everything)
    chosen: list[ShardRecord] = []
    for shards in of_splits:
        drawn = sorted(shards, key=lambda s: keyed_unit("fetch", seed, s.sha256))
        share = n_bytes * sum(s.size_bytes for s in shards) / total
        sizes = np.cumsum([s.size_bytes for s in drawn])
        chosen += drawn[: max(int(np.searchsorted(sizes, share, side="right")), 1)]
    if sum(shard.size_bytes for shard in chosen) > n_bytes:
        raise NoSamplesError(
            f"{n_bytes} bytes do not hold a shard of each split",
            found=f"a shard has about {total // len(everything)} bytes",
            fix="Ask for more, for fewer splits, or read rows by range: Benchmark.select",
        )
    return tuple(shard for shard in everything if shard in chosen)


def fetch_benchmark(
    benchmark: Benchmark,
    to: str | Path,
    *,
    shards: Sequence[ShardRecord] | None = None,
    report: Report | None = None,
) -> Fetched:
    """Copy a benchmark, or some of its shards, to a folder.

    A download that was broken off goes on where it stopped; shards that are there and have their
    sha256 are kept; of one that is there and damaged, only the row groups that are damaged are
    fetched again, if that makes it right. ``shards.csv`` is written last: a folder without it is
    unfinished. Sidecars, list and demo file of a part name only what is in it.

    Args:
        benchmark: Where from.
        to: The folder; made if need be.
        shards: Which of its shards (`choose_shards`); None: all.
        report: Told how far it is.

    Raises:
        BadInputError: if the folder holds another benchmark.
        ReadFailedError: if a shard cannot be fetched, or is not the one that is listed.
        OutputError: if the folder cannot be written.
    """
    folder, chosen = Path(to).absolute(), tuple(benchmark.shards if shards is None else shards)
    if not chosen:
        raise NoSamplesError(f"no shards of {benchmark.source.url} were asked for")
    _check_same(benchmark, folder)
    with output_errors(folder):
        for record in chosen:
            (folder / record.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / sidecar_path("train")).parent.mkdir(exist_ok=True)
    _write_source(benchmark, folder, whole=len(chosen) == len(benchmark.shards))
    (folder / SHARDS_CSV).unlink(missing_ok=True)
    total, done, kept = sum(record.size_bytes for record in chosen), 0, 0
    mended: dict[str, int] = {}
    for record in chosen:
        begin = done

        def told(so_far: int, _of: int | None, begin: int = begin) -> None:
            if report is not None:
                report(begin + so_far, total)

        fresh, groups = _fetch_shard(benchmark, record, folder, told)
        kept += not fresh
        if groups:
            mended[record.path] = groups
        done += record.size_bytes
    _write_tables(benchmark, chosen, folder)
    write_shards_csv(folder, chosen)
    return Fetched(folder, len(chosen), total, kept, mended)


def _check_same(benchmark: Benchmark, folder: Path) -> None:
    """A folder may hold an unfinished copy of the same benchmark, and no other."""
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"{folder} is not a folder")
    note = folder / SOURCE_FILE
    if note.is_file():
        try:
            told = json.loads(note.read_text(encoding="utf-8"))["sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadInputError(f"cannot read {note}", found=str(error)) from error
        if told == benchmark.sha256:
            return
        raise BadInputError(
            f"{folder} holds another benchmark",
            found=f"{note.name} names sha256 {told}, not {benchmark.sha256}",
            fix="Choose another folder, or remove this one",
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise BadInputError(
            f"{folder} is not empty and no copy of a benchmark", fix="Choose another folder"
        )


def _write_source(benchmark: Benchmark, folder: Path, *, whole: bool) -> None:
    source = benchmark.source
    facts = {
        "url": source.url,
        "revision": source.revision,
        "sha256": source.sha256,
        "licence": source.licence,
        "whole": whole,
    }
    with atomic_file(folder / SOURCE_FILE) as path:
        path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _fetch_shard(
    benchmark: Benchmark,
    record: ShardRecord,
    folder: Path,
    told: Callable[[int, int | None], None],
) -> tuple[bool, int]:
    """Fetch one shard; whether anything was fetched, and how many row groups were mended."""
    final = folder / record.path
    if final.is_file() and final.stat().st_size == record.size_bytes:
        if sha256_file(final) == record.sha256:
            told(record.size_bytes, record.size_bytes)
            return False, 0
        groups = _mend(benchmark, record, final)
        if groups:
            return True, groups
    url = f"{benchmark.source.store.url}/{record.path}"
    size, digest = record.size_bytes, record.sha256
    fetch(url, final, sha256=digest, size=size, options=benchmark.source.options, progress=told)
    return True, 0


def _mend(benchmark: Benchmark, record: ShardRecord, final: Path) -> int:
    """Fetch the damaged parts of a shard again; their number, or 0 if that does not make it right.

    Where pages carry checksums, all damage is found; else what its pictures' own checksums, the
    compression or the text's encoding betray.
    """
    store = benchmark.source.store
    footer = read_footer(store, record.path, record.size_bytes)
    parts = _parts(footer, record.size_bytes)
    mended = final.with_name(f".{final.name}.mended")
    try:
        shutil.copyfile(final, mended)
        damaged = [i for i in range(footer.num_row_groups) if not _sound(final, footer, i)]
        # Magic and footer are short: they are always fetched.
        short = [(0, 4), (parts[-1][1], record.size_bytes)]
        with output_errors(final), mended.open("r+b") as file:
            for start, stop in [*(parts[i] for i in damaged), *short]:
                file.seek(start)
                file.write(store.read(record.path, start, stop) or b"")
        if sha256_file(mended) != record.sha256:
            return 0  # the whole shard is fetched instead
        with atomic_file(final) as temporary, output_errors(final):
            mended.rename(temporary)
        return max(len(damaged), 1)
    finally:
        mended.unlink(missing_ok=True)


def _parts(footer: pq.FileMetaData, size: int) -> list[tuple[int, int]]:
    """Where row groups begin and end, the gaps between them included."""
    names = footer.schema.to_arrow_schema().names
    groups = [column_spans(footer, i, names, size) for i in range(footer.num_row_groups)]
    starts = [4, *(spans[0].start for spans in groups[1:])]
    return list(zip(starts, [*starts[1:], groups[-1][-1].stop], strict=True))


def _sound(path: Path, footer: pq.FileMetaData, group: int) -> bool:
    """Whether a row group of a local file can be read and all its pictures decoded."""
    try:
        with pq.ParquetFile(path, metadata=footer, page_checksum_verification=True) as file:
            rows = file.read_row_group(group, use_threads=False).to_pylist()
        for row in rows:
            decode_row(row, [name for name in row if name in _PICTURES])
    except (OSError, pa.ArrowException, UnicodeDecodeError, ReadFailedError, SchemaError):
        return False
    return True


def _write_tables(benchmark: Benchmark, chosen: Sequence[ShardRecord], folder: Path) -> None:
    """Card, sidecars and demo file: as they are, or their rows of the shards that were chosen."""
    source = benchmark.source
    whole = len(chosen) == len(benchmark.shards)
    keys: list[Any] = []
    for split in benchmark.splits:
        paths = pa.array([record.path for record in chosen if record.split == split], pa.string())
        if not len(paths):
            continue
        name = sidecar_path(split)
        if whole:
            _write(folder / name, source.read(name))
            continue
        table = benchmark.listed(split)
        table = table.filter(pc.is_in(table.column("shard"), value_set=paths))
        keys.append(table.column(KEY))
        with atomic_file(folder / name) as temporary:
            pq.write_table(table, temporary, write_page_checksum=True)
    for name in (*_OF_ANY_PART, *(_OF_THE_WHOLE if whole else ())):
        content = source.store.read(name)
        if content is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            _write(folder / name, content)
    demo = source.store.read(DEMO)
    if demo is None:
        return
    if whole:
        _write(folder / DEMO, demo)
        return
    rows = pq.read_table(pa.BufferReader(demo))
    here = pc.is_in(
        rows.column(KEY), value_set=pa.concat_arrays([c for k in keys for c in k.chunks])
    )
    with atomic_file(folder / DEMO) as temporary:
        pq.write_table(rows.filter(here), temporary, write_page_checksum=True)


def _write(path: Path, content: bytes) -> None:
    with atomic_file(path) as temporary, output_errors(path):
        temporary.write_bytes(content)
