"""The cache of remote objects: on disk, shared by processes, checked on every read.

A format opens a remote volume in two steps. It reads the files that say what the volume is
(``info``; ``zarr.json``; ``.zarray`` and ``.zattrs``; ``attributes.json``) from the origin, every
time; then it hands their bytes to `cached` and reads the rest through the store that it gets::

    info = store.read("info")
    chunks = cached(store, info)

The cache is keyed by those bytes, so that a volume that was replaced is never mixed with what was
kept of the old one. A volume that changes in place while its metadata stay equal is beyond what a
client can see: set ``SEGMEND_CACHE_BYTES=0`` for it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segmend.core.settings import settings
from segmend.store.cache_files import CacheFolder, DamagedError, room
from segmend.store.cache_room import Room
from segmend.store.files import FileStore
from segmend.store.store import Request, Store

FOLDER = "objects"
"""Name of the cache below the settings' cache folder, beside the synthetic tissue."""

PAUSE_SECONDS = 30.0
"""After a write that failed, reads go on and nothing is kept for this long."""


def cached(origin: Store, *metadata: bytes) -> Store:
    """The same store, keeping on disk what it read, if reading from it is worth that.

    Args:
        origin: Any store. A local one is returned as it is, and so is every store where the
            settings leave the cache no room.
        metadata: Content of the files that say what the volume is, read from ``origin`` just now,
            in a fixed order; ``b""`` for one that is absent.
    """
    here = settings()
    if isinstance(origin, FileStore) or here.cache_bytes == 0:
        return origin
    cache = Cache(here.cache_dir / FOLDER, here.cache_bytes)
    return CachedStore(origin, cache, version_of(*metadata))


def version_of(*metadata: bytes) -> str:
    """Digest of the files that say what a volume is: 64 hex digits.

    Every part goes in with its length, so that bytes cannot move from one file to the next unseen.
    """
    digest = hashlib.sha256()
    for part in metadata:
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()


@dataclass(slots=True)
class Counts:
    """What a cache did in this process.

    Attributes:
        hits: Reads answered from the disk.
        misses: Reads that went to the origin.
        damaged: Misses because what lay on the disk was damaged; it was removed.
        unwritten: Objects that could not be kept.
    """

    hits: int = 0
    misses: int = 0
    damaged: int = 0
    unwritten: int = 0


class Cache:
    """Objects on disk by reference. Pickles as its folder and its budget.

    Args:
        folder: Where it lies; made at the first write.
        budget: Bytes of disk it may take; None: as the disk allows.
    """

    def __init__(self, folder: str | Path, budget: int | None = None) -> None:
        self.folder = CacheFolder(Path(folder))
        self.budget = budget
        self.counts = Counts()
        self._process = 0
        self._paused_until = 0.0

    def __reduce__(self) -> tuple[type[Cache], tuple[Path, int | None]]:
        return Cache, (self.folder.root, self.budget)

    def find(self, reference: str) -> bytes | None:
        """The bytes kept for a request, checked; None if there are none or they are damaged."""
        try:
            data = self.folder.load(reference)
        except DamagedError:
            self.counts.damaged += 1
            data = None
        if data is None:
            self.counts.misses += 1
        else:
            self.counts.hits += 1
        return data

    def keep(self, reference: str, data: bytes, *, describe: bytes) -> None:
        """Keep the bytes of a request. Where that fails, it says so once, and reading goes on.

        Args:
            reference: ``volume/xx/rest``, hex digits.
            data: The bytes.
            describe: What to write down of the volume, if nothing is yet.
        """
        if time.monotonic() < self._paused_until:
            self.counts.unwritten += 1
            return
        try:
            self._keep(reference, data, describe)
        except FileNotFoundError:
            # Another process removed a blob or the cache between two steps: nothing is wrong.
            self.counts.unwritten += 1
        except OSError as error:
            self.counts.unwritten += 1
            if not self._paused_until:
                _say(self.folder.root, error)
            self._paused_until = time.monotonic() + PAUSE_SECONDS

    def _keep(self, reference: str, data: bytes, describe: bytes) -> None:
        if self._process != os.getpid():
            # A forked child must not wait for a lock that its parent held.
            self._room = Room(self.folder, self.budget)
            self._process = os.getpid()
        if room(len(data)) > self._room.budget:
            self.counts.unwritten += 1
            return
        self.folder.describe(reference.partition("/")[0], describe)
        self._room.took(self.folder.save(reference, data))


@dataclass(frozen=True, slots=True)
class CachedStore(Store):
    """A store that keeps on disk what it read. Certified absent objects are asked for each time.

    Attributes:
        origin: Where objects come from.
        cache: Where they are kept.
        version: Digest of the volume's metadata files, `version_of`.
        refresh: Whether what is kept is left aside, and replaced by what is read.
    """

    origin: Store
    cache: Cache
    version: str
    refresh: bool = False

    @property
    def url(self) -> str:
        """The origin's."""
        return self.origin.url

    def read_many(self, requests: Sequence[Request]) -> Iterator[tuple[int, bytes | None]]:
        """What is on the disk first, then the rest as it arrives from the origin."""
        names = self._references(requests)
        missing = []
        for position, name in enumerate(names):
            data = None if self.refresh else self.cache.find(name)
            if data is None:
                missing.append(position)
            else:
                yield position, data
        if not missing:
            return
        describe = json.dumps({"url": self.url, "version": self.version}).encode()
        for place, data in self.origin.read_many([requests[position] for position in missing]):
            position = missing[place]
            if data is not None:
                self.cache.keep(names[position], data, describe=describe)
            yield position, data

    def refreshed(self) -> CachedStore:
        """The same store and cache, for what was kept and turned out to be of no use."""
        return replace(self, refresh=True)

    def _references(self, requests: Sequence[Request]) -> list[str]:
        volume = hashlib.sha256(f"{self.origin.identity}\0{self.version}".encode()).hexdigest()[:20]
        names = []
        for request in requests:
            asked = f"{request.key}\0{request.start}\0{request.stop}"
            name = hashlib.sha256(asked.encode()).hexdigest()[:40]
            names.append(f"{volume}/{name[:2]}/{name[2:]}")
        return names


def _say(folder: Path, error: OSError) -> None:
    reason = errno.errorcode.get(error.errno or 0, type(error).__name__)
    warnings.warn(
        f"the cache {folder} cannot be written ({reason}): reads go on, nothing new is kept",
        RuntimeWarning,
        stacklevel=4,
    )
