"""Chunks that are stored as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.volumes.codecs.copying import copy_voxels
from segmend.volumes.codecs.piece import Piece, corrupt


def decode_raw(data: bytes, piece: Piece, out: NDArray[Any]) -> None:
    """Copy a part of little-endian voxels, axes ``(channel, z, y, x)``, x fastest.

    Raises:
        ReadFailedError: with reason ``corrupt``, if the chunk has another size.
    """
    copy_voxels(view_raw(data, piece)[piece.part], out)


def view_raw(data: bytes, piece: Piece) -> NDArray[Any]:
    """The voxels of the whole chunk, one channel, ``(z, y, x)``; read-only, nothing is copied.

    Raises:
        ReadFailedError: as `decode_raw`.
    """
    if len(data) != piece.nbytes:
        found = f"raw data of {len(data)} bytes, where the chunk needs {piece.nbytes}"
        raise corrupt(found + (", and it looks like gzip" if data[:2] == b"\x1f\x8b" else ""))
    stored = np.frombuffer(data, piece.dtype.newbyteorder("<"))
    whole: NDArray[Any] = stored.reshape(piece.channels, *piece.shape)[piece.channel]
    return whole
