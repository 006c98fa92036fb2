"""Strips and tiles of TIFF files, decoded into exactly the voxels they must hold.

Source: TIFF 6.0 (compression, predictor); Adobe Photoshop TIFF Technical Notes (deflate); the
registered value of libtiff for Zstandard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.volumes.codecs.piece import corrupt

CODECS = {
    1: "none",
    5: "lzw",
    8: "deflate",
    32946: "deflate",
    32773: "packbits",
    50000: "zstd",
}
"""Values of the tag Compression that are read; the lossy ones have no place in volumes."""


@dataclass(frozen=True, slots=True)
class SegmentCoding:
    """How the strips or tiles of a file are encoded.

    Attributes:
        codec: One of the values of `CODECS`.
        differenced: Whether neighbours along x are subtracted (Predictor 2).
        dtype: Stored dtype, with its byte order.
    """

    codec: str
    differenced: bool
    dtype: np.dtype[Any]

    def decode(self, data: bytes, shape: tuple[int, int]) -> NDArray[Any]:
        """Decode one strip or tile.

        Args:
            data: Its bytes as stored.
            shape: Rows and columns it must hold.

        Returns:
            Array ``(y, x)`` in the stored dtype; possibly a read-only view of ``data``.

        Raises:
            ReadFailedError: with reason ``corrupt``, if it does not hold just that.
        """
        size = shape[0] * shape[1] * self.dtype.itemsize
        decoded = data if self.codec == "none" else self._decompressed(data, size)
        if len(decoded) != size:
            raise corrupt(f"a strip or tile decodes to {len(decoded)} bytes, not to {size}")
        array = np.frombuffer(decoded, self.dtype).reshape(shape)
        if not self.differenced:
            return array
        native = self.dtype.newbyteorder("=")
        return np.cumsum(array, axis=1, dtype=native)

    def _decompressed(self, data: bytes, size: int) -> Any:
        import imagecodecs

        decode = getattr(imagecodecs, f"{self.codec}_decode")
        failure = getattr(imagecodecs, f"{self.codec.capitalize()}Error", RuntimeError)
        try:
            # Into a buffer of our own: it can hold no more than the strip or tile may have.
            return decode(data, out=np.empty(size, np.uint8))
        except (failure, RuntimeError, ValueError) as error:
            raise corrupt(f"{self.codec}: {error}") from error
