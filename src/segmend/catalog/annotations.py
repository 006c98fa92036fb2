"""Tables and tracings that are published beside the volumes of a data set, by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segmend.catalog.opening import Location, missing_file
from segmend.catalog.record import Record
from segmend.core.errors import SchemaError, require
from segmend.core.registry import unknown_name

if TYPE_CHECKING:  # it comes with numba
    from segmend.annotations.agglomeration import Agglomeration

READERS = {
    "l4dense-axons": "segmend.annotations.neurites:read_axons",
    "l4dense-dendrites": "segmend.annotations.neurites:read_dendrites",
    "l4dense-spine-heads": "segmend.annotations.neurites:read_spine_heads",
    "l4dense-synapses": "segmend.annotations.synapses:read_synapses",
    "l4dense-segments": "segmend.annotations.segments_table:read_segments",
    "l4dense-connectome": "segmend.annotations.connectome:read_connectome",
    "l4dense-interfaces": "segmend.annotations.interfaces:read_interface_folder",
    "tracings": "segmend.annotations.tracings:read_tracings",
}
"""What reads a table or a folder of tracings, by the name that records use."""


SUPERVOXELS = {
    "l4dense-axons": "segmend.annotations.neurites:read_axon_supervoxels",
    "l4dense-dendrites": "segmend.annotations.neurites:read_dendrite_supervoxels",
    "l4dense-spine-heads": "segmend.annotations.neurites:read_spine_head_supervoxels",
}
"""What reads the supervoxels alone of a table of neurites, by the name of its reader."""


@dataclass(frozen=True, slots=True)
class Annotations(Mapping[str, Any]):
    """What is published beside the volumes, each read when it is asked for and then kept.

    Attributes:
        record: The data set.
        at: Where its files lie.
    """

    record: Record
    at: Location

    def __getitem__(self, name: str) -> Any:
        """Read a table.

        Raises:
            UnknownNameError: if the record names no such table.
            ReadFailedError: if its file is not there or damaged.
            SchemaError: if it is not laid out as its reader expects.
        """
        return self._read(name, READERS)

    def supervoxels(self, name: str) -> Agglomeration:
        """The supervoxels of a table's neurites, and nothing else of it.

        Raises:
            UnknownNameError: if the record names no such table.
            ReadFailedError: if its file is not there or damaged.
            SchemaError: if it holds no neurites, or is not laid out as its reader expects.
        """
        entry = self.record.annotations.get(name)
        if entry is not None and entry.reader not in SUPERVOXELS:
            raise SchemaError(
                f"the annotation '{name}' of '{self.record.name}' holds no neurites",
                found=f"its reader is {entry.reader}",
                fix="A layer's 'agglomerates' name tables of axons, dendrites or spine heads",
            )
        made: Agglomeration = self._read(name, SUPERVOXELS)
        return made

    def _read(self, name: str, readers: Mapping[str, str]) -> Any:
        if name not in self.record.annotations:
            known = dict.fromkeys(self.record.annotations)
            raise unknown_name(f"annotation of '{self.record.name}'", name, known)
        entry = self.record.annotations[name]
        place = self.at.of(self.record, entry.file)
        if not place.exists():
            raise missing_file(self.record, place, entry.file, self.at, layer=name)
        require("numba", extra="build")
        return _read(readers[entry.reader], place, _stamp(place))

    def __iter__(self) -> Iterator[str]:
        return iter(self.record.annotations)

    def __len__(self) -> int:
        return len(self.record.annotations)


def _stamp(place: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes whenever a file, or a file of a folder, does."""
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    stats = [(str(file), file.stat()) for file in files]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


@lru_cache(maxsize=16)
def _read(reader: str, place: Path, _stamp: tuple[tuple[str, int, int], ...]) -> Any:
    """Read once per state of the file: layers and tables of one data set share what they read."""
    module, function = reader.split(":")
    read: Callable[[Path], Any] = getattr(importlib.import_module(module), function)
    return read(place)
