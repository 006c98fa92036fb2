"""Checking the files around the shards: sidecars, card, and files that nobody lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from segmend.core.errors import ReadFailedError, SchemaError, VerificationError
from segmend.core.sample import SPLIT_FOLDERS, SchemaVersion
from segmend.shards.layout import CARD, SHARDS_CSV, ShardRecord, sidecar_path
from segmend.shards.sidecar import (
    nullable_labels,
    published_columns,
    shard_sidecar,
    sidecar_columns,
)

_HEADER = re.compile(r"---\n(?P<yaml>.*?)\n---\n", re.DOTALL)
_PATH_KEY = re.compile(r"^ *(?:- )?path:", re.MULTILINE)
_DATA_FILES = re.compile(
    r'^ *- split: (?P<split>\w+)\n *path: "(?P<path>[\w.*/-]+)"$', re.MULTILINE
)


def extra_shards(folder: Path, shards: Sequence[ShardRecord]) -> Iterator[str]:
    """Problems: Parquet files in the folders of the splits that ``shards.csv`` does not list."""
    listed = {record.path for record in shards}
    for name in SPLIT_FOLDERS.values():
        for path in sorted((folder / name).glob("*.parquet")):
            relative = path.relative_to(folder).as_posix()
            if relative not in listed and not path.name.startswith("."):
                yield f"{relative} is not listed in {SHARDS_CSV}"


def sidecar_problems(
    folder: Path, shards: Sequence[ShardRecord], split: str, version: SchemaVersion
) -> Iterator[tuple[str, str]]:
    """Problems of one split's sidecar, as (where, what).

    It must be what its shards say, row by row. Shards that cannot be read are reported elsewhere
    and not compared.
    """
    where = sidecar_path(split)
    paths = [record.path for record in shards if record.split == split]
    if not paths:
        if (folder / where).exists():
            yield where, f"exists, but {SHARDS_CSV} lists no shard of its split"
        return
    try:
        with pq.ParquetFile(folder / where, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        yield where, f"cannot be read: {error}"
        return
    if set(table.schema.names) == {*published_columns(version), "shard"}:
        for what in _published_problems(folder, paths, table, version):
            yield where, what
        return
    if not table.schema.equals(sidecar_columns(version)):
        yield where, "has other columns than a sidecar"
        return
    named = table.column("shard").to_pylist()
    for path in sorted({str(name) for name in named} - set(paths)):
        yield where, f"names the shard {path}, which {SHARDS_CSV} does not list for its split"
    rows_of: dict[str, list[int]] = {path: [] for path in paths}
    for i, name in enumerate(named):
        if name in rows_of:
            rows_of[name].append(i)
    for path, rows in rows_of.items():
        for what in _shard_rows_problems(folder, path, table.take(rows), version):
            yield where, what


def _shard_rows_problems(
    folder: Path, shard: str, said: pa.Table, version: SchemaVersion
) -> Iterator[str]:
    true, wrong = _true_sidecar(folder, shard, version)
    yield from wrong
    if true is None:
        return
    if said.num_rows != true.num_rows:
        yield f"has {said.num_rows} rows of {shard}, which holds {true.num_rows}"
        return
    yield from _differences(said, true, shard, said.column_names)


def _true_sidecar(
    folder: Path, shard: str, version: SchemaVersion
) -> tuple[pa.Table | None, list[str]]:
    """What the sidecar should say of a shard, or why that cannot be told."""
    try:
        true = shard_sidecar(folder, shard)
    except VerificationError as error:
        return None, [str(error)]
    except (ReadFailedError, SchemaError):
        return None, []  # reported with the shard
    # A shard of another version is reported too.
    return (true if true.schema.equals(sidecar_columns(version)) else None), []


def _differences(
    said: pa.Table, true: pa.Table, shard: str, columns: Sequence[str]
) -> Iterator[str]:
    for name in columns:
        if said.column(name).equals(true.column(name)):
            continue
        pairs = zip(said.column(name).to_pylist(), true.column(name).to_pylist(), strict=True)
        wrong = [(i, a, b) for i, (a, b) in enumerate(pairs) if a != b]
        if wrong:
            i, a, b = wrong[0]
            more = f" and {len(wrong) - 1} more rows" if len(wrong) > 1 else ""
            yield f"{name} of {shard} row {i} is {a!r}, the shard says {b!r}{more}"


def _published_problems(
    folder: Path, paths: Sequence[str], said: pa.Table, version: SchemaVersion
) -> Iterator[str]:
    """Problems of a sidecar as published, whose rows are in any order: found by their key."""
    said = nullable_labels(said)
    keys = said.column("combined_sample_hash")
    if said.num_rows != len(keys.unique()):
        yield "names a key twice"
    met = 0
    for path in paths:
        true, wrong = _true_sidecar(folder, path, version)
        yield from wrong
        if true is None:
            continue
        at = pc.index_in(true.column("combined_sample_hash"), value_set=keys)
        if at.null_count:
            yield f"lacks {at.null_count} of the {true.num_rows} rows of {path}"
        there = at.is_valid()
        met += true.num_rows - at.null_count
        yield from _differences(
            said.take(at.drop_null()), true.filter(there), path, published_columns(version)
        )
    if said.num_rows > met:
        yield f"has {said.num_rows - met} rows that its shards do not hold"


def card_problems(folder: Path, shards: Sequence[ShardRecord]) -> Iterator[str]:
    """Problems of the card: files its header names and files it forgets."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        yield f"cannot be read: {error}"
        return
    header = _HEADER.match(text)
    if header is None:
        yield "has no YAML header"
        return
    named = [(m["split"], m["path"]) for m in _DATA_FILES.finditer(header["yaml"])]
    if not named or len(named) != len(_PATH_KEY.findall(header["yaml"])):
        yield "its header does not configure data files as segmend writes them"
        return
    for _, pattern in named:
        inside = not pattern.startswith("/") and ".." not in pattern.split("/")
        if not inside or not any(folder.glob(pattern)):
            yield f"its header names {pattern!r}, which matches no file"
    for record in shards:
        if not any(s == record.split and fnmatchcase(record.path, p) for s, p in named):
            yield f"its header does not cover {record.path} in split '{record.split}'"
