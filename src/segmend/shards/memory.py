"""Memory of pictures and batches, used again when nobody holds it any more.

Fresh memory comes page by page from the kernel, which takes longer than unpacking a batch into it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_SLACK = 1.25
"""How much larger than asked for a piece may be: the batches of an epoch differ by a row."""

_SMALL = 2**16
"""Bytes below which memory is not kept: it costs nothing."""


class Pool:
    """Arrays whose memory comes back when the last view of it is gone.

    As many pieces are kept, in use and free together, as were ever in use at a time: threads that
    make batches ahead need more of them. Used from several threads. Copies made by pickling start
    empty.

    Args:
        at_most: Free pieces that are kept at the most; None: no other limit.
    """

    def __init__(self, at_most: int | None = None) -> None:
        # Not lists with a lock: memory may come back in the middle of anything (`_Loan.__del__`).
        self._free: deque[NDArray[np.uint8]] = deque()
        self._out: deque[None] = deque()
        self._most = 0
        self._at_most = at_most

    def __reduce__(self) -> tuple[object, ...]:
        return (Pool, (self._at_most,))

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array with undefined content, like `numpy.empty`."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size < _SMALL:
            return np.empty(shape, dtype)
        memory = self._taken(size)
        self._out.append(None)
        self._most = max(self._most, len(self._out))
        loan = np.asarray(_Loan(memory, self))[:size]
        return loan.view(dtype).reshape(shape)

    def give_back(self, memory: NDArray[np.uint8]) -> None:
        """Take memory back; what is more than was ever used at a time is let go, oldest first."""
        try:
            self._out.pop()
            self._free.append(memory)
            while len(self._free) > self._room:
                self._free.popleft()
        except IndexError:  # another thread was first
            return

    @property
    def _room(self) -> int:
        free = self._most - len(self._out)
        return free if self._at_most is None else min(free, self._at_most)

    def _taken(self, size: int) -> NDArray[np.uint8]:
        for _ in range(len(self._free)):
            try:
                memory = self._free.popleft()
            except IndexError:  # another thread was first
                break
            if size <= memory.size <= _SLACK * size:
                return memory
            self._free.append(memory)
        return np.empty(size, np.uint8)


class _Loan:
    """Owns the memory behind an array: NumPy keeps it as long as there are views."""

    def __init__(self, memory: NDArray[np.uint8], home: Pool) -> None:
        self._memory, self._home = memory, home
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        self._home.give_back(self._memory)
