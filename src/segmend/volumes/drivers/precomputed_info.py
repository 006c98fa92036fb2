"""The ``info`` file of a precomputed volume, parsed strictly: it may come from anywhere.

The format (neuroglancer, ``src/datasource/precomputed/volume.md``): all its triples are
``(x, y, z)``; here they become ``(z, y, x)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from segmend.core.box import Triple, nanometres
from segmend.core.errors import BadInputError, SchemaError
from segmend.core.grid import VoxelGrid
from segmend.store.store import Request
from segmend.volumes.drivers.precomputed_shards import Sharding

MAX_INFO_BYTES = 2**24
"""Largest ``info`` that is parsed; real ones have a few kilobytes."""

MAX_CHUNK_BYTES = 2**31
"""Largest decoded chunk that is believed; real ones have megabytes."""

MAX_VOLUME_BYTES = 2**62
"""Largest volume that is believed. It also keeps chunk ids, whose bits are at most three more than
those of the number of chunks, within 64 bits."""

_DTYPES = (
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "float32",
)

_UNSIGNED = ("uint8", "uint16", "uint32", "uint64")

_ALLOWED: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "jpeg": (("uint8",), (1, 3)),
    "png": (("uint8", "uint16"), (1, 2, 3, 4)),
    "compressed_segmentation": (("uint32", "uint64"), ()),
    "compresso": (_UNSIGNED, (1,)),
    "crackle": (_UNSIGNED, (1,)),
    "raw": (_DTYPES, ()),
}
"""Dtypes and numbers of channels that each encoding can hold; no numbers: any."""

_Whole3 = tuple[int, int, int]


class _Sharding(msgspec.Struct, forbid_unknown_fields=False):
    preshift_bits: int
    hash: str
    minishard_bits: int
    shard_bits: int
    minishard_index_encoding: str = "raw"
    data_encoding: str = "raw"


class _Scale(msgspec.Struct):
    key: str
    size: _Whole3
    resolution: tuple[float, float, float]
    chunk_sizes: list[_Whole3]
    encoding: str
    voxel_offset: _Whole3 = (0, 0, 0)
    compressed_segmentation_block_size: _Whole3 | None = None
    sharding: dict[str, Any] | None = None


class _Info(msgspec.Struct):
    data_type: str
    num_channels: int
    scales: list[_Scale]
    kind: str = msgspec.field(name="@type", default="neuroglancer_multiscale_volume")


@dataclass(frozen=True, slots=True)
class ScaleInfo:
    """One scale, checked.

    Attributes:
        key: Folder of the scale.
        grid: Where its voxels lie.
        voxel_offset: Index of the first voxel in the names of chunks, ``(z, y, x)``.
        chunk_shape: Voxels per chunk, ``(z, y, x)``.
        encoding: How chunks are stored.
        block: Block of ``compressed_segmentation``, ``(z, y, x)``; None for other encodings.
        sharding: How chunks are spread over shards; None where each is an object.
    """

    key: str
    grid: VoxelGrid
    voxel_offset: Triple
    chunk_shape: Triple
    encoding: str
    block: Triple | None
    sharding: Sharding | None


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """A volume, checked.

    Attributes:
        dtype: Stored dtype.
        channels: Number of channels.
        scales: Finest first.
    """

    dtype: np.dtype[Any]
    channels: int
    scales: tuple[ScaleInfo, ...]


def parse_info(data: bytes, *, where: str) -> VolumeInfo:
    """Parse and check an ``info`` file.

    Args:
        data: Its bytes.
        where: Its URL, for messages.

    Raises:
        SchemaError: naming the field that is missing, impossible or not supported.
    """
    if len(data) > MAX_INFO_BYTES:
        raise SchemaError(f"{where} is too large for an info file", found=f"{len(data)} bytes")
    try:
        info = msgspec.json.decode(data, type=_Info)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaError(
            f"{where} does not describe a precomputed volume", found=str(error)
        ) from error
    try:
        return _checked(info)
    except BadInputError as error:
        raise SchemaError(f"{where} cannot be used", found=str(error)) from error


def _checked(info: _Info) -> VolumeInfo:
    if info.kind != "neuroglancer_multiscale_volume":
        raise SchemaError("it describes no volume", found=f"@type is {info.kind!r}")
    if info.data_type not in _DTYPES:
        raise SchemaError(f"data_type {info.data_type!r} is unknown", found=f"known: {_DTYPES}")
    if not 1 <= info.num_channels <= 2**16:
        raise SchemaError(f"num_channels must be 1 to 65536, got {info.num_channels}")
    if not info.scales:
        raise SchemaError("it has no scales")
    dtype = np.dtype(info.data_type)
    scales = [_checked_scale(scale, info, dtype) for scale in info.scales]
    scales.sort(key=lambda scale: math.prod(scale.grid.voxel_size_pm))
    return VolumeInfo(dtype, info.num_channels, tuple(scales))


def _checked_scale(scale: _Scale, info: _Info, dtype: np.dtype[Any]) -> ScaleInfo:
    where = f"scale {scale.key!r}"
    if scale.encoding not in _ALLOWED:
        raise SchemaError(
            f"{where}: encoding {scale.encoding!r} cannot be read", found=f"known: {list(_ALLOWED)}"
        )
    dtypes, channels = _ALLOWED[scale.encoding]
    wide_png = scale.encoding == "png" and info.data_type == "uint16"
    if info.data_type not in dtypes or info.num_channels not in (
        (1,) if wide_png else channels or (info.num_channels,)
    ):
        held = f"{info.num_channels} channel(s) of {info.data_type}"
        raise SchemaError(f"{where}: encoding {scale.encoding!r} cannot hold {held}")
    size, offset = _reversed(scale.size), _reversed(scale.voxel_offset)
    if min(size) < 1 or math.prod(size) * info.num_channels * dtype.itemsize > MAX_VOLUME_BYTES:
        raise SchemaError(f"{where}: no volume has size {scale.size} (x, y, z)")
    if not all(map(math.isfinite, scale.resolution)):
        raise SchemaError(f"{where}: resolution {scale.resolution} is not finite")
    chunk = _checked_chunk(scale, where)
    if math.prod(chunk) * info.num_channels * dtype.itemsize > MAX_CHUNK_BYTES:
        raise SchemaError(f"{where}: chunks of {scale.chunk_sizes[0]} voxels are too large")
    return ScaleInfo(
        _checked_key(scale.key),
        _grid(scale, size, offset),
        offset,
        chunk,
        scale.encoding,
        _checked_block(scale, where),
        _checked_sharding(scale, where),
    )


def _grid(scale: _Scale, size: Triple, offset: Triple) -> VoxelGrid:
    z, y, x = (float(v) for v in reversed(scale.resolution))
    pm = VoxelGrid((z, y, x), (0, 0, 0), size).voxel_size_pm
    corner = (offset[0] * pm[0], offset[1] * pm[1], offset[2] * pm[2])
    if max(map(abs, corner)) >= 2**53:
        raise SchemaError(f"voxel_offset {scale.voxel_offset} is out of range")
    if max((o + n) * s for o, n, s in zip(offset, size, pm, strict=True)) >= 2**62:
        raise SchemaError(f"size {scale.size} at {scale.resolution} nm is larger than any tissue")
    return VoxelGrid((z, y, x), nanometres(corner), size)


def _checked_chunk(scale: _Scale, where: str) -> Triple:
    if not scale.chunk_sizes or (scale.sharding and len(scale.chunk_sizes) > 1):
        raise SchemaError(f"{where}: it has {len(scale.chunk_sizes)} chunk sizes")
    for chunk in scale.chunk_sizes:
        if min(chunk) < 1:
            raise SchemaError(f"{where}: no chunk has {chunk} voxels")
    return _reversed(scale.chunk_sizes[0])


def _checked_block(scale: _Scale, where: str) -> Triple | None:
    if scale.encoding != "compressed_segmentation":
        return None
    block = scale.compressed_segmentation_block_size
    if block is None or min(block) < 1 or math.prod(block) > 2**24:
        raise SchemaError(f"{where}: compressed_segmentation_block_size is {block}")
    return _reversed(block)


def _checked_sharding(scale: _Scale, where: str) -> Sharding | None:
    if scale.sharding is None:
        return None
    return parse_sharding(scale.sharding, where=where)


def parse_sharding(spec: object, *, where: str) -> Sharding:
    """The sharding of a volume, of meshes or of skeletons from its JSON object.

    Raises:
        SchemaError: if it is not a sharding that the specification allows.
    """
    if not isinstance(spec, dict) or spec.get("@type") != "neuroglancer_uint64_sharded_v1":
        raise SchemaError(f"{where}: its sharding is no neuroglancer_uint64_sharded_v1")
    try:
        fields = msgspec.convert(spec, _Sharding)
    except msgspec.ValidationError as error:
        raise SchemaError(f"{where}: unusable sharding", found=str(error)) from error
    return Sharding(**msgspec.structs.asdict(fields))


def _checked_key(key: str) -> str:
    key = key.rstrip("/")
    try:
        Request(key)
    except BadInputError as error:
        raise SchemaError(
            f"scale {key!r} lies outside the volume's own folder",
            fix="Open the folder that the key leads to",
        ) from error
    return key


def _reversed(xyz: _Whole3) -> Triple:
    return (xyz[2], xyz[1], xyz[0])
