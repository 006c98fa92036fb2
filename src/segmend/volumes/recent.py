"""Decoded chunks that were used lately: boxes that lie close together share them.

Only for chunks of which a box wants a part; a chunk that is wanted whole is decoded into place.
When a kept chunk may stand for what is stored is for `segmend.volumes.chunked` to say.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from numpy.typing import NDArray

RECENT_BYTES = 256 * 2**20
"""Decoded chunks that a process keeps."""


class RecentChunks:
    """The least recently used go first. Safe for threads.

    Args:
        budget: Bytes to keep at most.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self.forget()

    def forget(self) -> None:
        """Start empty, with a lock of its own: also what a forked process must do."""
        self._bytes = 0
        self._chunks: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> NDArray[Any] | None:
        """The decoded chunk, read-only; None where it is not kept."""
        with self._lock:
            kept = self._chunks.get(key)
            if kept is not None:
                self._chunks.move_to_end(key)
            return kept

    def put(self, key: Hashable, decoded: NDArray[Any]) -> None:
        """Keep a decoded chunk, which nobody may change from now on."""
        decoded.setflags(write=False)
        with self._lock:
            if key not in self._chunks and decoded.nbytes <= self._budget:
                self._chunks[key] = decoded
                self._bytes += decoded.nbytes
            while self._bytes > self._budget:
                self._bytes -= self._chunks.popitem(last=False)[1].nbytes


recent_chunks = RecentChunks(RECENT_BYTES)
"""Of this process, shared by all volumes."""

os.register_at_fork(after_in_child=recent_chunks.forget)
