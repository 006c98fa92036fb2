"""The chunks of an HDF5 data set: where they lie, how they decode, and who decodes them."""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple, VoxelBox
from segmend.core.errors import ReadFailedError
from segmend.core.grid import VoxelGrid
from segmend.store.local_file import LocalFile
from segmend.store.sandbox import sandbox
from segmend.store.store import Request, Store
from segmend.volumes.chunked import Chunk, chunks_of
from segmend.volumes.codecs.copying import copy_voxels
from segmend.volumes.codecs.hdf5_filters import undo_filters
from segmend.volumes.named_axes import Axes
from segmend.volumes.stored_axes import StoredAxes

MAX_CHUNK_BYTES = 2**29
"""A larger chunk is refused: every voxel of it costs the whole chunk."""

MAX_CHUNKS = 2**22
"""Of a data set with more chunks no index is kept; the child reads it."""

SERVED_BYTES = 2**26
"""Voxels that the child sends at a time."""

PARSE_SECONDS = 60.0
READ_SECONDS = 120.0


def ask(file: LocalFile, what: str, request: dict[str, Any]) -> dict[str, Any]:
    """Let the child do something with an unchanged file; the answer may be ``{"error": text}``.

    Raises:
        ReadFailedError: if the file has changed, or the child died at it.
    """
    file.check()
    seconds = PARSE_SECONDS if what == "describe" else READ_SECONDS
    stamp = f"{file.size} {file.stamp}"
    return sandbox("segmend.volumes.drivers.hdf5_child").ask(
        {"do": what, "path": str(file.path), "stamp": stamp, **request},
        what=f"{file.path}:{request['key']}",
        seconds=seconds,
    )


