"""Random crops of volumes to learn from, each a pure function of the seed and its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.catalog.labels import IGNORED, LabelSpec, segment_ids
from segmend.core.box import Triple, VoxelBox
from segmend.core.errors import BadInputError, GridMismatchError, NoSamplesError
from segmend.core.random import keyed_generator
from segmend.segmentation.affinities import affinity_targets
from segmend.segmentation.inference import read_mirrored
from segmend.volumes.volume import Volume


@dataclass(frozen=True, slots=True)
class Tissue:
    """What there is to learn from.

    Attributes:
        image: EM, uint8.
        neurons: Ids on the same grid; None: no affinities are learnt.
        spec: What the ids mean.
        classes: Position in `vocabulary`, or `IGNORED`, on the same grid; None: none are learnt.
        vocabulary: Names of the classes.
        zero_is: What id 0 of the neurons is: ``unknown`` or ``boundary``.
    """

    image: Volume
    neurons: Volume | None
    spec: LabelSpec
    classes: Volume | None
    vocabulary: tuple[str, ...] = ()
    zero_is: str = "unknown"

    def __post_init__(self) -> None:
        if self.neurons is None and self.classes is None:
            raise NoSamplesError("there is nothing to learn: neither neurons nor classes")
        for name, layer in (("neurons", self.neurons), ("classes", self.classes)):
            if layer is not None and layer.grid != self.image.grid:
                raise GridMismatchError(
                    f"{name} and image must lie on one grid",
                    found=f"{layer.source}: {layer.grid}; {self.image.source}: {self.image.grid}",
                )


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """One crop.

    Attributes:
        image: uint8 ``(z, y, x)``.
        affinities: uint8 ``(c, z, y, x)``; no channels where none are learnt.
        valid: Which affinities count, bool.
        classes: uint8 ``(z, y, x)``; `IGNORED` where nothing counts.
    """

    image: NDArray[np.uint8]
    affinities: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    classes: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CropReader:
    """Reads crops of one size out of a box.

    Attributes:
        tissue: What there is.
        voxels: The box to stay in, in voxels of the image.
        size: Of a crop, voxels ``(z, y, x)``.
        offsets: Of the affinities.
    """

    tissue: Tissue
    voxels: VoxelBox
    size: Triple
    offsets: tuple[Triple, ...]

    def __post_init__(self) -> None:
        if any(s > n for s, n in zip(self.size, self.voxels.shape, strict=True)):
            raise BadInputError(
                f"a crop of {self.size} voxels does not fit",
                found=f"the box has {self.voxels.shape} (z, y, x)",
                fix="Choose smaller crops or a larger box",
            )

    def random(self, seed: int, number: int) -> Crop:
        """Crop ``number``: any start in the box, each as likely; flipped, turned, and dimmed."""
        draw = keyed_generator("crop", seed, number)
        free = [n - s + 1 for n, s in zip(self.voxels.shape, self.size, strict=True)]
        start = [v + int(draw.integers(n)) for v, n in zip(self.voxels.start, free, strict=True)]
        image, ids, classes = self._read((start[0], start[1], start[2]))
        for axis in range(3):
            if draw.integers(2):
                image, ids, classes = (np.flip(a, axis) for a in (image, ids, classes))
        if self.size[1] == self.size[2] and draw.integers(2):
            image, ids, classes = (np.swapaxes(a, 1, 2) for a in (image, ids, classes))
        return self._crop(_dimmed(image, draw), ids, classes)

    def grid(self) -> list[Crop]:
        """Crops side by side that fill the box as far as whole ones fit: for validation."""
        starts = [
            range(a, b - s + 1, s)
            for a, b, s in zip(self.voxels.start, self.voxels.stop, self.size, strict=True)
        ]
        return [
            self._crop(*self._read((z, y, x)))
            for z in starts[0]
            for y in starts[1]
            for x in starts[2]
        ]

    def _read(self, start: Triple) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        stop = [a + s for a, s in zip(start, self.size, strict=True)]
        box = VoxelBox(start, (stop[0], stop[1], stop[2]))
        tissue = self.tissue
        image = read_mirrored(tissue.image, box)
        ids = np.zeros(self.size, np.uint64)
        if tissue.neurons is not None:
            stored = tissue.neurons.read_voxels(box).data
            ids = segment_ids(stored, tissue.spec, source=tissue.neurons.source)
        classes = np.full(self.size, IGNORED, np.uint8)
        if tissue.classes is not None:
            classes = tissue.classes.read_voxels(box).data
        return image, ids, classes

    def _crop(self, image: NDArray[Any], ids: NDArray[Any], classes: NDArray[Any]) -> Crop:
        offsets: Sequence[Triple] = self.offsets if self.tissue.neurons is not None else ()
        values, valid = affinity_targets(ids, offsets, zero_is=self.tissue.zero_is)
        return Crop(np.ascontiguousarray(image), values, valid, np.ascontiguousarray(classes))


def _dimmed(image: NDArray[Any], draw: np.random.Generator) -> NDArray[np.uint8]:
    """Contrast, brightness and noise changed a little."""
    contrast, brightness = draw.uniform(0.8, 1.2), draw.uniform(-20, 20)
    noise = draw.normal(0, draw.uniform(0, 8), image.shape).astype(np.float32)
    values = (image.astype(np.float32) - 128) * contrast + 128 + brightness + noise
    return np.clip(values, 0, 255).astype(np.uint8)
