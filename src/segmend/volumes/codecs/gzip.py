"""gzip within volumes, where whatever is wrong with it means a corrupt chunk or index."""

from __future__ import annotations

from segmend.core.errors import ReadFailedError
from segmend.store import encoding
from segmend.volumes.codecs.piece import corrupt


def gunzip(data: bytes, *, limit: int) -> bytes:
    """As `segmend.store.encoding.gunzip`.

    Raises:
        ReadFailedError: with reason ``corrupt``, also if it holds more than ``limit`` bytes.
    """
    try:
        return encoding.gunzip(data, limit=limit)
    except ReadFailedError as error:
        raise corrupt(f"gzip: {error.found}") from error
