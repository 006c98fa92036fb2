"""Arrays stored as plain bytes in a file: read where they lie, whatever part of them is asked for.

By ``pread``, not by a memory map: where a disk fails or a file shrinks, a map kills the process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import VoxelBox
from segmend.core.errors import ReadFailedError, SchemaError
from segmend.core.grid import VoxelGrid
from segmend.volumes.stored_axes import Slices, StoredAxes

SPAN_BYTES = 2**20
"""How much of whole rows is read at a time where only a part of each is wanted."""

WASTE = 8
"""Rows are read whole while that is at most this many times what is wanted of them."""


class Bytes(Protocol):
    """Something that has its bytes in a file."""

    def opened(self) -> AbstractContextManager[int]:
        """A descriptor to read at any position."""
        ...


@dataclass(frozen=True, slots=True)
class RawArrayDriver:
    """A volume that lies in a file as one plain array.

    Attributes:
        bytes: The file.
        start: Byte of the first element.
        stored: Dtype as stored, with its byte order.
        axes: The stored axes, slowest first.
        grid: Where the voxels lie.
        source: For messages.
    """

    bytes: Bytes
    start: int
    stored: np.dtype[Any]
    axes: StoredAxes
    grid: VoxelGrid
    source: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored dtype in the machine's byte order."""
        return self.stored.newbyteorder("=")

    def read(self, voxels: VoxelBox, out: NDArray[Any]) -> Sequence[VoxelBox]:
        """Read a box; everything in such an array is data."""
        if not voxels.size:
            return ()
        target = self.axes.as_stored(out)
        try:
            with self.bytes.opened() as handle:
                self._fill(handle, self.axes.slices(voxels), target)
        except ReadFailedError:
            raise
        except OSError as error:
            raise ReadFailedError(
                f"cannot read voxels {voxels.start} to {voxels.stop} of {self.source}",
                found=str(error),
                fix="Check the disk and the file",
                reason="refused",
            ) from error
        return ()

    def _fill(self, handle: int, box: Slices, target: NDArray[Any]) -> None:
        """Read run by run: a run is a range of one axis with all axes after it."""
        sizes = self.axes.sizes
        axis = max((i for i, s in enumerate(box) if s.stop - s.start < sizes[i]), default=0)
        strides = [self.stored.itemsize * math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
        wanted = box[axis].stop - box[axis].start
        rows = axis > 0 and sizes[axis] <= WASTE * wanted
        outer = axis - 1 if rows else axis
        read = self._read_rows if rows else self._read_run
        for place in product(*(range(s.start, s.stop) for s in box[:outer])):
            first = self.start + sum(i * n for i, n in zip(place, strides[:outer], strict=True))
            inner = tuple(i - s.start for i, s in zip(place, box[:outer], strict=True))
            read(handle, first, box[outer:], strides[outer:], target[inner])

    def _read_run(
        self, handle: int, first: int, box: Slices, strides: list[int], target: NDArray[Any]
    ) -> None:
        start = first + box[0].start * strides[0]
        if target.flags.c_contiguous and self.stored.isnative:
            _pread_into(handle, target.reshape(-1).view(np.uint8), start, self.source)
            return
        step = max(1, SPAN_BYTES // strides[0])
        buffer = np.empty((min(step, len(target)), *target.shape[1:]), self.stored)
        for at in range(0, len(target), step):
            part = buffer[: len(target) - at]
            where = start + at * strides[0]
            _pread_into(handle, part.reshape(-1).view(np.uint8), where, self.source)
            target[at : at + step] = part

    def _read_rows(
        self, handle: int, first: int, box: Slices, strides: list[int], target: NDArray[Any]
    ) -> None:
        """Whole rows, several at a time, of which a range is kept."""
        whole = self.axes.sizes[-len(box) + 1 :]
        step = max(1, SPAN_BYTES // strides[0])
        buffer = np.empty((min(step, len(target)), *whole), self.stored)
        for at in range(0, len(target), step):
            part = buffer[: len(target) - at]
            start = first + (box[0].start + at) * strides[0]
            _pread_into(handle, part.reshape(-1).view(np.uint8), start, self.source)
            target[at : at + step] = part[:, box[1]]


def check_fits(
    where: str, axes: StoredAxes, dtype: np.dtype[Any], *, start: int, size: int
) -> None:
    """Check that an array that a header declares fits its file, before anything is allocated.

    Raises:
        SchemaError: if it reaches past the end of the file.
    """
    needed = start + math.prod(axes.sizes) * dtype.itemsize
    if start < 0 or needed > size:
        raise SchemaError(
            f"{where} is shorter than its header says",
            found=f"shape {axes.sizes} of {dtype} ends at byte {needed}, there are {size}",
            fix="The file is truncated or its header is wrong: get it again",
        )


def _pread_into(handle: int, target: NDArray[np.uint8], start: int, source: str) -> None:
    view, at = memoryview(target.data), 0
    while at < len(view):
        count = os.preadv(handle, [view[at:]], start + at)
        if not count:
            raise ReadFailedError(
                f"{source} ends early",
                found=f"there is no byte {start + at}",
                fix="The file is truncated: get it again",
                reason="truncated",
            )
        at += count
