"""Where everything lies in a benchmark folder.

    README.md  shards.csv  demo.parquet  croissant.json  CITATION.cff  LICENSES.md
    figures/channel_decomposition.png    audit.json (once it is audited)
    train/train-00000.parquet ...   val/ ...   test/ ...
    metadata/train.parquet  metadata/val.parquet  metadata/test.parquet

Names follow the card of ConnectomeBench2 v2.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import get_args

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.core.sample import SPLIT_FOLDERS, SPLITS, Split
from segmend.store.atomic import atomic_file

SHARDS_CSV = "shards.csv"
CARD = "README.md"
DEMO = "demo.parquet"
AUDIT_FILE = "audit.json"
PLAN_FILE = "plan.json"
"""What a build was to make: in the folder before anything else, and beside the benchmark after."""

_SHARD_PATH = re.compile(r"(?P<folder>[a-z]+)/(?P=folder)-(?P<id>\d{5,})\.parquet")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One committed shard: a line of ``shards.csv``.

    Attributes:
        path: Path below the benchmark folder, with forward slashes.
        split: ``train``, ``validation`` or ``test``.
        shard_id: Number within the split.
        n_samples: Rows.
        size_bytes: Size of the file.
        sha256: Digest of the file, 64 hex digits.
    """

    path: str
    split: Split
    shard_id: int
    n_samples: int
    size_bytes: int
    sha256: str


_COLUMNS = tuple(f.name for f in fields(ShardRecord))


def shard_path(split: Split, shard_id: int) -> str:
    """Path of a shard below the benchmark folder: ``train/train-00000.parquet``."""
    if split not in SPLITS or shard_id < 0:
        raise BadInputError(f"there is no shard {shard_id} of split '{split}'")
    folder = SPLIT_FOLDERS[split]
    return f"{folder}/{folder}-{shard_id:05d}.parquet"


def shard_of(path: str | Path) -> tuple[Split, int]:
    """Split and number of a shard, from the last two parts of its path.

    Raises:
        BadInputError: if the path is not one that `shard_path` makes.
    """
    name = "/".join(Path(path).parts[-2:])
    match = _SHARD_PATH.fullmatch(name)
    for split in get_args(Split):
        if match and match["folder"] == SPLIT_FOLDERS[split]:
            shard_id = int(match["id"])
            if shard_path(split, shard_id) == name:
                return split, shard_id
    raise BadInputError(
        f"'{name}' is not the path of a shard", fix=f"Shards are named {shard_path('train', 0)}"
    )


def sidecar_path(split: str) -> str:
    """Path of a split's sidecar below the benchmark folder."""
    return f"metadata/{SPLIT_FOLDERS[split]}.parquet"


def write_shards_csv(folder: Path, records: Iterable[ShardRecord]) -> None:
    """Write ``shards.csv``, ordered by split and number."""
    with (
        atomic_file(folder / SHARDS_CSV) as path,
        path.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(astuple(record) for record in in_order(records))


def in_order(records: Iterable[ShardRecord]) -> list[ShardRecord]:
    """Records by split (train, validation, test) and number."""
    return sorted(records, key=lambda r: (SPLITS.index(r.split), r.shard_id))


def read_shards_csv(folder: Path) -> tuple[ShardRecord, ...]:
    """Read ``shards.csv`` of a folder.

    Raises:
        ReadFailedError: as `parse_shards_csv`, or if it is missing.
    """
    path = folder / SHARDS_CSV
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    return parse_shards_csv(content, str(path))


def parse_shards_csv(content: bytes, where: str) -> tuple[ShardRecord, ...]:
    """The lines of a ``shards.csv``.

    Args:
        content: The file. Columns are found by name: ``path``, ``n_samples``, ``sha256``, and
            ``size_bytes`` or, as the cards call it, ``size``; what follows from the path may be
            left out.
        where: Its path, for messages.

    Raises:
        ReadFailedError: if a line cannot be right, naming the line.
    """
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ReadFailedError(f"cannot read {where}", found=str(error)) from error
    names = ["size_bytes" if name == "size" else name for name in rows[0]] if rows else []
    if set(names) - set(_COLUMNS) or set(_NEEDED) - set(names) or len(set(names)) < len(names):
        raise ReadFailedError(
            f"{where} has other columns", found=str(rows[:1]), fix=f"Expected {', '.join(_COLUMNS)}"
        )
    records = tuple(_record(names, row, f"{where} line {i}") for i, row in enumerate(rows[1:], 2))
    if len({r.path for r in records}) != len(records):
        raise ReadFailedError(f"{where} lists a shard twice")
    return records


_NEEDED = ("path", "n_samples", "size_bytes", "sha256")


def check_present(folder: Path, shard: ShardRecord) -> None:
    """Check that a folder holds a shard of the size that ``shards.csv`` says.

    Raises:
        ReadFailedError: if not.
    """
    path = folder / shard.path
    size = path.stat().st_size if path.is_file() else None
    if size != shard.size_bytes:
        raise ReadFailedError(
            f"{path} is not the shard that {SHARDS_CSV} lists",
            found="it is missing" if size is None else f"{size} bytes, not {shard.size_bytes}",
            fix="Fetch or build the shard again",
        )


def _record(names: list[str], row: list[str], where: str) -> ShardRecord:
    try:
        said = dict(zip(names, row, strict=True))
        split, shard_id = shard_of(said["path"])
        numbers = int(said["n_samples"]), int(said["size_bytes"])
        same_id = int(said.get("shard_id", shard_id)) == shard_id
    except (ValueError, BadInputError) as error:
        raise ReadFailedError(f"{where} cannot be right", found=str(error)) from error
    # The path is rebuilt rather than trusted: it must not lead out of the folder.
    record = ShardRecord(shard_path(split, shard_id), split, shard_id, *numbers, said["sha256"])
    same_split = said.get("split", split) in (split, SPLIT_FOLDERS[split])
    right = record.path == said["path"] and record.n_samples >= 1 and same_id and same_split
    if not right or not _SHA256.fullmatch(record.sha256):
        raise ReadFailedError(f"{where} cannot be right", found=",".join(row))
    return record
