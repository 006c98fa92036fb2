"""Reading a box from stored chunks: which ones, their bytes, decoded straight into place.

Every format that keeps a volume as a regular grid of encoded chunks (precomputed, zarr, N5) is a
`ChunkLayout`: where each chunk's bytes lie, and how they decode. This engine does the rest.

Small boxes, as training patches are, share chunks: those of which a box takes a part are kept
decoded (`segmend.volumes.recent`). A chunk that is kept is not read again, as long as it is the
chunk that was read: a local file must have the stamp that it had then (`Store.stamp`), and what
lies elsewhere counts as unchanging while the volume is open. A volume that is opened again starts
with nothing kept, unless its layout can tell that the file is the same. Certified absent chunks
are looked for each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple, VoxelBox
from segmend.core.errors import ReadFailedError
from segmend.core.grid import VoxelGrid
from segmend.store.files import FileStore
from segmend.store.store import Request, Store
from segmend.volumes.recent import recent_chunks
from segmend.volumes.workers import run, run_each

Slices = tuple[slice, slice, slice]

SHARED_BYTES = 2**19
"""Decoded bytes from which on other threads help: below, waking them costs more."""

AHEAD = 16
"""Chunks of files that the system is told about at a time, before they are read."""

FEW_CHUNKS = 64
"""Chunks up to which a box counts as small: those it takes a part of may be kept decoded."""


@dataclass(frozen=True, slots=True)
class Span:
    """One chunk along one axis.

    Attributes:
        index: Place in the chunk grid.
        start: First voxel it holds.
        stop: First voxel outside, clipped to the volume.
        low: First voxel that the box wants.
        high: First voxel that it does not want any more.
    """

    index: int
    start: int
    stop: int
    low: int
    high: int

    @property
    def whole(self) -> bool:
        """Whether the box wants all of it."""
        return self.low == self.start and self.high == self.stop


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk that a box touches.

    Attributes:
        spans: The chunk along ``(z, y, x)``.
        few: Whether the box touches few chunks, as training patches do.
    """

    spans: tuple[Span, Span, Span]
    few: bool = True

    @property
    def keep(self) -> bool:
        """Whether the next box may well want the rest: a small box that takes a part of it."""
        if not self.few:
            return False
        a, b, c = self.spans
        return not (a.whole and b.whole and c.whole)

    @property
    def whole(self) -> Chunk:
        """The same chunk, all of it wanted."""
        a, b, c = (Span(s.index, s.start, s.stop, s.start, s.stop) for s in self.spans)
        return Chunk((a, b, c), self.few)

    @property
    def index(self) -> Triple:
        """Place in the chunk grid, ``(z, y, x)``."""
        a, b, c = self.spans
        return (a.index, b.index, c.index)

    @property
    def shape(self) -> Triple:
        """Voxels it holds, clipped to the volume."""
        a, b, c = self.spans
        return (a.stop - a.start, b.stop - b.start, c.stop - c.start)

    @property
    def box(self) -> VoxelBox:
        """The voxels it holds, clipped to the volume."""
        a, b, c = self.spans
        return VoxelBox((a.start, b.start, c.start), (a.stop, b.stop, c.stop))

    @property
    def wanted(self) -> VoxelBox:
        """Those of them that the box wants."""
        a, b, c = self.spans
        return VoxelBox((a.low, b.low, c.low), (a.high, b.high, c.high))

    @property
    def source(self) -> Slices:
        """The wanted voxels within the chunk."""
        a, b, c = self.spans
        return (
            slice(a.low - a.start, a.high - a.start),
            slice(b.low - b.start, b.high - b.start),
            slice(c.low - c.start, c.high - c.start),
        )

    def target(self, origin: Triple) -> Slices:
        """The wanted voxels within an array whose first voxel is ``origin``."""
        (a, b, c), (z, y, x) = self.spans, origin
        return (
            slice(a.low - z, a.high - z),
            slice(b.low - y, b.high - y),
            slice(c.low - x, c.high - x),
        )


