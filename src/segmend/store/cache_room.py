"""The byte budget of the cache: what was used least recently goes first.

Nobody looks at the whole cache at every write. One file holds an estimate of the bytes in use;
each process adds what it wrote in steps of 1/64 of the budget. Only when the estimate exceeds the
budget are the blobs listed, the oldest removed down to 9/10 of the budget, and the true sum
recorded. Two processes may lose a step between them, so each also looks for itself after writing a
quarter of the budget: with P processes the cache never exceeds the budget by more than P quarters.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from segmend.store.cache_files import CacheFolder

DEFAULT_BYTES = 20 * 10**9
"""Budget where the settings name none, unless the disk is small."""

FREE_SHARE = 4
"""Without a budget in the settings: at most 1/4 of what the cache and the free disk hold."""

STEPS, UNSEEN_SHARE = 64, 4
"""A process records what it wrote every 1/64 of the budget, and lists the blobs every 1/4."""

KEPT = 0.9
"""Share of the budget that is left after removing: the next removal is a tenth of a budget away."""


def budget_of(folder: Path, asked: int | None, used: int) -> int:
    """The byte budget of a cache.

    Args:
        folder: Where it lies, or will.
        asked: Budget of the settings; None: as the disk allows.
        used: Bytes it holds now.
    """
    if asked is not None:
        return asked
    here = next(place for place in (folder, *folder.parents) if place.exists())
    disk = os.statvfs(here)
    return min(DEFAULT_BYTES, (used + disk.f_bavail * disk.f_frsize) // FREE_SHARE)


def shrink(folder: CacheFolder, to: int) -> int:
    """Remove the blobs used least recently until those left take at most ``to`` bytes.

    A time of use in the future comes from a clock that was wrong: it is put right, so that such a
    blob does not stay for ever.

    Returns:
        Bytes that the blobs left take.
    """
    now = time.time_ns()
    found, used = [], 0
    for entry, blob in folder.blobs():
        with suppress(FileNotFoundError):
            time_of_use = entry.stat(follow_symlinks=False).st_mtime_ns
            if time_of_use > now:
                os.utime(entry.path, ns=(now, now))
            found.append((min(time_of_use, now), blob.name, entry.path, blob.room))
            used += blob.room
    for _, _, path, taken in sorted(found):
        if used <= to:
            break
        Path(path).unlink(missing_ok=True)
        used -= taken
    folder.sweep()
    return used


class Room:
    """Keeps one cache within its budget, for one process.

    Args:
        folder: The cache.
        asked: Budget of the settings; None: as the disk allows.
    """

    def __init__(self, folder: CacheFolder, asked: int | None) -> None:
        self._folder = folder
        self._asked = asked
        self._lock = threading.Lock()
        recorded = folder.recorded()
        self._recorded = recorded or 0
        self._unrecorded = 0
        self._unseen = 0
        self._known = recorded is not None
        self.budget = budget_of(folder.root, asked, self._recorded)

    def took(self, size: int) -> None:
        """Account for bytes that this process wrote, and make room if there is none left.

        Raises:
            OSError: if the estimate cannot be written.
        """
        # Whoever holds the lock is making room; the others go on reading.
        if not self._lock.acquire(blocking=False):
            self._unrecorded += size
            self._unseen += size
            return
        try:
            self._unrecorded += size
            self._unseen += size
            full = self._recorded + self._unrecorded > self.budget
            if full or not self._known or self._unrecorded > self.budget // STEPS:
                self._settle()
        finally:
            self._lock.release()

    def _settle(self) -> None:
        added, self._unrecorded = self._unrecorded, 0
        self._recorded = (self._folder.recorded() or 0) + added
        unseen = self._unseen > self.budget // UNSEEN_SHARE or not self._known
        if unseen or self._recorded > self.budget:
            self._recorded, self._unseen, self._known = self._seen(), 0, True
        self._folder.record(self._recorded)

    def _seen(self) -> int:
        """Look at every blob; remove the oldest if they take more than the budget."""
        used = sum(blob.room for _, blob in self._folder.blobs())
        self.budget = budget_of(self._folder.root, self._asked, used)
        return shrink(self._folder, int(self.budget * KEPT)) if used > self.budget else used
