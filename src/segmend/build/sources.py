"""A volume of a plan, opened and checked before anything is computed from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segmend.build.injected_layer import injected_layer
from segmend.build.settings import PlanSettings, Source, source_name
from segmend.catalog.dataset import Dataset
from segmend.catalog.dataset import open as open_dataset
from segmend.catalog.labels import segment_ids
from segmend.core.box import Box, VoxelBox
from segmend.core.errors import PlanError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.edits.frozen import FrozenEdits, open_frozen
from segmend.edits.logged import LoggedEdit
from segmend.render.site import Layers
from segmend.segments.label_reader import LabelReader
from segmend.volumes.align import common_grid


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """One volume of a plan.

    Attributes:
        name: Its name within the plan.
        source: What the plan says.
        dataset: The data set.
        layers: What is drawn from.
        grid: The grid that all layers share, of the part that questions are asked about.
        box: That part, nm.
        frozen: Its frozen edits, where the plan takes them from there.
        injected: What repairs the errors that the plan put into its neurons, where it does, and
            why there are not more of them.
    """

    name: str
    source: Source
    dataset: Dataset
    layers: Layers
    grid: VoxelGrid
    box: Box
    frozen: FrozenEdits | None = None
    injected: tuple[LoggedEdit | str, ...] | None = None

    def segments(self, role: Literal["automatic", "neurons", "supervoxels"]) -> Ids:
        """A label layer of the part that questions are asked about, in memory."""
        if role == "automatic" and self.injected is not None:
            return np.asarray(self.layers.automatic.read(self.box).data)
        names = {"automatic": self.source.automatic, "neurons": self.source.neurons}
        return self.dataset.segments(names.get(role, role), self.box)

    def reader(self, role: Literal["automatic", "neurons"]) -> LabelReader:
        """The same, read where it is looked at."""
        name = {"automatic": self.source.automatic, "neurons": self.source.neurons}[role]
        # Opened once: what is opened anew keeps no decoded chunks.
        volume, spec = self.dataset.labels[name], self.dataset.spec(name)

        def read(voxels: VoxelBox) -> Ids:
            data = volume.read(self.grid.to_box(voxels)).data
            return segment_ids(data, spec, source=volume.source)

        return LabelReader(read, self.grid.shape)

    def facts(self) -> dict[str, Any]:
        """What the plan and the card say about it."""
        record = self.dataset.record
        facts = {
            "name": self.name,
            "dataset": record.name,
            "title": record.title,
            "version": record.version,
            "species": record.species,
            "fingerprint": self.dataset.fingerprint(),
            "voxel_size_nm": list(self.grid.voxel_size),
            "offset_nm": list(self.grid.offset),
            "shape": list(self.grid.shape),
            "licence": record.licence.name or record.licence.state,
            "forbids": list(record.licence.forbids),
            "homepage": record.homepage,
            "citation": record.citation.strip(),
            "defects": list(record.defects),
        }
        return facts if self.frozen is None else facts | {"edits": _edit_facts(self.frozen)}


def open_source(source: Source, settings: PlanSettings, folder: Path) -> OpenedSource:
    """Open a volume of a plan.

    Args:
        source: The volume.
        settings: The plan.
        folder: The plan's folder, where its paths start.

    Raises:
        PlanError: if the data set lacks a layer or table that the plan needs.
        GridMismatchError: if its layers lie on different grids.
        VerificationError: if its frozen edits are not what was frozen.
        SegmendError: whatever opening it raises.
    """
    record = source.dataset
    if record.endswith(".toml"):
        record = str(folder / record)
    path = folder / source.path if source.path else None
    dataset = open_dataset(record, path=path, **source.parameters)
    name = source_name(source)
    injected = settings.edits.source == "injected"
    needed = {source.neurons, *_sides(settings)} | (set() if injected else {source.automatic})
    if not needed <= set(dataset.labels):
        raise PlanError(
            f"source '{name}' cannot make edits",
            found=f"its label layers are {sorted(dataset.labels)}",
            fix=f"These edits need the layers {sorted(needed)}",
        )
    if settings.edits.source == "synthetic-log" and "edits" not in dataset.record.tables:
        raise PlanError(
            f"source '{name}' has no edit log",
            found=f"edits.source is 'synthetic-log', its tables are {dataset.record.tables}",
            fix="Use edits.source = 'overlap'",
        )
    log = None
    if injected:
        automatic, log = injected_layer(dataset, source.neurons, name, settings)
    else:
        automatic = dataset.labels[source.automatic]
    roles = {"neurons": source.neurons, **{side: side for side in _sides(settings)}}
    volumes = {"image": dataset.image, "automatic": automatic}
    volumes |= {role: dataset.labels[layer] for role, layer in roles.items()}
    grid = common_grid(volumes)
    box = grid.box if source.box_nm is None else Box(*source.box_nm)
    if not grid.box.contains(box):
        raise PlanError(
            f"box_nm of source '{name}' reaches outside its layers",
            found=f"the box is {box}, the layers cover {grid.box}",
            fix="Give a box inside them, (z, y, x) nm",
        )
    voxels = grid.to_voxels(box)
    frozen = open_frozen(folder / source.edits) if source.edits else None
    part = (grid.crop(voxels), grid.to_box(voxels))
    return OpenedSource(name, source, dataset, Layers(**volumes), *part, frozen, log)


def _sides(settings: PlanSettings) -> tuple[str, ...]:
    """Layers that sides of splits need beyond the two that are compared."""
    return () if settings.edits.sides == "neurons" else (settings.edits.sides,)


def _edit_facts(frozen: FrozenEdits) -> dict[str, Any]:
    """What the plan and the card say about frozen edits; the sums stand for every byte of them."""
    names = ("dataset", "licence", "citation", "counts", "sha256")
    return {name: frozen.manifest.get(name) for name in names}