@dataclass(frozen=True, slots=True)
class ChunkIndex:
    """Where the chunks of a data set lie, in C order of the stored chunk grid.

    Attributes:
        offsets: Byte of each chunk, uint64.
        sizes: Its bytes as stored, uint32; 0 if it was never written.
        skipped: Bits of the filters that were left out for it, uint32.
    """

    offsets: NDArray[np.uint64]
    sizes: NDArray[np.uint32]
    skipped: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Hdf5Chunks:
    """A `segmend.volumes.chunked.ChunkLayout`.

    Attributes:
        file: The file.
        key: The data set in it.
        stored: Dtype as stored, with its byte order.
        grid: Where the voxels lie.
        axes: Which stored axes are z, y and x.
        sizes: Length of the stored axes.
        chunks: Shape of a chunk, in stored order.
        filters: Codes of the filters in the order in which they were applied.
        places: Place in the index of the first chunk, and from one chunk to the next along z, y, x.
    """

    file: LocalFile
    key: str
    stored: np.dtype[Any]
    grid: VoxelGrid
    axes: Axes
    sizes: tuple[int, ...]
    chunks: tuple[int, ...]
    filters: tuple[int, ...]
    places: tuple[int, int, int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        grid = self._grid()
        steps = [math.prod(grid[axis + 1 :]) for axis in range(len(grid))]
        first = sum(element // self.chunks[axis] * steps[axis] for axis, element in self.axes.fixed)
        object.__setattr__(self, "places", (first, *self.axes.zyx(steps)))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored dtype in the machine's byte order."""
        return self.stored.newbyteorder("=")

    @property
    def chunk_shape(self) -> Triple:
        """Voxels per chunk, ``(z, y, x)``."""
        return self.axes.zyx(self.chunks)

    @property
    def name(self) -> str:
        """File and key."""
        return f"{self.file.path.name}:{self.key}"

    def locate(self, store: Store, chunks: Sequence[Chunk]) -> Sequence[Request | None]:  # noqa: ARG002
        """Byte ranges of the file; None for a chunk that was never written."""
        self.file.check()
        index = self._index()
        located: list[Request | None] = []
        for chunk in chunks:
            at = self._position(chunk)
            start, size = int(index.offsets[at]), int(index.sizes[at])
            located.append(Request(self.file.path.name, start, start + size) if size else None)
        return located

    def is_stored(self, chunk: Chunk) -> bool:
        """Whether a chunk was ever written."""
        return bool(self._index().sizes[self._position(chunk)])

    def decode(self, data: bytes, chunk: Chunk, out: NDArray[Any]) -> None:
        """Undo the filters of a chunk and put its wanted voxels into ``out``."""
        copy_voxels(self.view(self.decoded(data, chunk))[chunk.source], out)

    def identity(self, chunk: Chunk) -> Hashable | None:
        """Of the file, which `locate` has checked.

        By position: channels that lie in one chunk share it.
        """
        return (self.file, self.key, self._position(chunk))

    def decoded(self, data: bytes, chunk: Chunk) -> NDArray[Any]:
        """All elements of a chunk, stored axes."""
        skipped = int(self._index().skipped[self._position(chunk)])
        count = math.prod(self.chunks)
        flat = undo_filters(data, self.filters, skipped=skipped, dtype=self.stored, count=count)
        return flat.reshape(self.chunks)

    def view(self, decoded: NDArray[Any]) -> NDArray[Any]:
        """The volume's axes."""
        return self.axes.view(decoded, self.chunks)

    def _position(self, chunk: Chunk) -> int:
        """Place of a chunk in the index."""
        (first, *steps), (z, y, x) = self.places, chunk.index
        return first + z * steps[0] + y * steps[1] + x * steps[2]

    def _grid(self) -> list[int]:
        """Chunks along the stored axes."""
        return [-(-n // c) for n, c in zip(self.sizes, self.chunks, strict=True)]

    def _index(self) -> ChunkIndex:
        return _chunk_index(self.file, self.key, math.prod(self._grid()))


@dataclass(frozen=True, slots=True)
class Hdf5ServedDriver:
    """A data set whose voxels only the HDF5 library can decode: the child does.

    Attributes:
        file: The file.
        key: The data set in it.
        dtype: Dtype in the machine's byte order.
        grid: Where the voxels lie.
        axes: The stored axes.
        layout: Its chunks, where they are indexed: tells which were never written.
        written: False where the file holds no voxel at all.
    """

    file: LocalFile
    key: str
    dtype: np.dtype[Any]
    grid: VoxelGrid
    axes: StoredAxes
    layout: Hdf5Chunks | None
    written: bool

    @property
    def source(self) -> str:
        """File and key."""
        return f"{self.file.path}:{self.key}"

    def read(self, voxels: VoxelBox, out: NDArray[Any]) -> Sequence[VoxelBox]:
        """Read a box, a few planes at a time; chunks that were never written are returned."""
        if not voxels.size:
            return ()
        if not self.written:
            return [voxels]
        absent: list[VoxelBox] = []
        if self.layout is not None:
            chunks = chunks_of(voxels, self.layout)
            absent = [c.wanted for c in chunks if not self.layout.is_stored(c)]
        planes = max(1, SERVED_BYTES * voxels.shape[0] // (voxels.size * self.dtype.itemsize))
        for z in range(voxels.start[0], voxels.stop[0], planes):
            slab = voxels.clip(0, z, z + planes)
            at = slice(z - voxels.start[0], slab.stop[0] - voxels.start[0])
            out[at] = self._ask(slab)
        return absent

    def _ask(self, voxels: VoxelBox) -> NDArray[Any]:
        box = self.axes.slices(voxels)
        start, stop = [s.start for s in box], [s.stop for s in box]
        answer = ask(self.file, "read", {"key": self.key, "start": start, "stop": stop})
        data = answer.get("data", b"")
        shape = [b - a for a, b in zip(start, stop, strict=True)]
        if "error" in answer or len(data) != math.prod(shape) * self.dtype.itemsize:
            raise ReadFailedError(
                f"cannot read voxels {voxels.start} to {voxels.stop} of {self.source}",
                found=str(answer.get("error", f"{len(data)} bytes came")),
                fix="The file is damaged: get it again",
                reason="corrupt",
                url=str(self.file.path),
            )
        return self.axes.as_volume(np.frombuffer(data, self.dtype).reshape(shape))


@functools.lru_cache(maxsize=64)
def _chunk_index(file: LocalFile, key: str, count: int) -> ChunkIndex:
    answer = ask(file, "index", {"key": key})
    index = ChunkIndex(
        np.frombuffer(answer.get("offsets", b""), np.uint64),
        np.frombuffer(answer.get("sizes", b""), np.uint32),
        np.frombuffer(answer.get("skipped", b""), np.uint32),
    )
    if (
        "error" in answer
        or not len(index.offsets) == len(index.sizes) == len(index.skipped) == count
    ):
        raise ReadFailedError(
            f"{file.path}:{key} has an unusable index of chunks",
            found=str(answer.get("error", f"{len(index.offsets)} chunks of {count}")),
            fix="The file is damaged: get it again",
            reason="corrupt",
            url=str(file.path),
        )
    return index
