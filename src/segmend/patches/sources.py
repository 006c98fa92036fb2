"""Where patches come from: data sets on one grid each, and mixes of them by share of samples."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segmend.catalog.dataset import Dataset
from segmend.catalog.dataset import open as open_dataset
from segmend.catalog.labels import IGNORED, VOCABULARY, LabelSpec, no_segments
from segmend.core.box import Box, Point, Triple, VoxelBox, picometres
from segmend.core.errors import BadInputError, GridMismatchError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import unsigned
from segmend.core.registry import unknown_name
from segmend.patches.resample import scale_of
from segmend.volumes.volume import Block, Volume

SLAB = 32
"""Sections of labels in memory at a time while they are counted."""


@dataclass(frozen=True, slots=True, eq=False)  # a key of a mix: itself, not its arrays
class Source:
    """Image and labels of one volume, and the part of them that patches may touch.

    Attributes:
        name: Data set, and volume where it has several.
        image: EM, uint8.
        labels: Ids on voxels of the image, of all or a part of it; None: no target of ids can be
            made.
        spec: What the ids mean.
        classes: Positions in the common vocabulary, likewise, or None.
        licence: Terms of use, carried by every sample.
        within: nm; patches stay inside. None: all that its layers share.
    """

    name: str
    image: Volume
    labels: Volume | None
    spec: LabelSpec = LabelSpec("instance")  # noqa: RUF009  frozen
    classes: Volume | None = None
    licence: str = ""
    within: Box | None = None

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8:
            raise BadInputError(
                f"the image of '{self.name}' must be uint8", found=f"it is {self.image.dtype}"
            )
        for what, layer in (("labels", self.labels), ("classes", self.classes)):
            if layer is not None and not _aligned(layer.grid, self.image.grid):
                raise GridMismatchError(
                    f"{what} and image of '{self.name}' lie on different grids",
                    found=f"{layer.grid}; {self.image.grid}",
                    fix="Take the scale that fits, labels.at(voxel_size)",
                )
        if self.within is not None and not self._shared.contains(self.within):
            raise BadInputError(
                f"'{self.name}' does not hold {self.within}",
                found=f"its layers cover {self._shared}",
            )

    @property
    def _shared(self) -> Box:
        """What all layers cover: labels are often of a part of the image."""
        shared: Box | None = self.image.box
        for layer in (self.labels, self.classes):
            if layer is not None and shared is not None:
                shared = shared.intersect(layer.box)
        if shared is None:
            raise GridMismatchError(f"image and labels of '{self.name}' have no voxel in common")
        return shared

    @property
    def box(self) -> Box:
        """What patches may touch, nm."""
        return self.within or self._shared

    @property
    def voxels(self) -> VoxelBox:
        """Voxels of the image that patches may touch."""
        return self.image.grid.to_voxels(self.box, "inner")

    def _block(self, layer: Volume, voxels: VoxelBox) -> Block:
        """A layer's own voxels of a box of the image's."""
        if layer.grid != self.image.grid:
            voxels = layer.grid.to_voxels(self.image.grid.to_box(voxels), "exact")
        return layer.read_voxels(voxels)

    def read_image(self, voxels: VoxelBox) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """The EM of a box, and where it was stored; None: everywhere.

        Raises:
            ReadFailedError: if voxels cannot be read.
        """
        block = self.image.read_voxels(voxels)
        return block.data, None if block.coverage.complete else block.coverage.mask()

    def read_labels(self, voxels: VoxelBox) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Ids with background and invalid 0, and 1 where the layer says something, uint8.

        Ids are unsigned, as wide as they are stored. The mask is read-only where all is known.

        Raises:
            ReadFailedError: if voxels cannot be read.
            SchemaError: if the layer holds classes, or an id that its record calls background.
        """
        assert self.labels is not None
        block = self._block(self.labels, voxels)
        nothing = no_segments(block.data, self.spec, source=self.labels.source)
        ids = unsigned(block.data)  # of this read alone
        known = np.broadcast_to(np.uint8(1), ids.shape)
        if not block.coverage.complete:
            known = block.coverage.mask().view(np.uint8)
        most = np.iinfo(ids.dtype).max
        for value in self.spec.invalid:
            if value <= most:
                known = known & (ids != ids.dtype.type(value))
        # Afterwards: where 0 itself is invalid, background of another value is not.
        for value in nothing:
            if value <= most:
                np.putmask(ids, ids == ids.dtype.type(value), 0)
        return ids, known

    def read_classes(self, voxels: VoxelBox) -> NDArray[np.uint8] | None:
        """Common classes, `IGNORED` where nothing is known; None where there are none."""
        if self.classes is None:
            return None
        block = self._block(self.classes, voxels)
        values = np.asarray(block.data, np.uint8)
        if not block.coverage.complete:
            values = np.where(block.coverage.mask(), values, np.uint8(IGNORED))
        return values

    def mask(self, want: Literal["foreground", "known"]) -> NDArray[np.bool_]:
        """Where there is what is wanted, over all `voxels`, read section by section.

        Args:
            want: ``foreground``: an id that is not background; ``known``: labels or classes say
                something, background included.

        Raises:
            BadInputError: if the source has no layer that could tell.
        """
        whole = self.voxels
        if self.labels is None and (want == "foreground" or self.classes is None):
            raise BadInputError(f"'{self.name}' has no labels to look for {want} in")
        mask = np.zeros(whole.shape, np.bool_)
        for low in range(whole.start[0], whole.stop[0], SLAB):
            slab = whole.clip(0, low, low + SLAB)
            part = mask[low - whole.start[0] :][: slab.shape[0]]
            if self.labels is not None:
                ids, known = self.read_labels(slab)
                part |= (ids != 0) if want == "foreground" else known.view(np.bool_)
            if want == "known" and (classes := self.read_classes(slab)) is not None:
                part |= classes != IGNORED
        return mask


