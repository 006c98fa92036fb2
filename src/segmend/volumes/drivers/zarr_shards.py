"""Zarr v3 shards: chunks within objects, found by an index at the end or start of each.

https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import ReadFailedError, SchemaError
from segmend.store.store import Request, Store
from segmend.volumes.chunked import Chunk
from segmend.volumes.codecs.chain import decode_bytes
from segmend.volumes.codecs.piece import corrupt
from segmend.volumes.drivers.zarr_array import Inner, StoredArray, ZarrLayout

ENTRY_BYTES = 16
"""Offset and length of a chunk, little-endian uint64 each."""

ABSENT = np.uint64(2**64 - 1)
"""Offset and length of a chunk that is not stored."""

MAX_INDEX_BYTES = 2**26
"""Larger indices are refused: four million chunks in one shard."""

CACHE_BYTES = 2**26
"""Decoded indices kept per open volume: those of 2,000 shards of 2,048 chunks."""


class IndexCache:
    """Indices of shards that were read last. Pickles empty; safe for threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, NDArray[np.uint64]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return (IndexCache, ())

    def get(self, key: str) -> NDArray[np.uint64] | None:
        """The index of a shard, None where it is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: str, index: NDArray[np.uint64]) -> None:
        """Keep an index; the ones used longest ago make room."""
        with self._lock:
            if key not in self._kept:
                self._bytes += index.nbytes
            self._kept[key] = index
            while self._bytes > CACHE_BYTES:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= dropped.nbytes


@dataclass(frozen=True, slots=True)
class ShardedLayout(ZarrLayout):
    """A sharded Zarr array seen as a volume.

    Attributes:
        cache: Indices read before. Absence is never kept: a shard may be written later. A shard
            that is written again while the volume is open needs it to be opened again.
    """

    cache: IndexCache = field(default_factory=IndexCache, compare=False, repr=False)

    @property
    def inner(self) -> Inner:
        """How chunks lie within shards."""
        assert self.array.inner is not None, "a sharded layout is made for sharded arrays"
        return self.array.inner

    @property
    def per_shard(self) -> tuple[int, ...]:
        """Chunks per shard along each stored axis."""
        pairs = zip(self.inner.shard_shape, self.array.chunk_shape, strict=True)
        return tuple(shard // chunk for shard, chunk in pairs)

    def locate(self, store: Store, chunks: Sequence[Chunk]) -> Sequence[Request | None]:
        """Ranges within shards; None for a chunk or a whole shard that is not stored."""
        per_shard = self.per_shard
        places = []
        for chunk in chunks:
            index = self.stored_index(chunk)
            shard = [i // n for i, n in zip(index, per_shard, strict=True)]
            within = [i % n for i, n in zip(index, per_shard, strict=True)]
            places.append((self.array.key(shard), np.ravel_multi_index(within, per_shard)))
        indices = self._indices(store, list(dict.fromkeys(key for key, _ in places)))
        return [_request(key, indices[key], int(place)) for key, place in places]

    def _indices(self, store: Store, keys: list[str]) -> dict[str, NDArray[np.uint64] | None]:
        found = {key: self.cache.get(key) for key in keys}
        missing = [key for key in keys if found[key] is None]
        size = index_size(self.inner, self.array)
        ranges = (0, size) if self.inner.index_first else (-size, None)
        for place, data in store.read_many([Request(key, *ranges) for key in missing]):
            if data is not None:
                index = self._parse(data, size, f"{store.url}/{missing[place]}")
                self.cache.put(missing[place], index)
                found[missing[place]] = index
        return found

    def _parse(self, data: bytes, size: int, where: str) -> NDArray[np.uint64]:
        try:
            if len(data) != size:
                raise corrupt(f"the object has {len(data)} bytes, its index alone needs {size}")
            entries = decode_bytes(
                self.inner.index_codecs, data, math.prod(self.per_shard) * ENTRY_BYTES
            )
            index = np.frombuffer(entries, "<u8").astype(np.uint64).reshape(-1, 2)
            most = 2 * math.prod(self.array.chunk_shape) * self.array.dtype.itemsize + 2**16
            check_index(index, first=size if self.inner.index_first else 0, most=most)
        except ReadFailedError as error:
            raise ReadFailedError(
                f"the index of shard {where} cannot be used",
                found=error.found,
                fix="The shard is damaged: fetch or write it again",
                reason="corrupt",
                url=where,
            ) from error
        return index


def index_size(inner: Inner, array: StoredArray) -> int:
    """Bytes of a shard's index as stored.

    Raises:
        SchemaError: if it is unreasonably large.
    """
    count = math.prod(s // c for s, c in zip(inner.shard_shape, array.chunk_shape, strict=True))
    size: int | None = count * ENTRY_BYTES
    for codec in inner.index_codecs:
        size = None if size is None else codec.encoded_size(size)
    if size is None or size > MAX_INDEX_BYTES:
        raise SchemaError(
            f"{array.where} has shards whose index cannot be read",
            found=f"{count} chunks per shard",
            fix=f"An index has a fixed size of at most {MAX_INDEX_BYTES} bytes",
        )
    return size


def check_index(index: NDArray[np.uint64], *, first: int, most: int) -> None:
    """Check that the chunks of a shard can lie where its index says.

    Args:
        index: Offset and length of each chunk, uint64 ``(n, 2)``.
        first: First byte that may belong to a chunk.
        most: Most bytes that a chunk may take.

    Raises:
        ReadFailedError: with reason ``corrupt``, for chunks that are empty, too long, out of range
            or overlap.
    """
    stored = index[(index != ABSENT).any(axis=1)]
    offset, length = stored.T
    bad = (length == 0) | (length > most) | (offset < first) | (offset >= 2**62)
    if bad.any():
        place, size = stored[bad.argmax()].tolist()
        raise corrupt(f"a chunk of {size} bytes at byte {place}")
    order = np.argsort(offset)
    end = (offset + length)[order][:-1]
    overlap = end > offset[order][1:]
    if overlap.any():
        raise corrupt(f"two chunks overlap at byte {end[overlap.argmax()]}")


def _request(key: str, index: NDArray[np.uint64] | None, place: int) -> Request | None:
    if index is None:
        return None
    offset, length = index[place].tolist()
    if offset == length == int(ABSENT):
        return None
    return Request(key, offset, offset + length)
