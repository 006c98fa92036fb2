"""Reading a box from stored chunks: which ones, their bytes, decoded straight into place.

Every format that keeps a volume as a regular grid of encoded chunks (precomputed, zarr, N5) is a
`ChunkLayout`: where each chunk's bytes lie, and how they decode. This engine does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple, VoxelBox
from segmend.core.grid import VoxelGrid
from segmend.store.store import Request, Store

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk that a box touches.

    Attributes:
        index: Place in the chunk grid, ``(z, y, x)``.
        box: The voxels it holds, clipped to the volume.
        wanted: Those of them that the box wants.
    """

    index: Triple
    box: VoxelBox
    wanted: VoxelBox

    @property
    def source(self) -> Slices:
        """The wanted voxels within the chunk."""
        a, b, c = self.box.start
        return self.wanted.shift((-a, -b, -c)).slices


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
        located = self.layout.locate(self.store, chunks)
        stored = [i for i, request in enumerate(located) if request is not None]
        absent = [c.wanted for c, request in zip(chunks, located, strict=True) if request is None]
        requests = [request for request in located if request is not None]
        back = (-voxels.start[0], -voxels.start[1], -voxels.start[2])
        for position, data in self.store.read_many(requests):
            chunk = chunks[stored[position]]
            if data is None:
                absent.append(chunk.wanted)
            else:
                self.layout.decode(data, chunk, out[chunk.wanted.shift(back).slices])
        return absent


def chunks_of(voxels: VoxelBox, layout: ChunkLayout) -> list[Chunk]:
    """The chunks that a box touches, x fastest."""
    size, whole = layout.chunk_shape, layout.grid.voxels
    first = [a // n for a, n in zip(voxels.start, size, strict=True)]
    last = [-(-b // n) for b, n in zip(voxels.stop, size, strict=True)]
    chunks = []
    for index in product(*(range(a, b) for a, b in zip(first, last, strict=True))):
        start = (index[0] * size[0], index[1] * size[1], index[2] * size[2])
        stop = (start[0] + size[0], start[1] + size[1], start[2] + size[2])
        box = VoxelBox(start, stop).intersect(whole)
        wanted = box.intersect(voxels) if box else None
        if box and wanted:
            chunks.append(Chunk((index[0], index[1], index[2]), box, wanted))
    return chunks
