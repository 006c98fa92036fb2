"""Open a record: layers as volumes, tables as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segmend.catalog.labels import LabelSpec, segment_ids
from segmend.catalog.record import Record, load_record
from segmend.catalog.tissue import cached_tissue
from segmend.core.errors import BadInputError, SchemaError
from segmend.core.ids import Ids
from segmend.core.registry import unknown_name
from segmend.store.atomic import sha256_file
from segmend.synthetic.history import Synapse, TrueEdit
from segmend.volumes.drivers.hdf5 import open_hdf5
from segmend.volumes.volume import Volume

if TYPE_CHECKING:  # it comes with the generator and its kernels
    from segmend.synthetic.tissue import Skeleton


@dataclass(frozen=True, slots=True)
class LabelLayers(Mapping[str, Volume]):
    """Label layers of a data set by name, each opened when it is asked for."""

    file: Path
    record: Record

    def __getitem__(self, name: str) -> Volume:
        if name not in set(self):
            raise unknown_name(f"label layer of '{self.record.name}'", name, dict.fromkeys(self))
        return open_hdf5(self.file, self.record.layers[name].key)

    def __iter__(self) -> Iterator[str]:
        return (name for name, layer in self.record.layers.items() if layer.labels is not None)

    def __len__(self) -> int:
        return len(tuple(iter(self)))


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set at hand: a record and where its bytes are. Nothing is read before it is asked for.

    Attributes:
        record: What is known about it.
        file: The HDF5 file that holds its layers.
    """

    record: Record
    file: Path

    @property
    def name(self) -> str:
        """Name in the catalogue."""
        return self.record.name

    @property
    def image(self) -> Volume:
        """The electron micrograph, uint8.

        Raises:
            SchemaError: if it is stored in another dtype.
        """
        volume = open_hdf5(self.file, self.record.layers["image"].key)
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
        return LabelLayers(self.file, self.record)

    @property
    def classes(self) -> Volume:
        """The layer of common classes (`segmend.catalog.labels.VOCABULARY`)."""
        return self.labels["classes"]

    def segments(self, layer: str) -> Ids:
        """A whole instance layer in memory, background and invalid voxels 0.

        Args:
            layer: Name of the layer.

        Returns:
            uint64 ``(z, y, x)``.
        """
        volume = self.labels[layer]
        spec = self.record.layers[layer].labels
        assert isinstance(spec, LabelSpec)
        return segment_ids(volume.read(volume.box).data, spec, source=volume.source)

    def fingerprint(self) -> str:
        """What its content depends on: the generator's key, or the file's sha256."""
        if self.record.driver == "synthetic":
            return f"synthetic:{self.file.stem}"
        return f"sha256:{sha256_file(self.file)}"

    @property
    def edits(self) -> tuple[TrueEdit, ...]:
        """The true edit log, where the data set has one; otherwise empty."""
        if "edits" not in self.record.tables:
            return ()
        from segmend.synthetic.write import read_edits

        return read_edits(self.file)

    @property
    def synapses(self) -> tuple[Synapse, ...]:
        """The synapse table, where the data set has one; otherwise empty."""
        if "synapses" not in self.record.tables:
            return ()
        from segmend.synthetic.write import read_synapses

        return read_synapses(self.file)

    @property
    def skeletons(self) -> dict[int, Skeleton]:
        """The skeletons by neuron id, where the data set has them; otherwise empty."""
        if "skeletons" not in self.record.tables:
            return {}
        from segmend.synthetic.write import read_skeletons

        return read_skeletons(self.file)


def open(  # noqa: A001  `sg.open` is the name people expect
    name: str, *, path: str | Path | None = None, **parameters: Any
) -> Dataset:
    """Open a data set.

    Args:
        name: Name in the catalogue, or path of a record (``.toml``) of your own.
        path: The HDF5 file, where it is not at the record's default place.
        **parameters: For ``synthetic``: fields of `segmend.synthetic.spec.TissueSpec`.

    Returns:
        The data set; ``synthetic`` is generated into the cache on the first call.

    Raises:
        UnknownNameError: if there is no such data set.
        BadInputError: if the file is not named, or a parameter does not exist.

    Example:
        >>> import segmend as sg
        >>> em = sg.open("fib25", path="fib25.h5").image  # doctest: +SKIP
    """
    record, folder = load_record(name)
    if record.driver == "synthetic":
        if path is not None:
            raise BadInputError("'synthetic' is generated, it has no path")
        return Dataset(record, cached_tissue(record.parameters | parameters))
    if parameters:
        raise BadInputError(f"'{name}' takes no parameters", found=f"got {sorted(parameters)}")
    place = path if path is not None else record.path
    if not str(place):
        raise BadInputError(
            f"'{name}' needs to know where its file is",
            found="the record names no default place",
            fix=f"Pass path=..., for example sg.open('{name}', path='{name}.h5')",
        )
    return Dataset(record, folder / place)
