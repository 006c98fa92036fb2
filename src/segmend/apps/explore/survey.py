"""Everything a page says about a box of a data set, read layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from segmend.apps.explore.slices import Layered, Slice, cut_slices
from segmend.catalog.classes import class_volume
from segmend.catalog.dataset import Dataset
from segmend.catalog.exploration import (
    Sizes,
    class_voxels,
    explored_box,
    intensities,
    segment_sizes,
)
from segmend.catalog.labels import LabelSpec, class_values, segment_ids
from segmend.catalog.listing import given
from segmend.core.box import Box
from segmend.core.errors import BadInputError, GridMismatchError, SchemaError
from segmend.core.grid import VoxelGrid
from segmend.segments.contacts import Contacts, find_contacts
from segmend.volumes.volume import Block, Volume

MOST_VOXELS = 2**27
"""Voxels of one layer that are read at once; their ids take 1 GiB."""

CLASSES = "classes"
"""Name under which the common classes are shown."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerSurvey:
    """What a label layer holds in the box.

    Attributes:
        name: Name of the layer.
        spec: What its values mean, decided from them where the record leaves it.
        volume: The layer.
        covered: Share of the box where voxels are stored.
        sizes: Its segments; None where its values are classes.
        contacts: How they touch; None likewise.
    """

    name: str
    spec: LabelSpec
    volume: Volume
    covered: float
    sizes: Sizes | None
    contacts: Contacts | None


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """A box of a data set.

    Attributes:
        dataset: The data set.
        box: What was read, nm.
        whole: Whether that is all of the image.
        image: The image.
        covered: Share of the box where the image is stored.
        grey: Voxels by grey value, int64 ``(256,)``.
        layers: The label layers.
        classes: Voxels by common class, of those that the layers can tell; empty if they cannot.
        slices: Pictures of the three planes.
    """

    dataset: Dataset
    box: Box
    whole: bool
    image: Volume
    covered: float
    grey: NDArray[np.int64]
    layers: tuple[LayerSurvey, ...]
    classes: dict[str, int]
    slices: tuple[Slice, ...]


def survey(
    dataset: Dataset,
    box: Box | None = None,
    *,
    layers: Collection[str] = (),
    report: Callable[[str, int, int], None] = lambda _stage, _done, _total: None,
) -> Survey:
    """Read a box and look at every layer of it.

    Args:
        dataset: The data set.
        box: nm; by default the middle of the image, or of the box that the record names, as far as
            `segmend.catalog.exploration.FITTING_VOXELS` go.
        layers: Label layers to look at; by default all.
        report: Told the stage, and how many of how many layers are done.

    Raises:
        UnknownNameError: for a layer that there is not.
        OutOfBoundsError: for a box outside the image.
        BadInputError: for a box of too many voxels.
        ReadFailedError: if voxels cannot be read.
    """
    image = dataset.image
    box = box or _default_box(dataset, image)
    names = list(layers or dataset.labels)
    report("reading", 0, len(names) + 2)
    block = _read(image, box, "image")
    slices = cut_slices(block)
    found = []
    for done, name in enumerate(names, start=1):
        report("reading", done, len(names) + 2)
        found.append(_survey_layer(dataset, name, box, slices))
    report("reading", len(names) + 1, len(names) + 2)
    classes = _survey_classes(dataset.name, found, box, slices)
    report("reading", len(names) + 2, len(names) + 2)
    return Survey(
        dataset=dataset,
        box=box,
        whole=block.grid.shape == image.grid.shape,
        image=image,
        covered=_covered(block, block.grid),
        grey=intensities(block),
        layers=tuple(found),
        classes=classes,
        slices=tuple(slices),
    )


def _default_box(dataset: Dataset, image: Volume) -> Box:
    named = dataset.record.default_box_nm
    return explored_box(image.grid, Box(*named) if named else None)


def _survey_layer(dataset: Dataset, name: str, box: Box, slices: list[Slice]) -> LayerSurvey:
    volume, spec = dataset.labels[name], dataset.spec(name)
    wanted = volume.grid.crop(volume.grid.to_voxels(box))
    block = _inside(volume, box, name)
    if block is None:
        return LayerSurvey(name, spec, volume, 0.0, None, None)
    covered = _covered(block, wanted)
    if spec.kind == "semantic":
        values = class_values(block.data, spec, source=volume.source)
        _show(slices, name, Layered(values, block, classes=True))
        return LayerSurvey(name, spec, volume, covered, None, None)
    # The codes of several classes are ids like any others here.
    plain = msgspec.structs.replace(spec, kind="instance")
    ids = segment_ids(block.data, plain, source=volume.source)
    _show(slices, name, Layered(ids, block, classes=False))
    contacts = find_contacts(np.ascontiguousarray(ids), block.grid)
    return LayerSurvey(name, spec, volume, covered, segment_sizes(ids, block), contacts)


def _survey_classes(
    name: str, layers: list[LayerSurvey], box: Box, slices: list[Slice]
) -> dict[str, int]:
    """Voxels by class; none where no layer says anything of them, or those that do lie apart."""
    try:
        volume = class_volume(name, {one.name: (one.volume, one.spec) for one in layers})
    except (SchemaError, GridMismatchError):
        # Every layer was opened and read before: what fails here is only their union.
        return {}
    block = _inside(volume, box, CLASSES)
    if block is None:
        return {}
    if CLASSES not in {one.name for one in layers}:
        _show(slices, CLASSES, Layered(block.data, block, classes=True))
    told = {"background", "ignored"}.union(*(given(one.spec) for one in layers))
    # No layer looked for the other classes: 0 voxels of them would be a finding that nobody made.
    return {kind: n for kind, n in class_voxels(block).items() if kind in told}


def _show(slices: list[Slice], name: str, layer: Layered) -> None:
    for one in slices:
        one.overlay(name, layer)


def _inside(volume: Volume, box: Box, name: str) -> Block | None:
    """The part of a box that a layer covers; None if it covers none of it."""
    common = volume.box.intersect(box)
    return None if common is None else _read(volume, common, name)


def _read(volume: Volume, box: Box, name: str) -> Block:
    voxels = volume.grid.to_voxels(box)
    if voxels.size > MOST_VOXELS:
        raise BadInputError(
            f"a box of {voxels.shape} voxels of '{name}' is too large to explore",
            found=f"it has {voxels.size:,} voxels, {MOST_VOXELS:,} is the most",
            fix="Choose a smaller one with --box z0:z1,y0:y1,x0:x1",
        )
    return volume.read(box)


def _covered(block: Block, wanted: VoxelGrid) -> float:
    """Stored voxels over those of the whole box."""
    return (block.data.size - block.coverage.n_absent) / max(1, wanted.voxels.size)
