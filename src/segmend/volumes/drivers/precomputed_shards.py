"""Neuroglancer's ``neuroglancer_uint64_sharded_v1``: many small values by uint64 key in few files.

The format (neuroglancer, ``src/datasource/precomputed/sharded.md``): bits of the hashed key choose
a shard file and a minishard in it; the file starts with an index of its minishards; a minishard's
index lists keys, offsets and sizes, each delta-encoded. Chunks, meshes and skeletons use it.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import ReadFailedError, SchemaError
from segmend.core.ids import Ids
from segmend.store.store import Request, Store
from segmend.volumes.codecs.gzip import gunzip
from segmend.volumes.drivers.shard_keys import murmurhash3_x86_128

PAGE_ENTRIES = 4096
"""Entries of a shard's index that are read at once, 64 KiB; most shards have fewer."""

MAX_INDEX_BYTES = 2**25
"""Largest minishard index that is read, inflated: 1.4 million keys."""

CACHE_BYTES = 2**25
"""Memory for indices that were read, per opened volume and process."""

MAX_OFFSET = 2**62

Place = tuple[int, int]
"""A shard and a minishard in it."""

HASHES = ("identity", "murmurhash3_x86_128")
ENCODINGS = ("raw", "gzip")


@dataclass(frozen=True, slots=True)
class Sharding:
    """How keys are spread over shards; the fields are those of the specification.

    Raises:
        SchemaError: for values that the specification does not allow.
    """

    preshift_bits: int
    hash: str
    minishard_bits: int
    shard_bits: int
    minishard_index_encoding: str = "raw"
    data_encoding: str = "raw"

    def __post_init__(self) -> None:
        bits = (self.preshift_bits, self.minishard_bits, self.shard_bits)
        if (
            min(bits) < 0
            or self.preshift_bits > 64
            or self.minishard_bits > 32
            or sum(bits[1:]) > 64
        ):
            raise SchemaError(
                "a sharding with impossible bit counts",
                found=f"preshift {bits[0]}, minishard {bits[1]}, shard {bits[2]}",
                fix="preshift is 0 to 64, minishard 0 to 32, minishard and shard together up to 64",
            )
        for what, value, known in (
            ("hash", self.hash, HASHES),
            ("minishard_index_encoding", self.minishard_index_encoding, ENCODINGS),
            ("data_encoding", self.data_encoding, ENCODINGS),
        ):
            if value not in known:
                raise SchemaError(f"a sharding with {what} {value!r}", found=f"known are {known}")

    def places(self, keys: Ids) -> list[Place]:
        """The shard and the minishard of each key."""
        shifted = _bits(keys, self.preshift_bits, 64 - self.preshift_bits)
        hashed = shifted if self.hash == "identity" else murmurhash3_x86_128(shifted)
        shards = _bits(hashed, self.minishard_bits, self.shard_bits)
        minishards = _bits(hashed, 0, self.minishard_bits)
        return list(zip(shards.tolist(), minishards.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Minishard:
    """The index of one minishard: keys ascending, and bytes ``start`` to ``stop`` of the file."""

    keys: Ids
    start: Ids
    stop: Ids

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return 3 * self.keys.nbytes + 256


Entry = NDArray[np.uint64] | Minishard | None
CacheKey = tuple[str, int, int, bool]


class IndexCache:
    """Indices that were read last, within a byte budget. Pickles as an empty one."""

    def __init__(self, budget: int = CACHE_BYTES) -> None:
        self._budget = budget
        self._start()

    def _start(self) -> None:
        self._owner = os.getpid()
        self._entries: OrderedDict[CacheKey, Entry] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def _locked(self) -> threading.Lock:
        """The lock of this process: a fork may have copied another one while it was held."""
        if self._owner != os.getpid():
            self._start()
        return self._lock

    def __reduce__(self) -> tuple[type[IndexCache], tuple[int]]:
        return (IndexCache, (self._budget,))

    def get(self, key: CacheKey) -> tuple[bool, Entry]:
        """Whether an entry is here, and the entry, which is None for what is certified absent."""
        with self._locked():
            if key not in self._entries:
                return False, None
            self._entries.move_to_end(key)
            return True, self._entries[key]

    def put(self, key: CacheKey, entry: Entry) -> None:
        """Keep an entry, forgetting the ones that were used longest ago."""
        with self._locked():
            self._drop(key)
            self._entries[key] = entry
            self._bytes += _nbytes(entry)
            while self._bytes > self._budget and len(self._entries) > 1:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: CacheKey) -> None:
        if key in self._entries:
            self._bytes -= _nbytes(self._entries.pop(key))


@dataclass(frozen=True, slots=True)
class ShardedKeys:
    """Values by uint64 key in the shards of one folder.

    Attributes:
        folder: Where the ``.shard`` files lie, below the store's root; ``""`` for the root.
        sharding: How keys are spread over them.
    """

    folder: str
    sharding: Sharding
    cache: IndexCache = field(default_factory=IndexCache, compare=False, repr=False)

    def locate(self, store: Store, ids: Ids) -> list[Request | None]:
        """Where the values of keys lie; None for a key that is certified absent.

        Args:
            store: The store.
            ids: uint64 keys ``(n,)``.

        Raises:
            ReadFailedError: if an index cannot be read, or (``corrupt``) points nowhere.
        """
        groups: dict[Place, list[int]] = {}
        for position, place in enumerate(self.sharding.places(ids)):
            groups.setdefault(place, []).append(position)
        indices = self._minishards(store, list(groups))
        requests: list[Request | None] = [None] * len(ids)
        for place, asked in groups.items():
            index = indices[place]
            if index is None:
                continue
            at = np.minimum(np.searchsorted(index.keys, ids[asked]), len(index.keys) - 1)
            for position, i in zip(asked, at.tolist(), strict=True):
                if index.keys[i] == ids[position]:
                    requests[position] = self._request(store, place, index, i)
        return requests

    def unpack(self, data: bytes, *, limit: int) -> bytes:
        """A value from its stored bytes.

        Args:
            data: What the request of `locate` brought.
            limit: Most bytes that the value may have.

        Raises:
            ReadFailedError: with reason ``corrupt``, if the value is damaged or larger.
        """
        return data if self.sharding.data_encoding == "raw" else gunzip(data, limit=limit)

    def _request(self, store: Store, place: Place, index: Minishard, i: int) -> Request:
        key, start, stop = self._shard_key(place[0]), int(index.start[i]), int(index.stop[i])
        if start >= stop:
            raise _corrupt(store, key, f"the value of key {index.keys[i]} has no bytes")
        return Request(key, start, stop)

    def _minishards(self, store: Store, places: Sequence[Place]) -> dict[Place, Minishard | None]:
        """The indices of minishards; None where there is none."""
        found: dict[Place, Any] = {}
        for place in places:
            known, entry = self.cache.get((store.url, *place, False))
            if known:
                found[place] = entry
        found.update(self._read_minishards(store, [p for p in places if p not in found]))
        return found

    def _read_minishards(
        self, store: Store, places: Sequence[Place]
    ) -> dict[Place, Minishard | None]:
        if not places:
            return {}
        pages = self._pages(store, sorted({(s, m // PAGE_ENTRIES) for s, m in places}))
        found: dict[Place, Minishard | None] = dict.fromkeys(places)
        asked: list[tuple[Place, Request]] = []
        for place in places:
            page = pages[place[0], place[1] // PAGE_ENTRIES]
            request = None if page is None else self._index_request(store, place, page)
            if request:
                asked.append((place, request))
        for position, data in store.read_many([request for _, request in asked]):
            place = asked[position][0]
            if data is None:
                key = self._shard_key(place[0])
                raise _corrupt(store, key, "the shard vanished while it was read")
            found[place] = self._decode_index(store, place[0], data)
        for place, entry in found.items():
            self.cache.put((store.url, *place, False), entry)
        return found

    def _pages(
        self, store: Store, pages: Sequence[Place]
    ) -> dict[Place, NDArray[np.uint64] | None]:
        """Pages of shard indices, ``(entry, start or stop)``; None where the shard is absent."""
        found: dict[Place, Any] = {}
        missing = []
        for shard, page in pages:
            known, entry = self.cache.get((store.url, shard, page, True))
            if known:
                found[shard, page] = entry
            else:
                missing.append((shard, page))
        for position, data in store.read_many([self._page_request(*one) for one in missing]):
            shard, page = missing[position]
            entry = None if data is None else np.frombuffer(data, "<u8").reshape(-1, 2)
            found[shard, page] = entry
            self.cache.put((store.url, shard, page, True), entry)
        return found

    def _page_request(self, shard: int, page: int) -> Request:
        entries = 1 << self.sharding.minishard_bits
        stop = min((page + 1) * PAGE_ENTRIES, entries)
        return Request(self._shard_key(shard), 16 * page * PAGE_ENTRIES, 16 * stop)

    def _index_request(
        self, store: Store, place: Place, page: NDArray[np.uint64]
    ) -> Request | None:
        shard, minishard = place
        start, stop = (int(v) for v in page[minishard % PAGE_ENTRIES])
        if start == stop:
            return None
        key, base = self._shard_key(shard), self._index_end
        if not start < stop < MAX_OFFSET or stop - start > MAX_INDEX_BYTES:
            found = f"the index of minishard {minishard} goes from byte {start} to {stop}"
            raise _corrupt(store, key, found)
        return Request(key, base + start, base + stop)

    def _decode_index(self, store: Store, shard: int, data: bytes) -> Minishard:
        key = self._shard_key(shard)
        if self.sharding.minishard_index_encoding == "gzip":
            try:
                data = gunzip(data, limit=MAX_INDEX_BYTES)
            except ReadFailedError as error:
                raise _corrupt(store, key, error.found) from error
        if not data or len(data) % 24:
            raise _corrupt(store, key, f"a minishard index of {len(data)} bytes, not n times 24")
        keys, start, size = np.frombuffer(data, "<u8").reshape(3, -1)
        keys = np.cumsum(keys, dtype=np.uint64)
        # Sums wrap at 2**64, as the specification's deltas do; the bound excludes every overflow.
        start = np.cumsum(start, dtype=np.uint64) + np.cumsum(size, dtype=np.uint64) - size
        if max(start.max(), size.max()) >= MAX_OFFSET:
            raise _corrupt(store, key, "a minishard index points past any file")
        order = np.argsort(keys, kind="stable")
        keys, start, size = keys[order], start[order] + np.uint64(self._index_end), size[order]
        if (keys[1:] == keys[:-1]).any():
            raise _corrupt(store, key, "a minishard index lists a key twice")
        return Minishard(keys, start, start + size)

    @property
    def _index_end(self) -> int:
        return 16 << self.sharding.minishard_bits

    def _shard_key(self, shard: int) -> str:
        digits = -(-self.sharding.shard_bits // 4)
        name = f"{shard:0{digits}x}.shard"
        return f"{self.folder}/{name}" if self.folder else name


def _bits(values: Ids, first: int, n: int) -> Ids:
    if n == 0:
        return np.zeros_like(values)
    return values >> np.uint64(first) & np.uint64((1 << n) - 1)


def _nbytes(entry: Entry) -> int:
    return 256 if entry is None else entry.nbytes


def _corrupt(store: Store, key: str, found: str) -> ReadFailedError:
    url = f"{store.url}/{key}"
    return ReadFailedError(f"cannot use the index of {url}", found=found, reason="corrupt", url=url)
