"""Reading a box from stored chunks: which ones, their bytes, decoded straight into place.

Every format that keeps a volume as a regular grid of encoded chunks (precomputed, zarr, N5) is a
`ChunkLayout`: where each chunk's bytes lie, and how they decode. This engine does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple, VoxelBox
from segmend.core.errors import ReadFailedError
from segmend.core.grid import VoxelGrid
from segmend.store.files import FileStore
from segmend.store.store import Request, Store
from segmend.volumes.workers import run

Slices = tuple[slice, slice, slice]

JOB_BYTES = 2**21
"""Decoded bytes that are worth handing to another thread."""

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
        return self.few and any(s.high - s.low < s.stop - s.start for s in self.spans)

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
        stored: list[Located] = []
        for chunk, request in zip(chunks, requests, strict=True):
            if request is None:
                reading.absent.append(chunk.wanted)
            else:
                stored.append((chunk, request))
        with closing(reading.jobs(stored)) as jobs:
            run(jobs)
        return sorted(reading.absent, key=lambda box: box.start)


Located = tuple[Chunk, Request]


@dataclass(frozen=True, slots=True)
class _Reading:
    """One box on its way from a store into an array."""

    driver: ChunkedDriver
    voxels: VoxelBox
    out: NDArray[Any]
    absent: list[VoxelBox] = field(default_factory=list)

    def jobs(self, stored: Sequence[Located]) -> Generator[Callable[[], None], None, None]:
        """What is to be done, each job in any thread."""
        if isinstance(self.driver.store, FileStore):
            # Files are read where they are decoded: a thread's cache then still holds the bytes.
            size = self.driver.dtype.itemsize * math.prod(self.driver.layout.chunk_shape)
            step = max(1, JOB_BYTES // size)
            for first in range(0, len(stored), step):
                yield partial(self._read, stored[first : first + step])
            return
        try:
            for position, data in self.driver.store.read_many([request for _, request in stored]):
                yield partial(self._place, *stored[position], data)
        except ReadFailedError as error:
            named = [one for one in stored if error.url.endswith(f"/{one[1].key}")]
            raise self.failed(error, named[0] if len(named) == 1 else None) from error

    def _read(self, stored: Sequence[Located]) -> None:
        for chunk, request in stored:
            try:
                ((_, data),) = self.driver.store.read_many([request])
            except ReadFailedError as error:
                raise self.failed(error, (chunk, request)) from error
            self._place(chunk, request, data)

    def _place(self, chunk: Chunk, request: Request, data: bytes | None) -> None:
        if data is None:
            self.absent.append(chunk.wanted)
            return
        try:
            self.driver.layout.decode(data, chunk, self.out[chunk.target(self.voxels.start)])
        except ReadFailedError as error:
            raise self.failed(error, (chunk, request)) from error

    def failed(self, error: ReadFailedError, located: Located | None = None) -> ReadFailedError:
        """The same failure, named by chunk, voxels and URL."""
        box, what, url = self.voxels, "a chunk", error.url
        if located:
            chunk, request = located
            box, what = chunk.box, f"chunk {chunk.index}"
            url = url or f"{self.driver.store.url}/{request}"
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