class ChunkLayout(Protocol):
    """How one scale of a volume is cut into chunks and stored."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored dtype."""
        ...

    @property
    def grid(self) -> VoxelGrid:
        """Where the voxels lie."""
        ...

    @property
    def chunk_shape(self) -> Triple:
        """Voxels per chunk, ``(z, y, x)``; the first chunk starts at voxel (0, 0, 0)."""
        ...

    @property
    def name(self) -> str:
        """Place of the scale within the store, for messages."""
        ...

    def locate(self, store: Store, chunks: Sequence[Chunk]) -> Sequence[Request | None]:
        """Where the bytes of chunks lie; None for one that an index says is not stored.

        Raises:
            ReadFailedError: if an index cannot be read.
        """
        ...

    def decode(self, data: bytes, chunk: Chunk, out: NDArray[Any]) -> None:
        """Decode a chunk and put its wanted voxels into ``out`` ``(z, y, x)``. Thread-safe.

        Raises:
            ReadFailedError: with reason ``corrupt``, if the bytes are not such a chunk.
        """
        ...

    def identity(self, chunk: Chunk) -> Hashable | None:
        """What tells the decoded chunk from all others that this process keeps.

        It must differ for every time that a volume is opened, unless it holds what would differ if
        the bytes did. None where a part decodes for so much less than the whole that keeping the
        whole would not pay.
        """
        ...

    def decoded(self, data: bytes, chunk: Chunk) -> NDArray[Any]:
        """Decode a chunk as it is kept: at least all of it, in any form that `view` knows.

        Raises:
            ReadFailedError: as `decode`.
        """
        ...

    def view(self, decoded: NDArray[Any]) -> NDArray[Any]:
        """The voxels ``(z, y, x)`` of what `decoded` returned, without copying."""
        ...


