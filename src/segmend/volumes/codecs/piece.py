"""What a decoder must deliver from a chunk, and how it says that it cannot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from segmend.core.box import Triple
from segmend.core.errors import ReadFailedError


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one channel of a chunk.

    Attributes:
        dtype: Stored dtype, in the machine's byte order.
        shape: Voxels of the whole chunk, ``(z, y, x)``.
        part: The wanted voxels within the chunk.
        channel: The wanted channel.
        channels: Number of channels the chunk holds.
    """

    dtype: np.dtype[Any]
    shape: Triple
    part: tuple[slice, slice, slice]
    channel: int = 0
    channels: int = 1

    @property
    def voxels(self) -> int:
        """Voxels of the whole chunk, of one channel."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole chunk, all channels, decoded."""
        return self.voxels * self.channels * self.dtype.itemsize


def corrupt(found: str) -> ReadFailedError:
    """The error of a decoder; who knows the chunk's name adds it."""
    return ReadFailedError("a chunk cannot be decoded", found=found, reason="corrupt")
