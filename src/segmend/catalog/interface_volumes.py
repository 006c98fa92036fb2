"""Image and segmentation of a file of SynEM's interfaces, on one frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segmend.annotations.interfaces import SEGMENTATION
from segmend.core.errors import SchemaError
from segmend.volumes.drivers.hdf5 import open_hdf5
from segmend.volumes.volume import Volume

IMAGE = "em"
VOXEL_SIZE = (28.0, 11.24, 11.24)
"""nm ``(z, y, x)``, of the whole data set."""


def interface_volumes(
    path: str | Path, *, voxel_size: Sequence[float] = VOXEL_SIZE
) -> tuple[Volume, Volume]:
    """The image and the segmentation that interfaces were found in.

    The image is larger: it carries a border, of one width on both sides of an axis, that the
    features of an interface reach into. Where the file lies in the data set is not published.

    Args:
        path: The file.
        voxel_size: nm per voxel ``(z, y, x)``.

    Returns:
        The image, which starts at 0 nm, and the segmentation inside it.

    Raises:
        ReadFailedError: if the file is missing or damaged.
        SchemaError: if the border is not one width on both sides.
    """
    image = open_hdf5(path, IMAGE, voxel_size=voxel_size)
    inner = open_hdf5(path, SEGMENTATION, voxel_size=voxel_size)
    more = [a - b for a, b in zip(image.grid.shape, inner.grid.shape, strict=True)]
    if any(n < 0 or n % 2 for n in more):
        raise SchemaError(
            f"where the segmentation of {path} lies in its image cannot be told",
            found=f"{inner.grid.shape} (z, y, x) in {image.grid.shape}: no border of one width",
            fix="Get the file again",
        )
    offset = [n // 2 * size for n, size in zip(more, voxel_size, strict=True)]
    return image, open_hdf5(path, SEGMENTATION, voxel_size=voxel_size, offset=offset)
