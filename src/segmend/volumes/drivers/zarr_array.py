"""A Zarr array, whatever its version: what its metadata say, and its chunks as a layout."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple
from segmend.core.errors import SchemaError
from segmend.core.grid import VoxelGrid
from segmend.store.store import Request, Store
from segmend.volumes.chunked import Chunk
from segmend.volumes.codecs.chain import ByteCodec, decode_bytes
from segmend.volumes.codecs.copying import copy_voxels
from segmend.volumes.named_axes import Axes

MAX_CHUNK_BYTES = 2**31 - 1
"""Larger chunks are refused: the most that Blosc can hold, and memory must be bounded."""

MAX_ARRAY_BYTES = 2**62
"""Larger arrays are lies: sizes and offsets must fit int64."""


@dataclass(frozen=True, slots=True)
class Inner:
    """The chunks within the stored objects of a sharded array (codec ``sharding_indexed``).

    Attributes:
        shard_shape: Elements per shard, stored axes.
        index_first: Whether the index lies at the start of a shard, not at its end.
        index_codecs: How the index is encoded.
    """

    shard_shape: tuple[int, ...]
    index_first: bool
    index_codecs: tuple[ByteCodec, ...]


@dataclass(frozen=True, slots=True)
class StoredArray:
    """The metadata of an array, checked.

    Attributes:
        where: Store and path, for messages.
        path: The array within the store.
        shape: Elements per stored axis.
        chunk_shape: Elements per chunk, of the inner ones where there are shards.
        dtype: Stored dtype, with its byte order.
        order: Stored axes in the order in which a chunk's bytes run through them, slowest first.
        codecs: Byte codecs in the order of encoding.
        key_prefix: Start of every chunk's key, after the path.
        separator: Between the numbers of a chunk's key.
        fill_value: As its file has it.
        names: Names of the stored axes, where its file has them.
        attributes: The user's attributes.
        inner: Set where the stored objects are shards.
    """

    where: str
    path: str
    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: tuple[int, ...]
    codecs: tuple[ByteCodec, ...]
    key_prefix: str
    separator: str
    fill_value: Any
    names: tuple[str, ...] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    inner: Inner | None = None

    def __post_init__(self) -> None:
        ranks = {len(self.shape), len(self.chunk_shape), len(self.order)}
        sizes = [math.prod(s) * self.dtype.itemsize for s in (self.shape, self.chunk_shape)]
        if len(ranks) != 1 or sizes[0] > MAX_ARRAY_BYTES or sizes[1] > MAX_CHUNK_BYTES:
            raise SchemaError(
                f"{self.where} has an impossible shape",
                found=f"shape {self.shape}, chunks {self.chunk_shape} of {self.dtype}",
                fix=f"As many axes each, and chunks of at most {MAX_CHUNK_BYTES} bytes",
            )

    @property
    def volume_dtype(self) -> np.dtype[Any]:
        """Dtype as read: the machine's byte order, and uint8 for bool."""
        return np.dtype(np.uint8) if self.dtype.kind == "b" else self.dtype.newbyteorder("=")

    def key(self, index: Sequence[int]) -> str:
        """Key of the stored object at a place of the stored grid."""
        name = self.key_prefix + self.separator.join(map(str, index))
        return f"{self.path}/{name}" if self.path else name

    def elements(self, data: bytes, shape: Sequence[int]) -> NDArray[Any]:
        """Decode a chunk to its stored axes.

        Args:
            data: Stored bytes.
            shape: Elements it must hold, per stored axis.

        Raises:
            ReadFailedError: with reason ``corrupt``.
        """
        size = math.prod(shape) * self.dtype.itemsize
        decoded = decode_bytes(self.codecs, data, size)
        flat = np.frombuffer(decoded, self.dtype)
        return flat.reshape([shape[axis] for axis in self.order]).transpose(np.argsort(self.order))


@dataclass(frozen=True, slots=True)
class ZarrLayout:
    """A Zarr array seen as a volume: one object per chunk, full-size at the edges.

    Attributes:
        array: Its metadata.
        axes: Which of its axes are z, y and x.
        grid: Where its voxels lie.
        opened: Tells chunks that are kept decoded from those of other times it was opened.
    """

    array: StoredArray
    axes: Axes
    grid: VoxelGrid
    opened: object = field(default_factory=object, compare=False, repr=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype as read."""
        return self.array.volume_dtype

    @property
    def chunk_shape(self) -> Triple:
        """Voxels per chunk."""
        return self.axes.zyx(self.array.chunk_shape)

    @property
    def name(self) -> str:
        """The array within the store."""
        return self.array.path

    def stored_index(self, chunk: Chunk) -> tuple[int, ...]:
        """Place of a chunk in the stored grid."""
        return self.axes.chunk_index(chunk.index, self.array.chunk_shape)

    def locate(
        self,
        store: Store,  # noqa: ARG002  only an index has to be read
        chunks: Sequence[Chunk],
    ) -> Sequence[Request | None]:
        """One whole object each; the store knows which of them exist."""
        return [Request(self.array.key(self.stored_index(chunk))) for chunk in chunks]

    def decode(self, data: bytes, chunk: Chunk, out: NDArray[Any]) -> None:
        """Decode a chunk and put its wanted voxels into ``out``."""
        copy_voxels(self.view(self.decoded(data, chunk))[chunk.source], out)

    def identity(self, chunk: Chunk) -> Hashable | None:
        """Of this opening."""
        return (self.opened, chunk.index)

    def view(self, decoded: NDArray[Any]) -> NDArray[Any]:
        """The volume's axes."""
        return self.axes.view(decoded, self.array.chunk_shape)

    def decoded(
        self,
        data: bytes,
        chunk: Chunk,  # noqa: ARG002  other formats cut chunks off at the edges
    ) -> NDArray[Any]:
        """Decode a chunk to its stored axes.

        Raises:
            ReadFailedError: with reason ``corrupt``.
        """
        return self.array.elements(data, self.array.chunk_shape)
