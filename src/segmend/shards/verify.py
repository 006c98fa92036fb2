"""Checking a whole benchmark: every byte, every row, every file that derives from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError, VerificationError
from segmend.core.sample import (
    PLANES,
    SAMPLE_TYPES,
    SCHEMA_VERSION,
    SPLIT_MASK_COLUMNS,
    SPLITS,
    SampleType,
    SchemaVersion,
    draws_pair,
    em_column,
    image_columns,
)
from segmend.shards.arrow import schema_version
from segmend.shards.checks import (
    LABEL_COLUMNS,
    column_problems,
    geometry_problems,
    row_origin,
    slice_problems,
)
from segmend.shards.defects import DEFECTS
from segmend.shards.layout import CARD, DEMO, SHARDS_CSV, ShardRecord, in_order, read_shards_csv
from segmend.shards.repair import defect_names, repair
from segmend.shards.rows import decode_row
from segmend.shards.verify_files import card_problems, extra_shards, sidecar_problems
from segmend.store.atomic import sha256_file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: File, and within a shard row group and row.
        what: What is wrong there.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found.

    Attributes:
        problems: Everything that is wrong, in the order it was found; empty if all is well.
        counts: Readable rows by (sample type, split).
        n_shards: Shards listed.
        n_bytes: Bytes of the shards listed.
        defects: Rows by known defect (`segmend.shards.defects`). Published rows have them and are
            intact all the same; reading repairs what can be repaired.
    """

    problems: tuple[Problem, ...]
    counts: Mapping[tuple[str, str], int]
    n_shards: int
    n_bytes: int
    defects: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def n_rows(self) -> int:
        """Rows that could be read."""
        return sum(self.counts.values())

    def check(self) -> None:
        """Raise the problems as an error.

        Raises:
            VerificationError: if there is a problem, with the first three.
        """
        if self.problems:
            first = "; ".join(str(p) for p in self.problems[:3])
            raise VerificationError(
                f"the benchmark has {len(self.problems)} problems",
                found=first,
                fix="Fetch or build the damaged shards again",
            )


@dataclass(slots=True)
class _Findings:
    """What is gathered on the way through the shards.

    Attributes:
        demo: Rows of the demo file by key that have not been met in a shard.
        version: Version of the schema, once a file has told it.
        ours: Whether a row was made by segmend.
    """

    demo: dict[str, dict[str, Any]]
    version: SchemaVersion | None = None
    problems: list[Problem] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    defects: Counter[str] = field(default_factory=Counter)
    ours: bool = False

    def add(self, where: str, *what: str) -> None:
        self.problems += [Problem(where, sentence) for sentence in what]


