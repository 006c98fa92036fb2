"""What an export is to hold, settled before anything is read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

import numpy as np

from segmend.core.box import Triple, VoxelBox
from segmend.core.errors import BadInputError, OutOfBoundsError
from segmend.core.grid import VoxelGrid
from segmend.store.cache import CachedStore
from segmend.volumes.chunked import ChunkedDriver
from segmend.volumes.volume import Volume

Kind = Literal["image", "labels"]

CHUNK: Triple = (64, 64, 64)
"""Voxels per stored chunk: what Neuroglancer's own tools write."""

BLOCK: Triple = (128, 256, 256)
"""Voxels per block, the unit of resuming: 64 MiB of uint64 labels, 32 chunks."""

FORMAT = "segmend export 1"

_DTYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32")


@dataclass(frozen=True, slots=True)
class Plan:
    """What an export is to hold.

    Attributes:
        volume: Where it comes from, at one scale.
        voxels: What is wanted, in voxels of that scale.
        kind: Grey values or ids of segments.
        absent: What certified absent voxels are written as; None: they are an error.
        target: Name of the format to write.
    """

    volume: Volume
    voxels: VoxelBox
    kind: Kind
    absent: int | None
    target: str

    @property
    def grid(self) -> VoxelGrid:
        """Where the exported voxels lie."""
        return self.volume.grid.crop(self.voxels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype that is written: the source's, little-endian."""
        return self.volume.dtype.newbyteorder("<")

    @property
    def chunk(self) -> Triple:
        """Voxels per stored chunk; no axis longer than the box."""
        a, b, c = (min(n, m) for n, m in zip(CHUNK, self.voxels.shape, strict=True))
        return (a, b, c)

    def blocks(self) -> list[VoxelBox]:
        """Disjoint boxes that fill the export, x fastest; in voxels of the export."""
        return list(pieces(VoxelBox((0, 0, 0), self.voxels.shape), BLOCK))

    def to_json(self) -> dict[str, Any]:
        """Everything that the exported voxels and their layout depend on."""
        return {
            "format": FORMAT,
            "source": self.volume.source,
            "source_version": version_of_source(self.volume),
            "voxel_size_nm": list(self.grid.voxel_size),
            "box_nm": {"start": list(self.grid.box.start), "stop": list(self.grid.box.stop)},
            "voxels": {"start": list(self.voxels.start), "stop": list(self.voxels.stop)},
            "axes": ["z", "y", "x"],
            "dtype": self.dtype.name,
            "kind": self.kind,
            "absent_as": None if self.absent is None else str(self.absent),
            "target": self.target,
            "chunk": list(self.chunk),
            "block": list(BLOCK),
        }

    def digest(self) -> str:
        """Names the plan: 64 hex digits."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


def plan_export(
    volume: Volume, voxels: VoxelBox, *, kind: Kind | None, absent: int | None, target: str
) -> Plan:
    """Check what is asked for.

    Args:
        volume: Where it comes from, at the scale that is wanted.
        voxels: What is wanted.
        kind: None: floats and 8-bit integers are an image, 32- and 64-bit integers are labels.
        absent: What certified absent voxels are written as; None: they are an error.
        target: Name of the format to write.

    Raises:
        OutOfBoundsError: if the box reaches outside the volume or is empty.
        BadInputError: if the dtype leaves the kind open, cannot be written, or cannot hold
            ``absent``.
    """
    if not voxels.size or not volume.grid.voxels.contains(voxels):
        raise OutOfBoundsError(
            f"voxels {voxels.start} to {voxels.stop} (z, y, x) are no box inside {volume.source}",
            found=f"it has shape {volume.grid.shape} and covers {volume.grid.box}",
            fix="Ask for a box inside it",
        )
    if volume.dtype.name not in _DTYPES:
        raise BadInputError(
            f"{volume.source} cannot be exported",
            found=f"its dtype is {volume.dtype}",
            fix=f"Dtypes that can: {', '.join(_DTYPES)}",
        )
    if absent is not None and not _holds(volume.dtype, absent):
        raise BadInputError(f"absent voxels cannot be written as {absent} in {volume.dtype}")
    return Plan(volume, voxels, kind or _kind_of(volume), absent, target)


def version_of_source(volume: Volume) -> str | None:
    """Digest of the metadata files of a remote volume; None where the source states no version."""
    driver = volume.driver
    if isinstance(driver, ChunkedDriver) and isinstance(driver.store, CachedStore):
        return driver.store.version
    return None


def pieces(box: VoxelBox, size: Triple) -> Iterator[VoxelBox]:
    """Disjoint boxes of at most ``size`` voxels that fill a box, x fastest."""
    counts = (math.ceil(n / m) for n, m in zip(box.shape, size, strict=True))
    for index in product(*map(range, counts)):
        start = [a + i * n for a, i, n in zip(box.start, index, size, strict=True)]
        stop = [min(a + n, b) for a, n, b in zip(start, size, box.stop, strict=True)]
        yield VoxelBox((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _kind_of(volume: Volume) -> Kind:
    dtype = volume.dtype
    if dtype.kind == "f" or dtype.itemsize == 1:
        return "image"
    if dtype.itemsize >= 4:
        return "labels"
    raise BadInputError(
        f"is {volume.source} an image or labels?",
        found=f"its dtype, {dtype}, is used for both",
        fix=f"Say which: {' or '.join(get_args(Kind))}",
    )


def _holds(dtype: np.dtype[Any], value: int) -> bool:
    if dtype.kind == "f":
        return abs(value) <= 2**24
    limits = np.iinfo(dtype)
    return int(limits.min) <= value <= int(limits.max)
