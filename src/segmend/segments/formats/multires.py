"""Neuroglancer's multi-resolution meshes: what `info` and the manifests of segments say.

Format: https://neuroglancer-docs.web.app/datasource/precomputed/mesh.html, "Multi-resolution mesh
format". A segment has levels of detail; each is cut into *fragments*, the nodes of an octree, whose
vertices are whole numbers of 10 or 16 bits within the node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.volumes.drivers.precomputed_info import parse_sharding
from segmend.volumes.drivers.precomputed_shards import Sharding

Floats = NDArray[np.float64]

MULTIRES_TYPE = "neuroglancer_multilod_draco"

MAX_LEVELS = 32
"""An octree of more levels is a damaged file."""

MAX_MANIFEST = 2**24
"""Bytes of a manifest: a million fragments."""

LARGEST = 1e15
"""Numbers of a transform or a manifest from here on are damage; they could overflow later."""

WHOLE = 0.01
"""Vertices stored as floats (igneous quantises through Draco) lie this close to whole numbers."""

_HEAD = 28


class _Info(msgspec.Struct):
    vertex_quantization_bits: int
    transform: Annotated[list[float], msgspec.Meta(min_length=12, max_length=12)]
    lod_scale_multiplier: float
    sharding: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class MultiresInfo:
    """How all meshes of a folder are stored.

    Attributes:
        bits: Bits of a vertex coordinate within its fragment: 10 or 16.
        transform: float64 ``(3, 4)``, from stored positions ``(x, y, z, 1)`` to nm.
        scale_multiplier: What manifests' scales are multiplied by.
        sharding: The sharding parameters, None if every segment has files of its own.
    """

    bits: int
    transform: Floats
    scale_multiplier: float
    sharding: Sharding | None

    @property
    def mirrors(self) -> bool:
        """Whether the transform turns a surface inside out."""
        return float(np.linalg.det(self.transform[:, :3])) < 0

    def to_nm(self, stored: Floats) -> Floats:
        """Stored positions ``(..., 3)``, ``(x, y, z)``, in nm, ``(z, y, x)``."""
        # A matrix product may round differently from call to call, and open seams.
        x, y, z = (stored[..., k, None] * self.transform[::-1, k] for k in range(3))
        return x + y + z + self.transform[::-1, 3]


@dataclass(frozen=True, slots=True)
class Level:
    """One level of detail of a segment.

    Attributes:
        number: 0 is the finest.
        error_nm: Detail below this size is lost: the larger of the scale the manifest states and
            the lattice of its vertices.
        nodes: uint32 ``(n, 3)``: place of each fragment in the grid, ``(x, y, z)``.
        ranges: int64 ``(n, 2)``: first byte and first byte outside, in the segment's data.
        stop: First byte after the level, in the segment's data.
        origin: Stored position of node (0, 0, 0), ``(x, y, z)``.
        size: Size of a node, stored units, ``(x, y, z)``.
    """

    number: int
    error_nm: float
    nodes: NDArray[np.uint32]
    ranges: NDArray[np.int64]
    stop: int
    origin: Floats
    size: Floats

    def positions(self, fragment: int, points: Floats, info: MultiresInfo, name: str) -> Floats:
        """Vertices of a fragment in nm, ``(z, y, x)``.

        The last lattice point of one node is the first of the next, to the bit: seams close.

        Raises:
            BadInputError: if they are no whole numbers of the stated bits.
        """
        whole = np.rint(points)
        last = 2**info.bits - 1
        if points.size and not (
            (np.abs(points - whole) <= WHOLE).all() and whole.min() >= 0 and whole.max() <= last
        ):
            raise BadInputError(
                f"vertices of {name} must be whole numbers from 0 to {last}",
                found=f"they reach from {points.min():g} to {points.max():g}",
            )
        return info.to_nm(self.origin + self.size * (self.nodes[fragment] + whole / last))

    def bounds(self, info: MultiresInfo) -> tuple[Floats, Floats]:
        """Lowest and highest corner of every fragment: float64 ``(n, 3)``, nm, ``(z, y, x)``."""
        corners = np.array([[k >> 2 & 1, k >> 1 & 1, k & 1] for k in range(8)], np.float64)
        stored = self.origin + self.size * (self.nodes[:, None] + corners)
        at = info.to_nm(stored)
        return at.min(axis=1), at.max(axis=1)


def multires_info(data: bytes, name: str) -> MultiresInfo:
    """Parse the ``info`` of a folder of multi-resolution meshes.

    Raises:
        BadInputError: if a member is missing, of another type, or impossible.
    """
    try:
        info = msgspec.json.decode(data, type=_Info)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadInputError(f"{name} describes no meshes", found=str(error)) from error
    transform = np.array(info.transform, np.float64).reshape(3, 4)
    sound = (np.abs(transform) < LARGEST).all() and np.linalg.matrix_rank(transform[:, :3]) == 3
    if info.vertex_quantization_bits not in (10, 16) or not sound:
        raise BadInputError(
            f"{name} must state 10 or 16 bits and an invertible transform",
            found=f"{info.vertex_quantization_bits} bits, transform {info.transform}",
        )
    multiplier = info.lod_scale_multiplier
    if not 0 <= multiplier < LARGEST:
        raise BadInputError(f"{name} must state a scale, got lod_scale_multiplier {multiplier}")
    sharding = None if info.sharding is None else parse_sharding(info.sharding, where=name)
    return MultiresInfo(info.vertex_quantization_bits, transform, multiplier, sharding)


def manifest_levels(data: bytes, info: MultiresInfo, name: str) -> tuple[Level, ...]:
    """Parse the manifest of a segment.

    Args:
        data: The manifest.
        info: The folder's ``info``.
        name: What errors call it.

    Raises:
        BadInputError: if its size is not what its counts say, a number is not finite, or a node
            has no size.
    """
    count = int.from_bytes(data[24:_HEAD], "little")
    lists = _HEAD + 20 * count
    if not _HEAD <= lists <= len(data) <= MAX_MANIFEST or not 1 <= count <= MAX_LEVELS:
        raise BadInputError(
            f"{name} is truncated or no mesh manifest",
            found=f"{count} levels claimed in {len(data)} bytes",
        )
    floats = np.frombuffer(data, "<f4", 6).astype(np.float64)
    scales = np.frombuffer(data, "<f4", count, _HEAD).astype(np.float64)
    offsets = np.frombuffer(data, "<f4", 3 * count, _HEAD + 4 * count).astype(np.float64)
    fragments = np.frombuffer(data, "<u4", count, _HEAD + 16 * count).tolist()
    if lists + 16 * sum(fragments) != len(data):
        raise BadInputError(
            f"{name} is truncated or no mesh manifest",
            found=f"{sum(fragments)} fragments claimed in {len(data)} bytes",
        )
    values = np.concatenate([floats, scales, offsets])
    if not (np.abs(values) < LARGEST).all() or floats[:3].min() <= 0 or scales.min() < 0:
        raise BadInputError(
            f"{name} must hold finite numbers and nodes of a size",
            found=f"chunk shape {floats[:3]}, grid origin {floats[3:]}, scales {scales}",
        )
    levels, at, byte = [], lists, 0
    for number, n in enumerate(fragments):
        nodes = np.frombuffer(data, "<u4", 3 * n, at).reshape(3, n).T
        stops = byte + np.cumsum(np.frombuffer(data, "<u4", n, at + 12 * n).astype(np.int64))
        starts = np.concatenate([np.array([byte], np.int64), stops[:-1]])[:n]
        size = floats[:3] * 2.0**number
        origin = floats[3:] + offsets[3 * number : 3 * number + 3]
        error = _error_nm(float(scales[number]), size, info)
        byte = int(stops[-1]) if n else byte
        ranges = np.stack([starts, stops], 1)
        levels.append(Level(number, error, nodes, ranges, byte, origin, size))
        at += 16 * n
    return tuple(levels)


def level_for(levels: tuple[Level, ...], pixel_nm: float | None) -> Level:
    """The coarsest level that loses nothing a pixel could show; the finest without a pixel size.

    Neuroglancer draws by the same rule: a node is not refined once its scale times the multiplier
    is no larger than a pixel. We also count the lattice of the vertices, which some writers' scales
    leave out, and never choose a level without triangles where another has some.
    """
    drawn = [level for level in levels if (level.ranges[:, 1] > level.ranges[:, 0]).any()]
    if not drawn:
        return levels[0]
    fine = [level for level in drawn if pixel_nm is not None and level.error_nm <= pixel_nm]
    return fine[-1] if fine else drawn[0]


def _error_nm(scale: float, size: Floats, info: MultiresInfo) -> float:
    stretch = np.linalg.norm(info.transform[:, :3], axis=0)
    lattice = (stretch * size).max() / (2**info.bits - 1)
    return float(max(scale * info.scale_multiplier * stretch.max(), lattice))
