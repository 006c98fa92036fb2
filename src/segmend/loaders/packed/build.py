"""Packing a benchmark: shard by shard, each verified before it counts, resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from segmend.core.errors import OutputError, VerificationError, require
from segmend.core.sample import image_columns
from segmend.loaders.packed.files import (
    MANIFEST,
    Block,
    Digests,
    Index,
    Manifest,
    blocks_of,
    index_path,
    is_current,
    pack_path,
    record_dtype,
    write_index,
    write_manifest,
)
from segmend.loaders.packed.listed import check_shard, check_split, digests, listed_columns
from segmend.loaders.processes import check_workers, in_processes
from segmend.shards.reader import Benchmark
from segmend.store.atomic import atomic_file, output_errors

Report = Callable[[int, int], None]
"""Called with (shards done, shards in all)."""


@dataclass(frozen=True, slots=True)
class Packing:
    """What was done.

    Attributes:
        rows: Rows in the cache.
        size: Its bytes.
        source_size: Bytes of the shards it was made from.
        shards: Shards in all.
        reused: Shards that were packed already.
    """

    rows: int
    size: int
    source_size: int
    shards: int
    reused: int


def pack(
    benchmark: Benchmark,
    out: str | Path,
    *,
    repaired: bool = True,
    workers: int = 1,
    report: Report = lambda _done, _all: None,
) -> Packing:
    """Write a packed cache of a benchmark, or bring one up to date.

    Every block is unpacked again and compared before its shard counts. ``pack.json`` is removed
    first and written last, so a cache is used only whole; shards that were finished before a kill
    are kept.

    Args:
        benchmark: What to pack.
        out: Folder of the cache; made if need be.
        repaired: Whether to correct what published rows are known to get wrong, once and for all.
        workers: Processes.
        report: Told about progress.

    Raises:
        OutputError: if the folder holds something else, or cannot be written.
        ReadFailedError: if the benchmark is damaged.
        VerificationError: if a block does not come back bit for bit, or a sidecar disagrees.
        MissingDependencyError: without numba.
    """
    require("numba", extra="packed")
    check_workers(workers)
    folder = Path(out).absolute()
    _check_place(folder)
    count = len(blocks_of(benchmark.version))
    with output_errors(folder):
        (folder / MANIFEST).unlink(missing_ok=True)
        for split in {Path(shard.path).parent for shard in benchmark.shards}:
            (folder / split).mkdir(parents=True, exist_ok=True)
        _remove_others(benchmark, folder)
    to_do = [
        number
        for number, shard in enumerate(benchmark.shards)
        if not is_current(folder, shard, count, repaired=repaired)
    ]
    done = len(benchmark.shards) - len(to_do)
    report(done, len(benchmark.shards))
    for finished, _ in enumerate(
        in_processes(partial(_pack_shard, benchmark, folder, repaired), to_do, workers), done + 1
    ):
        report(finished, len(benchmark.shards))
    paths = [shard.path for shard in benchmark.shards]
    indices = {
        path: hashlib.sha256(index_path(folder, path).read_bytes()).hexdigest() for path in paths
    }
    listed = {split: _listed(benchmark, folder, split, indices) for split in benchmark.splits}
    write_manifest(folder, Manifest(benchmark.sha256, benchmark.version, repaired, indices, listed))
    files = [place(folder, path) for path in paths for place in (pack_path, index_path)]
    return Packing(
        rows=len(benchmark),
        size=sum(file.stat().st_size for file in files),
        source_size=sum(shard.size_bytes for shard in benchmark.shards),
        shards=len(paths),
        reused=done,
    )


def _pack_shard(benchmark: Benchmark, folder: Path, repaired: bool, number: int) -> None:
    shard = benchmark.shards[number]
    start = sum(other.n_samples for other in benchmark.shards[:number])
    blocks = blocks_of(benchmark.version)
    columns = image_columns(benchmark.version)
    records = np.zeros(shard.n_samples, record_dtype(len(blocks)))
    size = 0
    listed = check_shard(benchmark, number)
    with ExitStack() as stack:
        stack.enter_context(output_errors(pack_path(folder, shard.path)))
        temporary = stack.enter_context(atomic_file(pack_path(folder, shard.path)))
        file = stack.enter_context(temporary.open("wb"))
        rows = benchmark.rows(range(start, start + shard.n_samples), columns, repair=repaired)
        for record, row in zip(records, rows, strict=True):
            packed = _packed(blocks, row.values, f"row {row.position} of {benchmark.source.url}")
            record["start"] = size
            for i, (mode, block) in enumerate(packed):
                record["length"][i], record["mode"][i] = len(block), mode
                record["crc32"][i] = isal_zlib.crc32(block)
                file.write(block)
                size += len(block)
    index = Index(shard.sha256, repaired, size, listed, records)
    write_index(index_path(folder, shard.path), index)


def _listed(benchmark: Benchmark, folder: Path, split: str, indices: Mapping[str, str]) -> Digests:
    """Digests of what a sidecar says, which is what its shards said when they were packed."""
    said = benchmark.sidecar(split, columns=listed_columns(benchmark.version))
    check_split(benchmark, folder, split, said, indices=indices)
    return digests(said, benchmark.version)


def _packed(
    blocks: tuple[Block, ...], row: Mapping[str, Any], where: str
) -> Iterator[tuple[int, bytes]]:
    from segmend.loaders.packed.blocks import SHAPES, pack_block, unpack_block

    for block in blocks:
        value = row[block.column]
        if value is None:
            yield 0, b""
            continue
        picture = _flat(block, value)
        mode, packed = pack_block(block.kind, picture)
        shape, dtype = SHAPES[block.kind]
        again = np.empty(shape, dtype)
        unpack_block(block.kind, mode, np.frombuffer(packed, np.uint8), again)
        if again.tobytes() != picture.tobytes():
            raise VerificationError(
                f"{where}: {block.column} does not come back from its packed form bit for bit",
                fix="Please report this: it is a bug",
            )
        yield mode, packed


def _flat(block: Block, value: NDArray[Any]) -> NDArray[Any]:
    """A decoded picture as `segmend.loaders.packed.blocks.SHAPES` wants it."""
    if block.kind == "view":
        view = np.ascontiguousarray(value[block.view])
        return view.view(np.uint16).reshape(len(view), -1)
    if block.kind == "plane":
        return np.ascontiguousarray(np.moveaxis(value, -1, 0)).reshape(value.shape[-1], -1)
    return value.reshape(-1)


def _check_place(folder: Path) -> None:
    """A folder that holds other things than a cache is not ours to write to."""
    if not folder.exists():
        return
    strangers = (
        [p for p in folder.rglob("*") if p.is_file() and not _ours(p)]
        if folder.is_dir()
        else [folder]
    )
    if strangers:
        raise OutputError(
            f"cannot write a packed cache to {folder}",
            found=f"it holds {strangers[0].name}",
            fix="Name a new folder, or that of an older packed cache",
        )


def _ours(path: Path) -> bool:
    return path.name == MANIFEST or path.suffix in (".pack", ".index", ".tmp")


def _remove_others(benchmark: Benchmark, folder: Path) -> None:
    """Remove what earlier builds left: files of other shards, and half-written ones."""
    kept = {
        place(folder, shard.path) for shard in benchmark.shards for place in (pack_path, index_path)
    }
    for path in folder.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
