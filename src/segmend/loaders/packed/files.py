"""The files of a packed cache.

    pack.json                  what it was made from: written last
    train/train-00000.pack     blocks, row after row
    train/train-00000.index    one JSON line, then one record per row

Blocks lie in the order of the image columns, each view of a geometry and each picture one block; a
column that is null in a row has length 0. Every block has its CRC-32, every index its sha256 in
``pack.json``, and every index the sha256 of the shard that it was made from.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.core.sample import ROW_SCHEMAS, VIEWS, SchemaVersion, image_columns
from segmend.shards.layout import ShardRecord
from segmend.shards.reader import Benchmark
from segmend.store.atomic import atomic_file

if TYPE_CHECKING:  # it needs numba
    from segmend.loaders.packed.blocks import Kind

MANIFEST = "pack.json"
FORMAT = 3
"""Of the files; caches of others are packed again."""

Digests = dict[str, str]
"""sha256 of what is said of rows, by column."""


@dataclass(frozen=True, slots=True)
class Block:
    """What one block of a row holds.

    Attributes:
        column: Image column.
        kind: How it is packed.
        view: Number of the view, of a geometry; 0 otherwise.
    """

    column: str
    kind: Kind
    view: int = 0


def blocks_of(version: SchemaVersion) -> tuple[Block, ...]:
    """The blocks of a row, in order."""
    blocks = []
    for column in image_columns(version):
        field = ROW_SCHEMAS[version][column]
        if field.dtype == "bytes":
            blocks += [Block(column, "view", view) for view in range(len(VIEWS))]
        else:
            blocks.append(Block(column, "sides" if field.role == "label" else "plane"))
    return tuple(blocks)


def record_dtype(blocks: int) -> np.dtype[Any]:
    """One row of an index: where its blocks begin, and length, CRC-32 and mode of each."""
    return np.dtype(
        [
            ("start", "<u8"),
            ("length", "<u4", (blocks,)),
            ("crc32", "<u4", (blocks,)),
            ("mode", "u1", (blocks,)),
        ]
    )


def beginnings(records: NDArray[Any]) -> NDArray[np.int64]:
    """Where in the packed file blocks begin, int64 (rows, blocks + 1), the ends of rows last."""
    begins = np.zeros((len(records), records["length"].shape[1] + 1), np.int64)
    np.cumsum(records["length"], axis=1, out=begins[:, 1:])
    begins += records["start"].astype(np.int64)[:, None]
    return begins


@dataclass(frozen=True, slots=True)
class Index:
    """What the index of one shard says.

    Attributes:
        shard: sha256 of the shard.
        repaired: Whether pictures were corrected before they were packed.
        size: Bytes of the packed file.
        listed: Digests of what the shard says of its rows (`segmend.loaders.packed.listed`).
        records: One record per row (`record_dtype`).
    """

    shard: str
    repaired: bool
    size: int
    listed: Digests
    records: NDArray[Any]


def pack_path(folder: Path, shard: str) -> Path:
    """Blocks of a shard."""
    return (folder / shard).with_suffix(".pack")


def index_path(folder: Path, shard: str) -> Path:
    """Index of a shard."""
    return (folder / shard).with_suffix(".index")


def write_index(path: Path, index: Index) -> None:
    """Write the index of a shard, whole or not at all."""
    facts = {
        "format": FORMAT,
        "shard": index.shard,
        "repaired": index.repaired,
        "size": index.size,
        "listed": index.listed,
        "rows": len(index.records),
    }
    with atomic_file(path) as temporary:
        temporary.write_bytes(json.dumps(facts).encode() + b"\n" + index.records.tobytes())


def read_index(path: Path, blocks: int, *, sha256: str | None = None) -> Index:
    """Read the index of a shard.

    Args:
        path: Its file.
        blocks: Blocks per row.
        sha256: What the file must be, if that is known.

    Raises:
        ReadFailedError: if it is missing or damaged.
    """
    try:
        content = path.read_bytes()
        head, _, body = content.partition(b"\n")
        facts = json.loads(head)
        records = np.frombuffer(body, record_dtype(blocks))
        same_format = (facts["format"], facts["rows"]) == (FORMAT, len(records))
        index = Index(
            shard=str(facts["shard"]),
            repaired=bool(facts["repaired"]),
            size=int(facts["size"]),
            listed=_digests(facts["listed"]),
            records=records,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, str(error)) from error
    ends = records["start"] + records["length"].sum(axis=1, dtype=np.uint64)
    if not same_format or (ends > index.size).any():
        raise damaged(path, "its rows do not fit")
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise damaged(path, f"its sha256 is not the one of {MANIFEST}")
    return index


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``pack.json`` says.

    Attributes:
        benchmark: sha256 of the ``shards.csv`` that it was made from.
        version: Schema of the rows.
        repaired: Whether known faults were corrected before packing.
        indices: sha256 of every index by path of its shard, in order.
        listed: Digests of what is said of the rows of every split.
    """

    benchmark: str
    version: SchemaVersion
    repaired: bool
    indices: dict[str, str]
    listed: dict[str, Digests]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``pack.json``: from then on the cache is used."""
    facts = {
        "format": FORMAT,
        "benchmark_sha256": manifest.benchmark,
        "schema": manifest.version,
        "repaired": manifest.repaired,
        "listed": manifest.listed,
        "indices": manifest.indices,
    }
    with atomic_file(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read_manifest(folder: Path, benchmark: Benchmark) -> Manifest:
    """Read ``pack.json`` and check that the cache is one of this benchmark as it is now.

    Raises:
        BadInputError: if there is no finished cache, or it was made from something else.
        ReadFailedError: if the file is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BadInputError(
            f"{folder} is no finished packed cache",
            found=f"it has no {MANIFEST}" if folder.is_dir() else "there is no such folder",
            fix=f"Run: segmend pack {benchmark.source.url} --out {folder}",
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        written = int(facts["format"])
        manifest = Manifest(
            benchmark=str(facts["benchmark_sha256"]),
            version=facts["schema"],
            repaired=bool(facts["repaired"]),
            indices=_digests(facts["indices"]),
            listed={
                str(split): _digests(found)
                for split, found in (facts["listed"] if written == FORMAT else {}).items()
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, repr(error)) from error
    found = (written, manifest.benchmark, manifest.version, list(manifest.indices))
    paths = [shard.path for shard in benchmark.shards]
    if found != (FORMAT, benchmark.sha256, benchmark.version, paths):
        raise BadInputError(
            f"{folder} was packed from another benchmark, or by another segmend",
            found=f"from {manifest.benchmark[:12]} in format {written}, not "
            f"{benchmark.sha256[:12]} in format {FORMAT}",
            fix=f"Run: segmend pack {benchmark.source.url} --out {folder}",
        )
    return manifest


def _digests(facts: Any) -> Digests:
    return {str(name): str(digest) for name, digest in facts.items()}


def is_current(folder: Path, shard: ShardRecord, blocks: int, *, repaired: bool) -> bool:
    """Whether a shard is packed already, from the very same bytes in the same way."""
    try:
        index = read_index(index_path(folder, shard.path), blocks)
    except ReadFailedError:  # none, a damaged one, or one of another format
        return False
    packed = pack_path(folder, shard.path)
    return (
        (index.shard, index.repaired) == (shard.sha256, repaired)
        and len(index.records) == shard.n_samples
        and packed.is_file()
        and packed.stat().st_size == index.size
    )


def damaged(path: Path, found: str) -> ReadFailedError:
    """The error for a file of a cache that cannot be right."""
    return ReadFailedError(
        f"{path} of a packed cache cannot be read",
        found=found,
        fix="Delete the file and run `segmend pack` again",
    )