@dataclass(frozen=True, slots=True)
class ChunkedDriver:
    """One scale of a volume that is stored as chunks."""

    store: Store
    layout: ChunkLayout

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored dtype."""
        return self.layout.dtype

    @property
    def grid(self) -> VoxelGrid:
        """Where the voxels lie."""
        return self.layout.grid

    @property
    def source(self) -> str:
        """Store and scale."""
        return f"{self.store.url}/{self.layout.name}".rstrip("/")

    def read(self, voxels: VoxelBox, out: NDArray[Any]) -> Sequence[VoxelBox]:
        """Read a box; chunks that the store certifies absent are returned."""
        chunks = chunks_of(voxels, self.layout)
        reading = _Reading(self, voxels, out)
        try:
            requests = self.layout.locate(self.store, chunks)
        except ReadFailedError as error:
            raise reading.failed(error) from error
        stored = reading.left(chunks, requests)
        if isinstance(self.store, FileStore):
            reading.read_files(self.store, stored)
        else:
            with closing(reading.arriving(stored)) as jobs:
                run(jobs)
        return sorted(reading.absent, key=lambda box: box.start)


class Located(NamedTuple):
    """A chunk, where its bytes lie, and under which name it is to be kept decoded, if at all."""

    chunk: Chunk
    request: Request
    keep_as: Hashable | None


@dataclass(frozen=True, slots=True)
class _Reading:
    """One box on its way from a store into an array."""

    driver: ChunkedDriver
    voxels: VoxelBox
    out: NDArray[Any]
    absent: list[VoxelBox] = field(default_factory=list)

    def left(self, chunks: Sequence[Chunk], requests: Sequence[Request | None]) -> list[Located]:
        """What must be read: neither absent nor kept decoded."""
        left: list[Located] = []
        stamps: dict[str, Hashable | None] = {}
        for chunk, request in zip(chunks, requests, strict=True):
            if request is None:
                self.absent.append(chunk.wanted)
                continue
            keep_as = self._keep_as(chunk, request.key, stamps) if chunk.keep else None
            kept = None if keep_as is None else recent_chunks.get(keep_as)
            if kept is None:
                left.append(Located(chunk, request, keep_as))
            else:
                self._take(kept, chunk)
        return left

    def _keep_as(
        self, chunk: Chunk, key: str, stamps: dict[str, Hashable | None]
    ) -> Hashable | None:
        identity = self.driver.layout.identity(chunk)
        if identity is None:
            return None
        if key not in stamps:
            # Before the bytes are read: should they change in between, the stamp is the old one.
            stamps[key] = self.driver.store.stamp(key)
        return None if stamps[key] is None else (identity, stamps[key])

    def arriving(self, stored: Sequence[Located]) -> Generator[Callable[[], None], None, None]:
        """What is to be done with chunks as they arrive, each job in any thread."""
        try:
            for position, data in self.driver.store.read_many([one.request for one in stored]):
                yield partial(self._place, stored[position], data)
        except ReadFailedError as error:
            named = [one for one in stored if error.url.endswith(f"/{one.request.key}")]
            raise self.failed(error, named[0] if len(named) == 1 else None) from error

    def read_files(self, store: FileStore, stored: Sequence[Located]) -> None:
        """Files are read where they are decoded: a thread's cache then still holds the bytes."""

        def read(position: int) -> None:
            if not position % AHEAD and len(stored) > 1:
                first = position + AHEAD if position else 0
                soon = stored[first : position + 2 * AHEAD]
                store.announce([one.request for one in soon])
            self._read(stored[position])

        size = self.driver.dtype.itemsize * math.prod(self.driver.layout.chunk_shape)
        run_each(read, len(stored), shared=size * len(stored) >= SHARED_BYTES)

    def _read(self, one: Located) -> None:
        try:
            ((_, data),) = self.driver.store.read_many([one.request])
        except ReadFailedError as error:
            raise self.failed(error, one) from error
        self._place(one, data)

    def _place(self, one: Located, data: bytes | None) -> None:
        if data is None:
            self.absent.append(one.chunk.wanted)
            return
        try:
            if one.keep_as is None:
                target = self.out[one.chunk.target(self.voxels.start)]
                self.driver.layout.decode(data, one.chunk, target)
            else:
                decoded = self.driver.layout.decoded(data, one.chunk)
                recent_chunks.put(one.keep_as, decoded)
                self._take(decoded, one.chunk)
        except ReadFailedError as error:
            raise self.failed(error, one) from error

    def _take(self, decoded: NDArray[Any], chunk: Chunk) -> None:
        from segmend.volumes.codecs.copying import copy_voxels

        wanted = self.driver.layout.view(decoded)[chunk.source]
        copy_voxels(wanted, self.out[chunk.target(self.voxels.start)])

    def failed(self, error: ReadFailedError, located: Located | None = None) -> ReadFailedError:
        """The same failure, named by chunk, voxels and URL."""
        box, what, url = self.voxels, "a chunk", error.url
        if located:
            box, what = located.chunk.box, f"chunk {located.chunk.index}"
            url = url or f"{self.driver.store.url}/{located.request}"
        return ReadFailedError(
            f"cannot read {what} (voxels {box.start} to {box.stop}, z y x) of {self.driver.source}",
            found=f"{error} [{error.reason}; {error.attempts} attempt(s); {url}]",
            reason=error.reason,
            url=url,
            attempts=error.attempts,
        )


def chunks_of(voxels: VoxelBox, layout: ChunkLayout) -> list[Chunk]:
    """The chunks that a box inside the volume touches, x fastest."""
    whole = layout.grid.shape
    axes = [
        _spans(*ends)
        for ends in zip(voxels.start, voxels.stop, layout.chunk_shape, whole, strict=True)
    ]
    few = math.prod(map(len, axes)) <= FEW_CHUNKS
    return [Chunk((z, y, x), few) for z, y, x in product(*axes)]


def _spans(low: int, high: int, size: int, whole: int) -> list[Span]:
    """The chunks that ``[low, high)`` touches along an axis of ``whole`` voxels."""
    if low == high:
        return []
    starts = range(low - low % size, high, size)
    return [
        Span(at // size, at, min(at + size, whole), max(at, low), min(at + size, high))
        for at in starts
    ]