def _aligned(one: VoxelGrid, other: VoxelGrid) -> bool:
    """Whether voxels of one grid are voxels of the other."""
    apart = zip(one.offset_pm, other.offset_pm, one.voxel_size_pm, strict=True)
    return one.voxel_size_pm == other.voxel_size_pm and all((a - b) % s == 0 for a, b, s in apart)


def source_of(
    dataset: Dataset,
    *,
    labels: str | None = None,
    classes: bool = False,
    ignore: Collection[str] = (),
    within: Box | None = None,
) -> Source:
    """A source from a data set at hand.

    Args:
        dataset: As `sg.open` gives it.
        labels: Its layer of ids; by default its only one, else ``neurons``.
        classes: Also read the common classes.
        ignore: Classes that shall not count: a true ignore value, not background.
        within: nm; patches stay inside.

    Raises:
        UnknownNameError: for a layer or class that does not exist.
    """
    unknown = [name for name in ignore if name not in VOCABULARY]
    if unknown:
        raise unknown_name("class", unknown[0], dict.fromkeys(VOCABULARY))
    instances = [n for n in dataset.labels if dataset.spec(n).kind == "instance"]
    chosen = labels or ("neurons" if "neurons" in instances else next(iter(instances), None))
    name = f"{dataset.name}/{dataset.volume}" if dataset.volume else dataset.name
    return Source(
        name,
        dataset.image,
        dataset.labels[chosen] if chosen else None,
        dataset.spec(chosen) if chosen else LabelSpec("instance"),
        dataset.classes_without(ignore, ignored_as="ignored") if classes or ignore else None,
        dataset.record.licence.name,
        within,
    )


@dataclass(frozen=True, slots=True)
class Mix:
    """Sources and the share of the samples that each gets, whatever their sizes.

    Attributes:
        sources: Each of its own name.
        shares: Positive, of sum 1.
        voxel_size: nm ``(z, y, x)`` that every patch is resampled to; None: as stored.
    """

    sources: tuple[Source, ...]
    shares: tuple[float, ...]
    voxel_size: tuple[float, float, float] | None = None

    def scale(self, source: Source) -> Point:
        """Length of a patch's voxel in stored ones of a source, by axis; 1 where none is asked."""
        stored = source.image.grid.voxel_size
        return scale_of(self.voxel_size or stored, stored)

    def box(self, source: Source, voxels: VoxelBox, size: Triple) -> Box:
        """Where a patch of ``size`` voxels that reads a box of stored ones lies, nm."""
        grid = source.image.grid
        if self.voxel_size is None:
            return grid.to_box(voxels)
        start = grid.to_box(voxels).start_pm
        step = picometres(self.voxel_size)
        z, y, x = (a + n * w for a, n, w in zip(start, size, step, strict=True))
        return Box.from_picometres(start, (z, y, x))


def mix(
    weights: Mapping[str, float] | Mapping[Source, float],
    *,
    ignore: Collection[str] = (),
    classes: bool = False,
    voxel_size: Sequence[float] | None = None,
) -> Mix:
    """Mix data sets by share of samples.

    Args:
        weights: By name in the catalogue, or by `Source`: its share of the samples, up to a factor.
        ignore: Classes that shall not count anywhere.
        classes: Also read the common classes; implied by ``ignore``.
        voxel_size: nm ``(z, y, x)`` to resample to; by default patches stay as stored.

    Raises:
        BadInputError: for no source, a weight that is not positive, two sources of one name.
        UnknownNameError: for a data set or class that does not exist.

    Example:
        >>> import segmend as sg
        >>> both = sg.mix({"snemi3d": 1.0, "mitoem2-beta": 2.0})  # doctest: +SKIP
    """
    if not weights:
        raise BadInputError("a mix needs at least one data set")
    for key, weight in weights.items():
        if isinstance(weight, bool) or not (math.isfinite(weight) and weight > 0):
            name = key if isinstance(key, str) else key.name
            raise BadInputError(
                f"the weight of '{name}' must be a positive number",
                found=f"got {weight!r}",
                fix="Leave out what shall not occur",
            )
    sources = tuple(
        source_of(open_dataset(key), classes=classes, ignore=ignore)
        if isinstance(key, str)
        else key
        for key in weights
    )
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise BadInputError("sources of a mix need names of their own", found=f"names {names}")
    total = sum(weights.values())
    size: Any = None
    if voxel_size is not None:
        size = tuple(float(v) for v in voxel_size)
        if len(size) != 3 or not all(math.isfinite(v) and v > 0 for v in size):
            raise BadInputError("voxel_size must be three positive nm", found=f"got {voxel_size}")
    return Mix(sources, tuple(w / total for w in weights.values()), size)
