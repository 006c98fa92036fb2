"""Fingerprints of pictures: one that any change breaks, and one that small changes do not.

The second is a difference hash: the picture is averaged over a grid of cells, and each cell is told
from its right neighbour as brighter, darker or much the same, in two bits. Change of brightness or
contrast, noise and recoding leave it nearly as it was. Flat cells set no bit, so that two
small objects before an empty background are not taken for alike.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from segmend.core.sample import CHANNELS, channel, em_channel

Bits = NDArray[np.uint8]
"""Packed bits of a fingerprint, uint8."""

EM_CELLS = 16
GEOMETRY_CELLS = 8
EM_BYTES = 2 * EM_CELLS**2 // 8
GEOMETRY_BYTES = 3 * 2 * GEOMETRY_CELLS**2 // 8

_EM_STEP = 2.0  # grey levels between neighbours below which a cell is flat
_DEPTH_STEP = 0.005


def exact(picture: NDArray[np.generic]) -> bytes | None:
    """16 bytes that any change of a picture changes; None for a picture of one value."""
    flat = np.ascontiguousarray(picture).reshape(-1)
    bits = flat.view(f"u{flat.itemsize}")  # halves compare ten times as slowly
    if not bits.size or (bits == bits[0]).all():
        return None
    # The processor has instructions for SHA-256: half the time of BLAKE2.
    return hashlib.sha256(bits.data).digest()[:16]


def em_fingerprint(image: NDArray[np.uint8]) -> Bits:
    """Fingerprint of the tissue of an EM slice, whatever its masks.

    Args:
        image: uint8 ``(rows, columns, 3)``.

    Returns:
        `EM_BYTES` bytes.
    """
    return _differences(image[..., em_channel("em")].astype(np.float32), EM_CELLS, _EM_STEP)


def geometry_fingerprint(geometry: NDArray[np.float16]) -> Bits:
    """Fingerprint of the depth in all three views, whichever segment is called A.

    Args:
        geometry: float16 (views, channels, rows, columns).

    Returns:
        `GEOMETRY_BYTES` bytes.
    """
    assert geometry.shape[1] == len(CHANNELS)
    depth = geometry[:, channel("depth")].astype(np.float32)
    return np.concatenate([_differences(view, GEOMETRY_CELLS, _DEPTH_STEP) for view in depth])


def _differences(picture: NDArray[np.float32], cells: int, step: float) -> Bits:
    means = _cell_means(picture, cells, cells + 1)
    slope = np.diff(means, axis=1)
    return np.packbits(np.concatenate([(slope > step).ravel(), (slope < -step).ravel()]))


def _cell_means(picture: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    row = np.linspace(0, picture.shape[0], rows + 1).astype(int)
    column = np.linspace(0, picture.shape[1], columns + 1).astype(int)
    sums = np.add.reduceat(np.add.reduceat(picture, row[:-1], axis=0), column[:-1], axis=1)
    means: NDArray[np.float32] = sums / np.outer(np.diff(row), np.diff(column))
    return means