def verify(
    folder: str | Path, *, progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Read a whole benchmark and check it against everything it says about itself.

    Checked are: shards listed, present and no others; size, sha256 and page checksums; columns and
    row counts; unique keys, their formula, labels, routing and flags; every geometry and image
    decoded; split against folder; sidecars against shards; demo rows against shards; paths in the
    card. Published rows of others may have their known defects, and their card its own form.

    Args:
        folder: The benchmark.
        progress: Called with shards done and shards in all.

    Returns:
        All problems, not only the first.

    Raises:
        BadInputError: if the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInputError(f"there is no folder {folder}")
    try:
        shards = in_order(read_shards_csv(folder))
    except ReadFailedError as error:
        return Verification((Problem(SHARDS_CSV, str(error)),), {}, 0, 0)
    findings = _Findings(demo={})
    if not shards:
        findings.add(SHARDS_CSV, "lists no shards")
    _read_demo(folder, findings)
    findings.add("the folder", *extra_shards(folder, shards))
    for done, record in enumerate(shards):
        _verify_shard(folder, record, findings)
        if progress is not None:
            progress(done + 1, len(shards))
    for key in findings.demo:
        findings.add(DEMO, f"row {key} occurs in no shard as it is here")
    for split in SPLITS:
        for where, what in sidecar_problems(
            folder, shards, split, findings.version or SCHEMA_VERSION
        ):
            findings.add(where, what)
    if findings.ours or not findings.counts:
        findings.add(CARD, *card_problems(folder, shards))
    size = sum(record.size_bytes for record in shards)
    return Verification(
        tuple(findings.problems),
        dict(findings.counts),
        n_shards=len(shards),
        n_bytes=size,
        defects={name: findings.defects[name] for name in DEFECTS if findings.defects[name]},
    )


def _read_demo(folder: Path, findings: _Findings) -> None:
    try:
        with pq.ParquetFile(folder / DEMO, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        findings.add(DEMO, f"cannot be read: {error}")
        return
    if not _has_columns(table.schema, DEMO, findings):
        return
    findings.demo = {row["combined_sample_hash"]: row for row in table.to_pylist()}


def _has_columns(schema: pa.Schema, where: str, findings: _Findings) -> bool:
    """Whether a file has the columns of the schema that the files before it have."""
    try:
        found = schema_version(schema, where)
    except SchemaError as error:
        findings.add(where, f"has other columns than the schema: {error.found}")
        return False
    findings.version = findings.version or found
    if found != findings.version:
        findings.add(where, f"has other columns than the schema: {found}, not {findings.version}")
    return found == findings.version


def _verify_shard(folder: Path, record: ShardRecord, findings: _Findings) -> None:
    path = folder / record.path
    if not path.is_file():
        findings.add(record.path, "is missing")
        return
    size = path.stat().st_size
    if size != record.size_bytes:
        findings.add(record.path, f"has {size} bytes, {SHARDS_CSV} says {record.size_bytes}")
    try:
        digest = sha256_file(path)
        if digest != record.sha256:
            findings.add(record.path, f"its sha256 is {digest}, {SHARDS_CSV} says {record.sha256}")
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _verify_groups(file, record, findings)
    except (OSError, pa.ArrowException) as error:
        findings.add(record.path, f"cannot be opened: {error}")


def _verify_groups(file: pq.ParquetFile, record: ShardRecord, findings: _Findings) -> None:
    if file.metadata.num_rows != record.n_samples:
        n = file.metadata.num_rows
        findings.add(record.path, f"has {n} rows, {SHARDS_CSV} says {record.n_samples}")
    if not _has_columns(file.schema_arrow, record.path, findings):
        return
    for group in range(file.num_row_groups):
        where = f"{record.path} row group {group}"
        try:
            rows = file.read_row_group(group, use_threads=False).to_pylist()
        # Arrow raises UnicodeDecodeError for text that is none.
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            findings.add(where, f"cannot be read: {error}")
            continue
        for i, row in enumerate(rows):
            _verify_row(row, record, f"{where} row {i}", findings)


def _verify_row(row: dict[str, Any], record: ShardRecord, where: str, findings: _Findings) -> None:
    key = row["combined_sample_hash"]
    if key in findings.places:
        findings.add(where, f"its key {key} is also that of {findings.places[key]}")
    findings.places[key] = where
    findings.counts[row["sample_type"], row["split"]] += 1
    if row["split"] != record.split:
        findings.add(where, f"split is {row['split']!r} in a shard of '{record.split}'")
    if findings.demo.get(key) == row:
        del findings.demo[key]
    version = findings.version or SCHEMA_VERSION
    present = tuple(c for c in image_columns(version) if row[c] is not None)
    decoded, damage = _decoded(row, present, version)
    findings.add(where, *damage)
    kind = SAMPLE_TYPES.get(row["sample_type"])
    try:
        origin = row_origin(row["metadata"])
    except SchemaError:
        origin = "metric"  # reported with the columns
    findings.ours |= origin != "foreign"
    if kind is not None:
        values, met = repair(decoded, origin, kind=kind, version=version)
        findings.defects.update(set(defect_names(met)))
        # Ours must be right as they are, published ones once they are repaired.
        decoded = values if origin == "foreign" else decoded
        findings.add(where, *_pixel_problems(decoded, kind, version))
    findings.add(where, *column_problems(row | decoded, present, version))


def _decoded(
    row: Mapping[str, Any], present: tuple[str, ...], version: SchemaVersion
) -> tuple[dict[str, Any], list[str]]:
    """What of a row can be decoded, and why the rest cannot."""
    # Labels of v1 are for every task, as its card says.
    labels = LABEL_COLUMNS if version == "v2" else ()
    decoded: dict[str, Any] = {column: row[column] for column in (*labels, "metadata")}
    damage = []
    for column in present:
        try:
            decoded |= decode_row(row, [column])
        except (ReadFailedError, SchemaError) as error:
            damage.append(str(error))
    return decoded, damage


def _pixel_problems(
    decoded: Mapping[str, Any], kind: SampleType, version: SchemaVersion
) -> list[str]:
    """Problems of the pictures that could be decoded; the others are reported already."""
    slices = {em_column(plane, version) for plane in PLANES}
    problems = [
        problem
        for column in ("geometry", "geometry_single")
        if column in decoded
        for problem in geometry_problems(decoded[column], dual=draws_pair(column, kind, version))
    ]
    em = {c: image for c, image in decoded.items() if c in slices}
    masks = {c: mask for c, mask in decoded.items() if c in SPLIT_MASK_COLUMNS}
    return problems + slice_problems(kind, em=em, split_masks=masks)
