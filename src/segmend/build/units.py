"""The unit of work: one shard, made wholly by one worker."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segmend.build.commits import (
    RowFailure,
    ShardOutcome,
    commit_path,
    read_commit,
    write_commit,
)
from segmend.build.drawing import drawn_in_place
from segmend.build.lease import lease
from segmend.core.errors import RenderError
from segmend.core.sample import SCHEMA_VERSION, SchemaVersion, Split
from segmend.render.site import Layers, ViewStyle, render_candidate
from segmend.samples.candidate import Candidate
from segmend.samples.metadata import candidate_metadata
from segmend.shards.layout import shard_path
from segmend.shards.rows import Row, RowIdentity, make_row
from segmend.shards.versions import as_v1
from segmend.shards.writer import write_shard


@dataclass(frozen=True, slots=True)
class ShardUnit:
    """Everything a worker needs to make one shard.

    Attributes:
        split: Its split.
        shard_id: Its number within the split.
        candidates: Its rows, in order.
        layers: Volumes to draw from, by volume name.
        style: How to draw.
        row_group: Rows per Parquet row group.
        version: Version of the schema.
    """

    split: Split
    shard_id: int
    candidates: tuple[Candidate, ...]
    layers: Mapping[str, Layers]
    style: ViewStyle
    row_group: int
    version: SchemaVersion


def make_shard(unit: ShardUnit, folder: Path) -> ShardOutcome | None:
    """Draw every row of a shard, publish it, and record that it is done.

    The shard is written beside its place, read back, verified and renamed; the commit record comes
    last. A kill at any moment costs this shard and no other.

    Args:
        unit: The shard.
        folder: Root of the benchmark.

    Returns:
        Its commit record, with the rows that failed and the reason why; None if somebody else is
        making it just now.

    Raises:
        OutputError: if the place cannot be written.
        SegmendError: whatever reading the volumes raises; a site that cannot be drawn is a failed
            row, not an error.
    """
    with lease(lease_path(folder, unit.split, unit.shard_id)) as free:
        if not free:
            return None
        # Another build in this folder may have finished it while this piece of work waited.
        done = read_commit(folder, unit.split, unit.shard_id)
        if done is not None:
            return done
        outcome = drawn_shard(unit, folder)
        write_commit(folder, outcome)
        return outcome


def lease_path(folder: Path, split: str, shard_id: int) -> Path:
    """Where the lease of a shard lies while somebody makes it."""
    return commit_path(folder, split, shard_id).parents[1] / "leases" / f"{split}-{shard_id:05d}"


def drawn_shard(unit: ShardUnit, folder: Path) -> ShardOutcome:
    """Draw every row of a shard and write it below a folder, without recording it."""
    failures: dict[str, RowFailure] = {}

    def draw(candidate: Candidate) -> Row | None:
        try:
            return draw_row(candidate, unit)
        except RenderError as error:
            key = candidate.combined_hash
            failures[key] = RowFailure(key, candidate.kind, error.reason, str(error))
            return None

    rows = drawn_in_place(unit.candidates, draw, folder)
    first = next(rows, None)
    record = None
    if first is not None:
        path = folder / shard_path(unit.split, unit.shard_id)
        everything = itertools.chain([first], rows)
        record = write_shard(path, everything, row_group=unit.row_group, version=unit.version)
    keys = [candidate.combined_hash for candidate in unit.candidates]
    failed = tuple(failures[key] for key in keys if key in failures)
    return ShardOutcome(unit.split, unit.shard_id, len(keys), record, failed)


def draw_row(candidate: Candidate, unit: ShardUnit) -> Row:
    """One row of a shard.

    Raises:
        RenderError: if it cannot be drawn; its reason is the ledger's.
    """
    views = render_candidate(candidate, unit.layers[candidate.volume], unit.style)
    identity = RowIdentity(
        archive=candidate.archive,
        sample_hash=candidate.sample_hash,
        kind=candidate.kind,
        split=unit.split,
        species=candidate.species,
    )
    metadata = candidate_metadata(candidate) | views.facts | {"schema_version": SCHEMA_VERSION}
    row = make_row(
        identity,
        geometry=views.geometry,
        em=views.em,
        split_masks=views.split_masks,
        metadata=metadata,
    )
    if unit.version == SCHEMA_VERSION:
        return row
    older = as_v1(row).row
    assert older is not None  # any row of v2 can be one of v1
    return older


def deal(
    candidates: Mapping[Split, list[Candidate]], template: ShardUnit, rows: int
) -> list[ShardUnit]:
    """Cut the rows of each split into shards of at most ``rows``, keeping their order."""
    return [
        dataclasses.replace(
            template, split=split, shard_id=i, candidates=tuple(chosen[start : start + rows])
        )
        for split, chosen in candidates.items()
        for i, start in enumerate(range(0, len(chosen), rows))
    ]
