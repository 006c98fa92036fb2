"""How the remote data sets are laid out: scales, encodings, chunks and offsets of their layers.

What of it is published is in the record and in reference/datasets.md, D; a chunk, an encoding or a
coarser scale that nobody has stated is a choice, marked ``# chosen``. Sizes are always the
stand-in's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from segmend.core.box import Point, Triple

Holds = Literal["image", "neurons", "automatic", "mitochondria", "classes", "regions"]
Encoding = Literal["raw", "jpeg", "compressed_segmentation", "n5"]

CUBE: Triple = (64, 64, 64)


@dataclass(frozen=True, slots=True)
class Layout:
    """One layer of a stand-in.

    Attributes:
        holds: What of the tissue it holds.
        voxel_sizes: nm per voxel ``(z, y, x)`` of each scale, finest first.
        encoding: How chunks are stored.
        chunk: Voxels per chunk ``(z, y, x)``.
        inset: Voxels of the tissue that the layer leaves out at each of its six faces.
        empty: Scales that are described and hold no chunk.
        names: Names of the regions by id; None: the layer names none.
    """

    holds: Holds
    voxel_sizes: tuple[Point, ...]
    encoding: Encoding = "compressed_segmentation"
    chunk: Triple = CUBE
    inset: Triple = (0, 0, 0)
    empty: tuple[int, ...] = ()
    names: Mapping[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """One data set.

    Attributes:
        layers: Layers by name, of every version alike.
        voxel_size: nm per voxel of the tissue, ``(z, y, x)``.
        shape: Voxels of the tissue.
        offset: Voxels ``(z, y, x)`` between the origin of space and the tissue.
    """

    layers: Mapping[str, Layout]
    voxel_size: Point = (8, 8, 8)
    shape: Triple = (48, 80, 96)
    offset: Triple = (0, 0, 0)


def _sections(z: float, *xy: float) -> tuple[Point, ...]:
    return tuple((z, size, size) for size in xy)


def _cubes(*sizes: float) -> tuple[Point, ...]:
    return tuple((size, size, size) for size in sizes)


_BRAIN = {3: "AL(R)", 9: "AL(L)", 41: "EB", 96: "ME(R)"}
_CORD = {1: "LegNp(T1)(L)", 27: "ANm"}
_FISH = {1: "Retina", 2: "Forebrain", 6: "Spinal Cord"}

_MICRONS = Layout("neurons", _sections(40, 8, 16, 32), chunk=(32, 256, 256), inset=(4, 7, 9))
_FLYWIRE = Layout("neurons", _sections(40, 16, 32), inset=(2, 10, 10))  # chunk chosen
_JPEG = Layout("image", _cubes(8, 16, 32), "jpeg")  # chunk and coarser scales chosen
_FLY = Layout("neurons", _cubes(8, 16, 32))  # chunk and coarser scales chosen
_FLY_REGIONS = Layout("regions", _cubes(256), chunk=(8, 8, 8), names=_CORD)  # chunk chosen
_FISH_REGIONS = Layout("regions", _sections(30, 512, 1024), chunk=(512, 32, 32), names=_FISH)

LAYOUTS: dict[str, Published] = {
    "microns": Published(
        voxel_size=(40, 8, 8),
        shape=(48, 96, 140),
        offset=(14816, 13824, 13824),
        layers={
            "image": Layout("image", _sections(40, 8, 16, 32, 64), "raw", (16, 128, 128)),
            "neurons": _MICRONS,
            "automatic": replace(_MICRONS, holds="automatic"),
            "nuclei": Layout("mitochondria", _sections(40, 64)),  # all chosen
        },
    ),
    "malecns": Published(
        shape=(48, 96, 112),
        layers={
            "image": _JPEG,
            "image_lossless": Layout("image", _cubes(8, 16), "n5"),  # chunk chosen
            "neurons": _FLY,
            "nuclei": Layout("mitochondria", _cubes(16, 32)),
            "tissue_classes": Layout("classes", _cubes(16, 32)),
            "regions": replace(_FLY_REGIONS, names=_BRAIN, voxel_sizes=_cubes(256, 512)),
            "regions_vnc": _FLY_REGIONS,
        },
    ),
    "flywire": Published(
        voxel_size=(40, 16, 16),
        shape=(40, 80, 96),
        offset=(14, 1430, 5090),
        layers={
            "image": Layout("image", _sections(40, 4, 8, 16, 32), "jpeg", empty=(0,)),
            "image_v14": Layout("image", _sections(40, 4, 8), "jpeg"),
            "neurons": _FLYWIRE,
        },
    ),
    "h01": Published(
        voxel_size=(33, 8, 8),
        shape=(40, 140, 96),
        layers={
            "image": Layout("image", _sections(33, 4, 8, 16), "jpeg", (16, 128, 128)),
            "neurons": Layout("neurons", _sections(33, 8, 16), chunk=(32, 128, 128)),
        },
    ),
    "fish1": Published(
        voxel_size=(30, 16, 16),
        shape=(40, 96, 96),
        layers={
            "image": Layout("image", _sections(30, 8, 16, 32), "jpeg"),  # encoding chosen
            "neurons": Layout("neurons", _sections(30, 16, 32), chunk=(64, 128, 128)),
            "somas": Layout("mitochondria", _sections(30, 64)),  # all chosen
            **dict.fromkeys(("regions", "regions_1", "regions_2", "regions_3"), _FISH_REGIONS),
        },
    ),
    "hemibrain": Published(
        layers={
            "image": _JPEG,
            "neurons": _FLY,
            "mitochondria": Layout("mitochondria", _cubes(16, 32)),
            "tissue_classes": Layout("classes", _cubes(16, 32)),
            "regions": Layout("regions", _cubes(16, 32)),
        },
    ),
    "manc": Published(
        layers={
            "image": _JPEG,
            "neurons": _FLY,
            "regions": _FLY_REGIONS,
        },
    ),
}
"""Layouts by name of the data set."""
