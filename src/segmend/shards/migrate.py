"""A benchmark of one version of the schema as a benchmark of the other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segmend.core.errors import BadInputError, OutputError, ReadFailedError
from segmend.core.sample import SchemaVersion
from segmend.shards.card import CardFacts, Source, plan_sources
from segmend.shards.finish import finish
from segmend.shards.layout import PLAN_FILE, ShardRecord, shard_path
from segmend.shards.leaks import accepted_leaks
from segmend.shards.reader import Benchmark
from segmend.shards.rows import Row
from segmend.shards.versions import LOSSES, as_v1, as_v2
from segmend.shards.writer import write_shard
from segmend.store.atomic import output_errors


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did.

    Attributes:
        rows: Rows written.
        left_out: Rows that cannot be rows of the other version.
        losses: Rows by lossy step (`LOSSES`).
    """

    rows: int
    left_out: int
    losses: Mapping[str, int]


def migrate(
    benchmark: Benchmark,
    out: Path,
    version: SchemaVersion,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Migrated:
    """Write a benchmark in the other version of the schema.

    Splits and shards stay as they are, and so do pictures that both versions have.

    Args:
        benchmark: What to migrate.
        out: Folder to create; it must not exist, or be empty.
        version: Version to write.
        progress: Told shards done and shards in all.

    Raises:
        BadInputError: if it has that version already.
        OutputError: if the folder cannot be created or holds something.
        SegmendError: if a row cannot be read or written.
    """
    if benchmark.version == version:
        raise BadInputError(f"{benchmark.source.url} has schema {version} already")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"the output {out} exists already", fix="Choose another --out")
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    losses: Counter[str] = Counter()
    records: list[ShardRecord] = []
    numbers: Counter[str] = Counter()
    for i, shard in enumerate(benchmark.shards):
        rows = list(_converted(benchmark, i, version, losses))
        if rows:  # shards are numbered without gaps
            path = out / shard_path(shard.split, numbers[shard.split])
            records.append(write_shard(path, rows, version=version))
            numbers[shard.split] += 1
        progress(i + 1, len(benchmark.shards))
    left_out = losses["no_render"]
    finish(out, records, _facts(benchmark, version, losses))
    return Migrated(sum(r.n_samples for r in records), left_out, dict(losses))


def _converted(
    benchmark: Benchmark, shard: int, version: SchemaVersion, losses: Counter[str]
) -> Iterator[Row]:
    first = benchmark.first_position(shard)
    positions = np.arange(first, first + benchmark.shards[shard].n_samples)
    for inside, table in benchmark.read_groups(positions, benchmark.schema.names):
        for position, row in zip(inside.tolist(), table.to_pylist(), strict=True):
            with benchmark.naming(position):
                converted = as_v1(row) if version == "v1" else as_v2(row)
            losses.update(converted.losses)
            if converted.row is not None:
                yield converted.row


def _facts(benchmark: Benchmark, version: SchemaVersion, losses: Counter[str]) -> CardFacts:
    lines = [f"{n:,} rows: {LOSSES[name]} (`{name}`)." for name, n in sorted(losses.items())]
    left_out = {f"migration: {name}": losses[name] for name in ("no_render",) if losses[name]}
    licence = benchmark.licence or "other"
    return CardFacts(
        pretty_name=f"{benchmark.name} in schema {version}",
        summary=f"{benchmark.name} ({benchmark.revision}, schema {benchmark.version}) migrated to "
        f"schema {version} by segmend.",
        license=licence,
        sources=_sources(benchmark, licence),
        accepted_leaks=accepted_leaks(benchmark.source),
        provenance=tuple(lines),
        left_out=left_out,
    )


def _sources(benchmark: Benchmark, licence: str) -> tuple[Source, ...]:
    """Sources of the original: of its plan, where it was built from one.

    Raises:
        ReadFailedError: if it has a plan that cannot be read.
    """
    content = benchmark.source.store.read(PLAN_FILE)
    if content is None:
        return (Source(benchmark.source.url, licence, "See the card of the original."),)
    try:
        return plan_sources(json.loads(content)["sources"])
    except (ValueError, KeyError, TypeError) as error:
        raise ReadFailedError(
            f"cannot read {benchmark.source.url}/{PLAN_FILE}",
            found=f"{type(error).__name__}: {error}",
        ) from error
