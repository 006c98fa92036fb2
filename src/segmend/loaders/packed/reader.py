"""Pictures of rows from a packed cache, unpacked where they are wanted."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from isal import isal_zlib
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.loaders.packed.blocks import DENSE, unpack_block
from segmend.loaders.packed.files import (
    MANIFEST,
    Index,
    beginnings,
    blocks_of,
    damaged,
    index_path,
    pack_path,
    read_index,
    read_manifest,
)
from segmend.loaders.packed.kernels import unpack_row
from segmend.loaders.packed.listed import check_split, digests
from segmend.shards.reader import Benchmark

_OPEN_FILES = 64


@dataclass(frozen=True)
class Wanted:
    """Pictures of a row that are read at once, by the numbers of their blocks.

    Attributes:
        views: Geometry views.
        planes: EM slices.
        sides: Split masks.
        unite: Whether masks A and B are both put into A.
    """

    views: tuple[int, ...] = ()
    planes: tuple[int, ...] = ()
    sides: tuple[int, ...] = ()
    unite: bool = False

    @cached_property
    def blocks(self) -> NDArray[np.int64]:
        """All of them: views, planes, split masks."""
        return np.array((*self.views, *self.planes, *self.sides), np.int64)

    @cached_property
    def span(self) -> tuple[int, int]:
        """First block that is read, and the one after the last; what lies between is read too."""
        return int(self.blocks.min()), int(self.blocks.max()) + 1


@dataclass(frozen=True, slots=True)
class Pictures:
    """Where the pictures of one row are unpacked to.

    Attributes:
        geometry: Bits of halves, uint16 (views, channels, pixels).
        em: uint8 (planes, channels, pixels).
        sides: uint8 (views, pixels).
    """

    geometry: NDArray[np.uint16]
    em: NDArray[np.uint8]
    sides: NDArray[np.uint8]

    def __getitem__(self, number: int) -> NDArray[Any]:
        """One of them, counted as in `Wanted.blocks`."""
        for part in (self.geometry, self.em, self.sides):
            if number < len(part):
                return part[number]
            number -= len(part)
        raise IndexError(number)


@dataclass(frozen=True, slots=True)
class _Spans:
    """Where pictures of the rows of a shard lie.

    Attributes:
        ranges: Begin and end of what is read of the file, int64 (rows, 2).
        pictures: Begin and end of each picture in that, int64 (rows, pictures, 2).
        crc32: uint32 (rows, pictures).
        dense: Whether pictures are packed whole, bool (rows, pictures).
    """

    ranges: NDArray[np.int64]
    pictures: NDArray[np.int64]
    crc32: NDArray[np.uint32]
    dense: NDArray[np.bool_]


class _File:
    """A shard's packed file; closed when the last thread that reads it lets go."""

    def __init__(self, number: int, index: Index) -> None:
        self.number = number
        self._records = index.records
        self._begins = beginnings(index.records)
        self._known: dict[Wanted, _Spans] = {}

    def spans(self, wanted: Wanted) -> _Spans:
        """Where some pictures of all rows lie; worked out once, for rows come in any order."""
        found = self._known.get(wanted)
        if found is None:
            blocks, (first, last) = wanted.blocks, wanted.span
            spans = np.stack([self._begins[:, blocks], self._begins[:, blocks + 1]], axis=2)
            ranges = self._begins[:, [first, last]]
            dense = self._records["mode"][:, blocks] == DENSE
            found = self._known[wanted] = _Spans(
                ranges, spans - ranges[:, :1, None], self._records["crc32"][:, blocks], dense
            )
        return found

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.number)  # bound early: at the end of the interpreter `os` may be gone


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
    """

    def __init__(self, folder: str | Path, benchmark: Benchmark, *, repaired: bool = True) -> None:
        self.folder = Path(folder).absolute()
        manifest = read_manifest(self.folder, benchmark)
        if manifest.repaired != repaired:
            raise BadInputError(
                f"{self.folder} was packed with repaired={manifest.repaired}",
                fix="Pack again, or ask for the rows as they were packed",
            )
        self._blocks = blocks_of(benchmark.version)
        self._indices = manifest.indices
        self._listed = manifest.listed
        self._shards = tuple(manifest.indices)
        counts = [shard.n_samples for shard in benchmark.shards]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._open_nothing()

    def _open_nothing(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[int, _File] = OrderedDict()
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        # Files stay behind: every process opens its own.
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_open", "_local")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open_nothing()

    def check(self, benchmark: Benchmark, listed: pa.Table) -> None:
        """Check that a sidecar still says of its rows what it said when they were packed.

        Args:
            benchmark: Where it is.
            listed: All rows of the sidecar of one split, with ``position``.

        Raises:
            VerificationError: if not, naming the shard, and if that was left alone the row.
        """
        if not len(listed):
            return
        first = int(np.searchsorted(self._starts, listed["position"][0].as_py(), side="right")) - 1
        split, known = benchmark.shards[first].split, self._listed
        said = digests(listed, benchmark.version)
        if said.items() <= known.get(split, {}).items():
            return
        check_split(benchmark, self.folder, split, listed, indices=self._indices)
        raise damaged(self.folder / MANIFEST, f"its digests of split {split} are others")

    def blocks(self, column: str, views: Iterable[int] = (0,)) -> tuple[int, ...]:
        """Numbers of the blocks that hold a column, or some views of it."""
        wanted = [(column, view) for view in views]
        return tuple(
            number
            for one in wanted
            for number, block in enumerate(self._blocks)
            if (block.column, block.view) == one
        )

    def read(self, position: int, wanted: Wanted, out: Pictures) -> None:
        """Unpack pictures of a row.

        Args:
            position: Of the row in the benchmark.
            wanted: Which pictures.
            out: Where to; undefined if this raises.

        Raises:
            ReadFailedError: if the row lacks a picture, or bytes are damaged.
        """
        shard = int(np.searchsorted(self._starts, position, side="right")) - 1
        file, row = self._opened(shard), position - int(self._starts[shard])
        places = file.spans(wanted)
        content = self._content(shard, file, *places.ranges[row].tolist())
        spans, view = places.pictures[row], content.data
        checksums = places.crc32[row].tolist()
        for number, (begin, end) in enumerate(spans.tolist()):
            if begin == end:
                raise self._fault(shard, row, wanted, number, "it is missing")
            if isal_zlib.crc32(view[begin:end]) != checksums[number]:
                raise self._fault(shard, row, wanted, number, "its CRC-32 is wrong")
        if places.dense[row].any():
            spans = self._unpack_dense(np.flatnonzero(places.dense[row]), wanted, spans, view, out)
        failed = unpack_row(content, spans, wanted.unite, out.geometry, out.em, out.sides)
        if failed >= 0:
            raise self._fault(shard, row, wanted, failed, "its parts do not fit")

    def _unpack_dense(
        self,
        numbers: NDArray[np.int64],
        wanted: Wanted,
        spans: NDArray[np.int64],
        content: memoryview,
        out: Pictures,
    ) -> NDArray[np.int64]:
        """Unpack pictures that are packed whole; the spans of the others, as the kernel takes."""
        left = spans.copy()
        for number in numbers.tolist():
            begin, end = spans[number]
            kind, left[number] = self._blocks[wanted.blocks[number]].kind, -1
            block = np.frombuffer(content[begin:end], np.uint8)
            unpack_block(kind, DENSE, block, out[number], unite=wanted.unite)
        return left

    def _content(self, shard: int, file: _File, begin: int, end: int) -> NDArray[np.uint8]:
        """Bytes of a file, in a buffer of this thread: fresh memory takes longer than reading."""
        kept: NDArray[np.uint8] | None = getattr(self._local, "kept", None)
        if kept is None or kept.size < end - begin:
            kept = self._local.kept = np.empty(2 * (end - begin), np.uint8)
        content = kept[: end - begin]
        done = 0
        while done < content.size:
            got = os.preadv(file.number, [content.data[done:]], begin + done)
            if not got:
                path = pack_path(self.folder, self._shards[shard])
                raise damaged(path, f"it ends at byte {begin + done}")
            done += got
        return content

    def _fault(
        self, shard: int, row: int, wanted: Wanted, number: int, found: str
    ) -> ReadFailedError:
        path, column = self._shards[shard], self._blocks[wanted.blocks[number]].column
        return damaged(pack_path(self.folder, path), f"row {row} of {path}: {column}: {found}")

    def _opened(self, shard: int) -> _File:
        """File of a shard for all threads: `os.preadv` needs no place of its own in it."""
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
