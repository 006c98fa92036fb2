"""``graphene://``: the segmentation behind a PyChunkedGraph server, through cloud-volume.

An extra: pip install 'segmend[graphene]'. Tokens are where cloud-volume looks for them
(``~/.cloudvolume/secrets``); segmend neither reads nor stores them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError, ReadFailedError, SchemaError, require
from segmend.core.grid import VoxelGrid
from segmend.volumes.volume import Volume


@dataclass(frozen=True, slots=True)
class GrapheneDriver:
    """One scale.

    Attributes:
        server: URL of the server's table, ``https://...``.
        scale: Place among the scales, finest first.
        agglomerate: Whether ids are root ids; otherwise supervoxels.
        timestamp: For root ids: Unix time in seconds at which they held; None: now.
        grid: Where the voxels lie.
        dtype: uint64.
    """

    server: str
    scale: int
    agglomerate: bool
    timestamp: float | None
    grid: VoxelGrid
    dtype: np.dtype[Any]

    @property
    def source(self) -> str:
        """Server and scale."""
        return f"graphene://{self.server} (scale {self.scale})"

    def read(self, voxels: VoxelBox, out: NDArray[Any]) -> Sequence[VoxelBox]:
        """Read a box. A chunk that is not stored is a failure: cloud-volume does not say which."""
        if not voxels.size:
            return ()
        remote = _remote(self.server, self.agglomerate, self.timestamp, os.getpid())
        z, y, x = remote.meta.voxel_offset(self.scale)[::-1]
        box = tuple(
            slice(int(a + o), int(b + o))
            for a, b, o in zip(voxels.start, voxels.stop, (z, y, x), strict=True)
        )[::-1]
        try:
            found = remote.download(
                box, mip=self.scale, agglomerate=self.agglomerate, timestamp=self.timestamp
            )
        except _failures() as error:
            raise ReadFailedError(
                f"cannot read voxels {voxels.start} to {voxels.stop} of {self.source}",
                found=f"{type(error).__name__}: {error}"[:500],
                reason="missing"
                if type(error).__name__ == "EmptyVolumeException"
                else "connection",
                url=self.server,
            ) from error
        out[...] = np.asarray(found)[..., 0].T
        return ()


def open_graphene(
    url: str,
    *,
    agglomerate: bool = True,
    timestamp: float | None = None,
    absent: int | None = None,
) -> Volume:
    """Open the segmentation behind a PyChunkedGraph server.

    Args:
        url: ``https://SERVER/segmentation/table/TABLE``, with or without ``graphene://``.
        agglomerate: Read root ids; False: the supervoxels, which never change.
        timestamp: For root ids: Unix time in seconds at which they held. Without it the ids are
            those of the moment of each read, and two reads may differ.
        absent: As everywhere; this driver reports nothing absent.

    Raises:
        MissingDependencyError: without cloud-volume.
        BadInputError: for another kind of URL, or a fraction of a second.
        ReadFailedError: if the server cannot be reached or refuses.
        SchemaError: if what it describes cannot be a volume.
    """
    require("cloudvolume", extra="graphene")
    if timestamp is not None and timestamp != int(timestamp):
        raise BadInputError(
            f"cannot read the root ids of {timestamp!r}: it is not a whole second",
            found="cloud-volume would silently read those of the next whole second",
            fix="Give whole seconds; just before an edit is the second before it",
        )
    server = url.removeprefix("graphene://").removeprefix("middleauth+")
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.netloc or "/table/" not in parts.path:
        raise BadInputError(
            f"'{url}' is not the URL of a chunked graph",
            fix="Write graphene://https://SERVER/segmentation/table/TABLE",
        )
    if parts.username or parts.password:
        raise BadInputError(
            f"the URL of {parts.hostname} holds a password",
            fix="Leave it out: cloud-volume reads tokens from ~/.cloudvolume/secrets",
        )
    meta = _remote(server, agglomerate, timestamp, os.getpid()).meta
    first = GrapheneDriver(server, 0, agglomerate, timestamp, _grid(meta, 0), np.dtype(np.uint64))
    if np.dtype(meta.data_type) != np.uint64 or meta.num_channels != 1:
        raise SchemaError(
            f"{first.source} cannot be a volume of ids",
            found=f"{meta.num_channels} channel(s) of {meta.data_type}",
        )
    scales = tuple(replace(first, scale=s, grid=_grid(meta, s)) for s in meta.available_mips)
    return Volume(first, scales, absent)


def _grid(meta: Any, scale: int) -> VoxelGrid:
    size = [float(v) for v in meta.resolution(scale)][::-1]
    corner = [int(v) for v in meta.voxel_offset(scale)][::-1]
    shape = [int(v) for v in meta.volume_size(scale)][::-1]
    return VoxelGrid(size, [c * s for c, s in zip(corner, size, strict=True)], shape)


@functools.lru_cache(maxsize=8)
def _remote(server: str, agglomerate: bool, timestamp: float | None, process: int) -> Any:  # noqa: ARG001  connections belong to one process
    from cloudvolume import CloudVolume

    try:
        return CloudVolume(
            f"graphene://{server}",
            agglomerate=agglomerate,
            timestamp=timestamp,
            fill_missing=False,
            bounded=True,
            progress=False,
            cache=False,
            parallel=1,
        )
    except _failures() as error:
        raise ReadFailedError(
            f"cannot open graphene://{server}",
            found=f"{type(error).__name__}: {error}"[:500],
            fix="Check the URL and the token that cloud-volume uses for this server",
            reason="connection",
            url=server,
        ) from error


def _failures() -> tuple[type[Exception], ...]:
    """What cloud-volume raises: its own errors have no common base."""
    from cloudvolume import exceptions

    own = [e for e in vars(exceptions).values() if isinstance(e, type) and issubclass(e, Exception)]
    return (*own, OSError, ValueError, LookupError, TypeError, RuntimeError)
