"""segmend: data, benchmarks and models for proofreading electron-microscopy segmentations.

>>> import segmend as sg
>>> box = sg.Box.around((500, 900, 900), size=400)   # nm, (z, y, x)
>>> fib25 = sg.open("fib25", path="fib25.h5")        # doctest: +SKIP
>>> em = fib25.image[box]                            # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from segmend.catalog.dataset import Dataset as Dataset
    from segmend.catalog.dataset import open as open  # noqa: A004
    from segmend.core.box import Box as Box
    from segmend.core.box import VoxelBox as VoxelBox
    from segmend.core.grid import VoxelGrid as VoxelGrid
    from segmend.patches.patches import Patches as Patches
    from segmend.patches.patches import batches as batches
    from segmend.patches.sampling import GridSampler as GridSampler
    from segmend.patches.sampling import PointSampler as PointSampler
    from segmend.patches.sampling import RandomSampler as RandomSampler
    from segmend.patches.shape import LocalShape as LocalShape
    from segmend.patches.sources import Mix as Mix
    from segmend.patches.sources import mix as mix
    from segmend.patches.targets import Affinities as Affinities
    from segmend.patches.targets import Binary as Binary
    from segmend.patches.targets import Boundaries as Boundaries
    from segmend.patches.targets import Centres as Centres
    from segmend.patches.targets import Semantic as Semantic
    from segmend.patches.targets import SignedDistance as SignedDistance
    from segmend.shards.reader import Benchmark as Benchmark
    from segmend.shards.reader import benchmark as benchmark
    from segmend.shards.selection import Selection as Selection
    from segmend.volumes.open import open_volume as open_volume
    from segmend.volumes.volume import Volume as Volume

_PUBLIC = {
    "Affinities": "segmend.patches.targets",
    "Binary": "segmend.patches.targets",
    "Boundaries": "segmend.patches.targets",
    "Centres": "segmend.patches.targets",
    "GridSampler": "segmend.patches.sampling",
    "LocalShape": "segmend.patches.shape",
    "Mix": "segmend.patches.sources",
    "Patches": "segmend.patches.patches",
    "PointSampler": "segmend.patches.sampling",
    "RandomSampler": "segmend.patches.sampling",
    "Semantic": "segmend.patches.targets",
    "SignedDistance": "segmend.patches.targets",
    "batches": "segmend.patches.patches",
    "mix": "segmend.patches.sources",
    "Benchmark": "segmend.shards.reader",
    "Box": "segmend.core.box",
    "benchmark": "segmend.shards.reader",
    "Dataset": "segmend.catalog.dataset",
    "Volume": "segmend.volumes.volume",
    "Selection": "segmend.shards.selection",
    "VoxelBox": "segmend.core.box",
    "VoxelGrid": "segmend.core.grid",
    "open": "segmend.catalog.dataset",
    "open_volume": "segmend.volumes.open",
}

__all__ = [
    "Affinities",
    "Benchmark",
    "Binary",
    "Boundaries",
    "Box",
    "Centres",
    "Dataset",
    "GridSampler",
    "LocalShape",
    "Mix",
    "Patches",
    "PointSampler",
    "RandomSampler",
    "Selection",
    "Semantic",
    "SignedDistance",
    "Volume",
    "VoxelBox",
    "VoxelGrid",
    "batches",
    "benchmark",
    "mix",
    "open",
    "open_volume",
]


def __getattr__(name: str) -> Any:
    # Lazy, so that `import segmend` stays fast and needs no extra.
    if name not in _PUBLIC:
        raise AttributeError(f"module 'segmend' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
