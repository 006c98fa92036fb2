"""Kept-alive connections of this process, and how many a host gets at once."""

from __future__ import annotations

import os
import threading
from collections import Counter

import pycurl

# Bytes under way or not yet taken, per reading: a reading's array is mostly larger than this.
IN_FLIGHT = 64 * 2**20

_KEPT = 16  # links
_FEWEST, _AT_FIRST = 4, 32  # transfers, of objects of any size, and before any size is known


class Link:
    """One multi handle of libcurl with its connections, used by one reading at a time."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.multi = pycurl.CurlMulti()
        self.idle: list[pycurl.Curl] = []


class Slots:
    """Counts transfers per host over all readings of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def take(self, host: str, most: int, *, own: int) -> bool:
        """Take a slot if fewer than ``most`` are taken, or if the reading has none of its ``own``.

        A reading that its consumer has put aside keeps its slots; without the exception it could
        stop all others.
        """
        with self._lock:
            if self._taken[host] >= most and own:
                return False
            self._taken[host] += 1
            return True

    def give(self, host: str, count: int = 1) -> None:
        """Give slots back."""
        with self._lock:
            self._taken[host] -= count
            if not self._taken[host]:
                del self._taken[host]


class Pool:
    """Idle links. A forked child leaves its parent's connections alone and starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: list[Link] = []
        self._inherited: list[Link] = []
        self._typical: dict[str, float] = {}
        self.slots = Slots()
        os.register_at_fork(after_in_child=self._after_fork)

    def borrow(self) -> Link:
        """An idle link, the one used last, or a new one."""
        with self._lock:
            return self._links.pop() if self._links else Link()

    def give_back(self, link: Link) -> None:
        """Keep a link for the next reading."""
        with self._lock:
            if link.pid != os.getpid():
                # Closing would say goodbye on sockets that are the parent's.
                self._inherited.append(link)
            elif len(self._links) < _KEPT:
                self._links.append(link)

    def room(self, base: str, most: int, *, arrived: int | None = None) -> int:
        """How many objects of a root a reading may have at once, so that few bytes wait.

        Args:
            base: The root.
            most: Never more than these.
            arrived: Size of an object that has just come; the estimate follows them (a moving
                average over about eight).
        """
        before = self._typical.get(base)
        if arrived is not None:
            before = arrived if before is None else before + (arrived - before) / 8
            self._typical[base] = before
        if before is None:
            return min(most, _AT_FIRST)
        return min(most, max(int(IN_FLIGHT / max(before, 1.0)), _FEWEST))

    def _after_fork(self) -> None:
        self._inherited += self._links
        self._links = []
        self._lock = threading.Lock()
        self.slots = Slots()


POOL = Pool()
