"""Pictures of rows from a packed cache."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, ReadFailedError, require
from segmend.loaders.packed.files import (
    Block,
    Index,
    blocks_of,
    damaged,
    index_path,
    pack_path,
    read_index,
    read_manifest,
)
from segmend.shards.reader import Benchmark

_OPEN_FILES = 64


class _File:
    """A shard's packed file; closed when the last thread that reads it lets go."""

    def __init__(self, number: int, index: Index) -> None:
        self.number = number
        self.index = index

    def __del__(self) -> None:
        os.close(self.number)


class PackedRows:
    """A packed cache, opened for reading; rows by their position in the benchmark.

    Every block is checked against its CRC-32 before it is unpacked. Instances can be pickled to
    other processes and used from several threads.

    Args:
        folder: Of the cache.
        benchmark: What it was made from.
        repaired: How it must have been made.

    Raises:
        BadInputError: if there is no finished cache, it was made from something else, or packed
            with the other choice of ``repaired``.
        ReadFailedError: if ``pack.json`` is damaged.
        MissingDependencyError: without numba.
    """

    def __init__(self, folder: str | Path, benchmark: Benchmark, *, repaired: bool = True) -> None:
        require("numba", extra="packed")
        self.folder = Path(folder).absolute()
        manifest = read_manifest(self.folder, benchmark)
        if manifest.repaired != repaired:
            raise BadInputError(
                f"{self.folder} was packed with repaired={manifest.repaired}",
                fix="Pack again, or ask for the rows as they were packed",
            )
        self._blocks = blocks_of(benchmark.version)
        self._indices = manifest.indices
        self._shards = tuple(manifest.indices)
        counts = [shard.n_samples for shard in benchmark.shards]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._lock = threading.Lock()
        self._open: OrderedDict[int, _File] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        # Files stay behind: every process opens its own.
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_open")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._open = threading.Lock(), OrderedDict()

    def blocks(self, column: str, views: Sequence[int] = (0,)) -> list[int]:
        """Numbers of the blocks that hold a column, or some views of it."""
        return [self._blocks.index(self._block(column, view)) for view in views]

    def _block(self, column: str, view: int) -> Block:
        (found,) = (b for b in self._blocks if (b.column, b.view) == (column, view))
        return found

    def read(self, position: int, blocks: Sequence[int], outs: Sequence[NDArray[Any]]) -> None:
        """Unpack blocks of a row.

        Args:
            position: Of the row in the benchmark.
            blocks: Which blocks, in rising order.
            outs: One flat array for each (`segmend.loaders.packed.blocks.SHAPES`).

        Raises:
            ReadFailedError: if the row lacks a picture, or bytes are damaged.
        """
        from segmend.loaders.packed.blocks import unpack_block

        shard = int(np.searchsorted(self._starts, position, side="right")) - 1
        file = self._opened(shard)
        record = file.index.records[position - self._starts[shard]]
        begins = [0, *np.cumsum(record["length"]).tolist()]
        first, last = begins[blocks[0]], begins[blocks[-1] + 1]
        content = memoryview(os.pread(file.number, last - first, int(record["start"]) + first))
        where = f"row {position - self._starts[shard]} of {self._shards[shard]}"
        for number, out in zip(blocks, outs, strict=True):
            block = content[begins[number] - first : begins[number + 1] - first]
            named = f"{where}: {self._blocks[number].column}"
            if not block:
                raise damaged(pack_path(self.folder, self._shards[shard]), f"{named} is missing")
            if isal_zlib.crc32(block) != record["crc32"][number]:
                raise damaged(
                    pack_path(self.folder, self._shards[shard]), f"{named}: its CRC-32 is wrong"
                )
            try:
                unpack_block(self._blocks[number].kind, int(record["mode"][number]), block, out)
            except ReadFailedError as error:
                error.asked = f"{named}: {error.asked}"
                raise

    def _opened(self, shard: int) -> _File:
        """File of a shard for all threads: `os.pread` needs no place of its own in it."""
        with self._lock:
            if shard not in self._open:
                self._open[shard] = self._open_shard(self._shards[shard])
                while len(self._open) > _OPEN_FILES:
                    self._open.popitem(last=False)
            self._open.move_to_end(shard)
            return self._open[shard]

    def _open_shard(self, shard: str) -> _File:
        path = pack_path(self.folder, shard)
        index = read_index(
            index_path(self.folder, shard), len(self._blocks), sha256=self._indices[shard]
        )
        try:
            file = _File(os.open(path, os.O_RDONLY), index)
        except OSError as error:
            raise damaged(path, str(error)) from error
        size = os.fstat(file.number).st_size
        if size != index.size:
            raise damaged(path, f"{size} bytes, not {index.size}")
        return file
