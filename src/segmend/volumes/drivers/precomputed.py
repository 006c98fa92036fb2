"""Neuroglancer's precomputed volumes: a folder with an ``info`` file and chunks, sharded or not."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple
from segmend.core.errors import BadInputError, ReadFailedError, require
from segmend.core.grid import VoxelGrid
from segmend.store.cache import cached
from segmend.store.store import Request, Store
from segmend.volumes.chunked import Chunk, ChunkedDriver
from segmend.volumes.codecs.piece import Piece, corrupt
from segmend.volumes.drivers.precomputed_info import ScaleInfo, VolumeInfo, parse_info
from segmend.volumes.drivers.precomputed_shards import ShardedKeys
from segmend.volumes.drivers.shard_keys import morton_codes
from segmend.volumes.volume import Volume

Decoder = Callable[[bytes, Piece, NDArray[Any]], None]

ENCODED_SLACK = 2**16
"""Bytes that a chunk of any size may take beyond four times its decoded size."""


@dataclass(frozen=True, slots=True)
class PrecomputedScale:
    """One scale and one channel of a precomputed volume, as a `ChunkLayout`.

    Attributes:
        scale: What ``info`` says of the scale.
        dtype: Stored dtype.
        channels: Number of channels that chunks hold.
        channel: The one that is read.
        shards: Where chunks lie; None where each is an object of its own.
        opened: Tells chunks that are kept decoded from those of other times it was opened.
    """

    scale: ScaleInfo
    dtype: np.dtype[Any]
    channels: int
    channel: int
    shards: ShardedKeys | None
    opened: object = field(default_factory=object, compare=False, repr=False)

    @property
    def grid(self) -> VoxelGrid:
        """Where the voxels lie."""
        return self.scale.grid

    @property
    def chunk_shape(self) -> Triple:
        """Voxels per chunk, ``(z, y, x)``."""
        return self.scale.chunk_shape

    @property
    def name(self) -> str:
        """Folder of the scale."""
        return self.scale.key

    def locate(self, store: Store, chunks: Sequence[Chunk]) -> Sequence[Request | None]:
        """Objects of their own, or ranges of shards."""
        if self.shards is None:
            return [Request(self._key(chunk)) for chunk in chunks]
        if not chunks:
            return []
        grid = [-(-n // c) for n, c in zip(self.grid.shape, self.chunk_shape, strict=True)]
        cells = np.array([chunk.index for chunk in chunks], np.int64)
        return self.shards.locate(store, morton_codes(cells[:, ::-1], grid[::-1]))

    def decode(self, data: bytes, chunk: Chunk, out: NDArray[Any]) -> None:
        """Decode the wanted voxels of a chunk."""
        piece = self._piece(chunk)
        _decoder(self.scale)(self._unpacked(data, piece), piece, out)

    def identity(self, chunk: Chunk) -> Hashable | None:
        """Of this opening; None for compressed_segmentation, which decodes in part."""
        return None if self.scale.block is not None else (self.opened, chunk.index)

    def decoded(self, data: bytes, chunk: Chunk) -> NDArray[Any]:
        """All voxels of a chunk."""
        if self.scale.encoding == "raw" and self.channels == 1:
            from segmend.volumes.codecs.raw import view_raw

            piece = self._piece(chunk)
            return view_raw(self._unpacked(data, piece), piece)
        voxels = np.empty(chunk.shape, self.dtype)
        self.decode(data, chunk.whole, voxels)
        return voxels

    def _piece(self, chunk: Chunk) -> Piece:
        return Piece(self.dtype, chunk.shape, chunk.source, self.channel, self.channels)

    def _unpacked(self, data: bytes, piece: Piece) -> bytes:
        limit = 4 * piece.nbytes + ENCODED_SLACK
        if self.shards is not None:
            data = self.shards.unpack(data, limit=limit)
        if len(data) > limit:
            raise corrupt(f"{len(data)} bytes are more than a chunk of {piece.shape} voxels takes")
        return data

    def view(self, decoded: NDArray[Any]) -> NDArray[Any]:
        """As it is."""
        return decoded

    def _key(self, chunk: Chunk) -> str:
        spans = zip(chunk.spans, self.scale.voxel_offset, strict=True)
        z, y, x = (f"{span.start + offset}-{span.stop + offset}" for span, offset in spans)
        return f"{self.scale.key}/{x}_{y}_{z}"


def open_precomputed(
    place: Store | str | Path, *, channel: int | None = None, absent: int | None = None
) -> Volume:
    """Open a precomputed volume; the finest scale first, `Volume.at` picks another.

    A chunk that is not stored is certified absent: the format allows it, and means background.

    Args:
        place: The folder that holds ``info``, as a path, a URL or a store.
        channel: Which channel to read, from 0; needed where there are several.
        absent: What certified absent voxels count as; None: bare arrays of them are errors.

    Raises:
        ReadFailedError: if there is no ``info`` or it cannot be read.
        SchemaError: if ``info`` does not describe a volume that can be read.
        BadInputError: for a channel that does not exist, or none where there are several.
    """
    store = place if isinstance(place, Store) else _open_store(place)
    data = store.read("info")
    if data is None:
        raise ReadFailedError(
            f"there is no precomputed volume at {store.url}",
            found="it has no file 'info'",
            fix="Give the folder that holds 'info'",
            reason="missing",
            url=f"{store.url}/info",
        )
    info = parse_info(data, where=f"{store.url}/info")
    chosen = _checked_channel(info, channel, store.url)
    chunks = cached(store, data)
    drivers = tuple(_driver(chunks, info, scale, chosen) for scale in info.scales)
    return Volume(drivers[0], drivers, absent)


def _driver(store: Store, info: VolumeInfo, scale: ScaleInfo, channel: int) -> ChunkedDriver:
    _decoder(scale)
    shards = ShardedKeys(scale.key, scale.sharding) if scale.sharding else None
    layout = PrecomputedScale(scale, info.dtype, info.channels, channel, shards)
    return ChunkedDriver(store, layout)


def _checked_channel(info: VolumeInfo, channel: int | None, url: str) -> int:
    if channel is None and info.channels > 1:
        raise BadInputError(
            f"{url} has {info.channels} channels",
            fix=f"Pass channel=0 to channel={info.channels - 1}",
        )
    chosen = channel or 0
    if not 0 <= chosen < info.channels:
        raise BadInputError(f"{url} has no channel {chosen}", found=f"it has {info.channels}")
    return chosen


def _open_store(place: str | Path) -> Store:
    from segmend.store.open import open_store

    return open_store(place)


def _decoder(scale: ScaleInfo) -> Decoder:
    """The decoder of a scale; libraries are imported where they are needed."""
    if scale.encoding == "raw":
        from segmend.volumes.codecs.raw import decode_raw

        return decode_raw
    if scale.encoding in ("jpeg", "png"):
        require("simplejpeg", extra="build")
        from segmend.volumes.codecs.images import decode_jpeg, decode_png

        return decode_jpeg if scale.encoding == "jpeg" else decode_png
    if scale.block is not None:
        from segmend.volumes.codecs.compressed_segmentation import decode_compressed_segmentation

        return partial(decode_compressed_segmentation, block=scale.block)
    require("compresso" if scale.encoding == "compresso" else "crackle", extra="build")
    from segmend.volumes.codecs.label_libraries import decode_labels

    return partial(decode_labels, library=scale.encoding)
