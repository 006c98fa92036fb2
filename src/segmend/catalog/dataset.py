"""Open a record: layers as volumes, tables as values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segmend.catalog.annotations import Annotations
from segmend.catalog.cases import with_cases
from segmend.catalog.classes import As, class_volume, detected, tells_classes
from segmend.catalog.extent import check_box
from segmend.catalog.labels import LabelSpec, segment_ids
from segmend.catalog.opening import Location, layer_file, location, open_layer
from segmend.catalog.record import MAIN, Layer, Record, load_record
from segmend.catalog.tissue import cached_tissue
from segmend.core.box import Box
from segmend.core.errors import BadInputError, SchemaError, require
from segmend.core.ids import Ids
from segmend.core.registry import unknown_name
from segmend.core.settings import settings
from segmend.store.atomic import sha256_file
from segmend.synthetic.history import Synapse, TrueEdit
from segmend.volumes.volume import Volume

SYNAPSES = "synapses"
"""The table that samples are made of, where a data set has one."""

if TYPE_CHECKING:  # it comes with the generator and its kernels
    from segmend.synthetic.tissue import Skeleton


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set at hand: a record and where its bytes are. Nothing is read before it is asked for.

    Attributes:
        record: What is known about it.
        at: Where its files lie.
        version: Version of the segmentation.
        volume: Which of its volumes; empty where it has one.
    """

    record: Record
    at: Location
    version: str
    volume: str = ""

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        return self.record.name

    @property
    def layers(self) -> dict[str, Layer]:
        """What is recorded of its layers."""
        return self.record.layers_of(self.version, self.volume)

    @property
    def image(self) -> Volume:
        """The electron micrograph, uint8.

        Raises:
            SchemaError: if it is stored in another dtype.
        """
        volume = self._open("image")
        if volume.dtype != np.uint8:
            raise SchemaError(
                f"{volume.source} cannot be the image of '{self.name}'",
                found=f"its dtype is {volume.dtype}",
                fix="An EM image is uint8; rescale it once, explicitly, and store that",
            )
        return volume

    @property
    def labels(self) -> LabelLayers:
        """The label layers by name."""
        return LabelLayers(self)

    @property
    def classes(self) -> Volume:
        """The common classes (`segmend.catalog.labels.VOCABULARY`), whatever layers hold them."""
        return self.classes_without()

    def classes_without(
        self, ignore: Collection[str] = (), *, ignored_as: As = "background"
    ) -> Volume:
        """The common classes, some of them not wanted; see `class_volume`."""
        specs = {name: self.layers[name].labels or LabelSpec("instance") for name in self.labels}
        # Layers that say nothing of classes are not even opened: they may be far away.
        telling = [name for name, spec in specs.items() if tells_classes(spec)] or list(specs)
        opened = {name: self.labels[name] for name in telling}
        layers = {name: (volume, self._meaning(name, volume)) for name, volume in opened.items()}
        return class_volume(self.name, layers, ignore=ignore, ignored_as=ignored_as)

    def spec(self, layer: str) -> LabelSpec:
        """What the values of a label layer mean, decided from them where the record leaves it."""
        return self._meaning(layer, self.labels[layer])

    def _meaning(self, name: str, volume: Volume) -> LabelSpec:
        layer = self.layers[name]
        assert layer.labels is not None
        if not layer.labels.names:
            return detected(volume, layer.labels)
        from segmend.catalog.named_codes import with_named_codes

        place = layer_file(self.record, layer, self.at, self.volume)
        return with_named_codes(layer.labels, place, layer.key)

    def segments(self, layer: str, box: Box | None = None) -> Ids:
        """An instance layer in memory, background and invalid voxels 0.

        Args:
            layer: Name of the layer.
            box: nm; by default all of it.

        Returns:
            uint64 ``(z, y, x)``.
        """
        volume = self.labels[layer]
        data = volume.read(box or volume.box).data
        return segment_ids(data, self.spec(layer), source=volume.source)

    def check_box(self, box: Box, layers: Sequence[str] = ("image",)) -> None:
        """Check that layers cover a box; see `segmend.catalog.extent.check_box`."""
        check_box(self, box, layers)

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of its regions, as `region` takes them.

        Raises:
            BadInputError: if no layer of regions is recorded.
            SchemaError: if a layer names no regions.
        """
        require("numba", extra="build")
        from segmend.catalog.regions import region_names

        return tuple(name for names in region_names(self).values() for name in names.values())

    def region(self, name: str) -> Box:
        """The box of a region; see `segmend.catalog.regions.region_box`."""
        require("numba", extra="build")
        from segmend.catalog.regions import region_box

        return region_box(self, name)

    def fingerprint(self) -> str:
        """What its content depends on: the generator's key, or the files' sha256 and the URLs."""
        if self.record.generated:
            return f"{self.record.generated}:{self.at.of(self.record, MAIN).stem}"
        files = {layer.file for layer in self.layers.values() if not layer.urls}
        mapped = {name for layer in self.layers.values() for name in layer.agglomerates}
        # Synapse controls are made of the table of synapses.
        mapped |= {SYNAPSES} & set(self.record.annotations)
        files |= {self.record.annotations[name].file for name in mapped}
        urls = sorted({layer.urls[0] for layer in self.layers.values() if layer.urls})
        sums = {name: self._sha256(name) for name in sorted(files)}
        if not urls and set(sums) == {MAIN}:
            return f"sha256:{sums[MAIN]}"
        text = json.dumps([self.version, self.volume, sums, urls])
        return f"sources:{hashlib.sha256(text.encode()).hexdigest()}"

    def _sha256(self, name: str) -> str:
        place = self.at.of(self.record, name)
        if place.is_file():
            return sha256_file(place)
        members = sorted(p for p in place.rglob("*") if p.is_file())
        text = json.dumps([(str(p.relative_to(place)), sha256_file(p)) for p in members])
        return hashlib.sha256(text.encode()).hexdigest()

    def _open(self, name: str) -> Volume:
        layers = self.layers
        if name not in layers:
            raise unknown_name(f"layer of '{self.name}'", name, layers)
        opened = open_layer(self.record, name, layers[name], at=self.at, volume=self.volume)
        names = layers[name].agglomerates
        if not names:
            return opened
        require("numba", extra="build")
        from segmend.catalog.agglomerated import AgglomeratedDriver

        source = f"{opened.source} as {' and '.join(names)}"
        return Volume(AgglomeratedDriver(opened, self.annotations, names, source))

    @property
    def annotations(self) -> Annotations:
        """Tables and tracings that are published beside the volumes, by name."""
        return Annotations(self.record, self.at)

    @property
    def edits(self) -> tuple[TrueEdit, ...]:
        """The true edit log, where the data set has one; otherwise empty."""
        if "edits" not in self.record.tables:
            return ()
        from segmend.synthetic.write import read_edits

        return read_edits(self.at.of(self.record, MAIN))

    @property
    def synapses(self) -> tuple[Synapse, ...]:
        """The synapse table, where the data set has one; otherwise empty."""
        if "synapses" not in self.record.tables:
            return ()
        from segmend.synthetic.write import read_synapses

        return read_synapses(self.at.of(self.record, MAIN))

    @property
    def skeletons(self) -> dict[int, Skeleton]:
        """The skeletons by neuron id, where the data set has them; otherwise empty."""
        if "skeletons" not in self.record.tables:
            return {}
        from segmend.synthetic.write import read_skeletons

        return read_skeletons(self.at.of(self.record, MAIN))


@dataclass(frozen=True, slots=True)
class LabelLayers(Mapping[str, Volume]):
    """Label layers of a data set by name, each opened when it is asked for."""

    dataset: Dataset

    def __getitem__(self, name: str) -> Volume:
        if name not in set(self):
            raise unknown_name(f"label layer of '{self.dataset.name}'", name, dict.fromkeys(self))
        return self.dataset._open(name)  # noqa: SLF001  the other half of the same class

    def __iter__(self) -> Iterator[str]:
        return (name for name, layer in self.dataset.layers.items() if layer.labels is not None)

    def __len__(self) -> int:
        return len(tuple(iter(self)))


def open(  # noqa: A001  `sg.open` is the name people expect
    name: str,
    *,
    path: str | Path | None = None,
    version: str | None = None,
    volume: str | None = None,
    **parameters: Any,
) -> Dataset:
    """Open a data set.

    Args:
        name: Name in the catalogue, or path of a record (``.toml``) of your own.
        path: Its file, or the folder of its files, where they are not in the data folder
            (``SEGMEND_DATA``, by default ``data``).
        version: Version of the segmentation; by default the record's.
        volume: Which volume, where there are several; by default the record's.
        **parameters: For ``synthetic``: fields of `segmend.synthetic.spec.TissueSpec`.

    Returns:
        The data set; ``synthetic`` is generated into the cache on the first call.

    Raises:
        UnknownNameError: if there is no such data set, version or volume.
        BadInputError: if a parameter does not exist.

    Example:
        >>> import segmend as sg
        >>> em = sg.open("fib25", path="fib25.h5").image  # doctest: +SKIP
    """
    record, folder = load_record(name)
    if record.generated:
        if path is not None:
            raise BadInputError("'synthetic' is generated, it has no path")
        file = cached_tissue(record.parameters | parameters)
        return Dataset(record, Location(file.parent, file), record.version)
    if parameters:
        raise BadInputError(f"'{name}' takes no parameters", found=f"got {sorted(parameters)}")
    at = location(record, folder or settings().data_dir, path)
    chosen = version or record.version
    if chosen not in {record.version, *record.versions}:
        known = {record.version: None, **record.versions}
        raise unknown_name(f"version of '{record.name}'", chosen, known)
    if record.cases == "nnunet":
        record = with_cases(record, at)
    return Dataset(record, at, chosen, _volume(record, volume, at))


def _volume(record: Record, asked: str | None, at: Location) -> str:
    chosen = asked or record.volume or next(iter(record.volumes), "")
    if record.cases and not at.of(record, MAIN).exists():
        return chosen  # Opening a layer will say how to fetch it.
    if chosen and chosen not in record.volumes:
        raise unknown_name(f"volume of '{record.name}'", chosen, record.volumes)
    return chosen
