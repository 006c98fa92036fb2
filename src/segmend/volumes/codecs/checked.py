"""Checksums and reversible filters around a chunk's bytes."""

from __future__ import annotations

from typing import Any

import google_crc32c
import numcodecs
import numpy as np
from numpy.typing import NDArray

from segmend.volumes.codecs.piece import corrupt

CRC32C_BYTES = 4


def strip_crc32c(data: bytes) -> bytes:
    """Verify and remove the CRC-32C at the end, four bytes little-endian.

    As the codec ``crc32c`` of Zarr v3 (https://zarr-specs.readthedocs.io, codecs, crc32c).

    Raises:
        ReadFailedError: with reason ``corrupt``, if it is wrong or missing.
    """
    if len(data) < CRC32C_BYTES:
        raise corrupt("crc32c: the data are shorter than the checksum")
    body = bytes(data[:-CRC32C_BYTES])
    stored = int.from_bytes(data[-CRC32C_BYTES:], "little")
    found = google_crc32c.value(body)
    if found != stored:
        raise corrupt(f"crc32c: the bytes have {found:#010x}, the checksum says {stored:#010x}")
    return body


def undo_filter(config: dict[str, Any], data: Any) -> NDArray[np.uint8]:
    """Undo one filter of numcodecs.

    Raises:
        ReadFailedError: with reason ``corrupt``, if it cannot be undone or its checksum is wrong.
    """
    try:
        decoded = numcodecs.get_codec(config).decode(data)
    except (RuntimeError, ValueError) as error:
        raise corrupt(f"{config['id']}: {error}") from error
    return np.frombuffer(decoded, np.uint8)
