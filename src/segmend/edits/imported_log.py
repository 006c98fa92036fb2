"""Logs of other programs, placed on the volume that they speak of, and frozen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segmend.catalog.dataset import open as open_dataset
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.edits.bodies import Bodies
from segmend.edits.dvid_log import dvid_edits
from segmend.edits.frozen import FrozenEdits, freeze
from segmend.edits.imported import file_facts
from segmend.edits.operation import Identity
from segmend.edits.webknossos_log import webknossos_edits
from segmend.volumes.align import common_grid

Log = Literal["dvid", "webknossos"]
"""Logs of other programs that are read."""


@dataclass(frozen=True, eq=False)
class Tissue:
    """The volume that a log speaks of.

    Attributes:
        supervoxels: uint64 ``(z, y, x)``; 0 is none.
        automatic: uint64, the same shape: the segmentation before the first edit.
        grid: The grid of both.
        identity: Data set, version and volume.
    """

    supervoxels: Ids
    automatic: Ids
    grid: VoxelGrid
    identity: Identity


def tissue_of(name: str, *, supervoxels: str, automatic: str) -> Tissue:
    """A volume from a data set.

    Args:
        name: Its name in the catalogue, or its record.
        supervoxels: Name of its layer of supervoxels.
        automatic: Name of the layer of the segmentation before the first edit.

    Raises:
        UnknownNameError: if there is no such data set or layer.
        GridMismatchError: if the layers lie on different grids.
    """
    dataset = open_dataset(name)
    record = dataset.record
    return Tissue(
        dataset.segments(supervoxels),
        dataset.segments(automatic),
        common_grid({one: dataset.labels[one] for one in (supervoxels, automatic)}),
        Identity(record.name, record.version, dataset.volume),
    )


def import_log(
    path: str | Path,
    folder: str | Path,
    *,
    log: Log,
    tissue: Tissue,
    licence: str,
    citation: str = "",
) -> FrozenEdits:
    """Freeze the edits of another program's log, placed on the volume it speaks of.

    Args:
        path: The log; see `segmend.edits.dvid_log` and `segmend.edits.webknossos_log`.
        folder: Folder to create.
        log: Whose.
        tissue: The volume.
        licence: Of the edits.
        citation: Whom to cite for them.

    Raises:
        BadInputError: if the log cannot be read, or a supervoxel lies in several segments.
        SchemaError: if an entry is none; the message names file, place and field.
        OutputError: if the folder exists or cannot be written; nothing is left behind.
    """
    path = Path(path)
    identity = tissue.identity
    facts = file_facts(path, log, identity.dataset, licence=licence, citation=citation)
    bodies = Bodies(tissue.supervoxels, tissue.automatic, tissue.grid)
    if log == "dvid":
        return freeze(folder, dvid_edits(path, bodies, identity), facts=facts)
    return freeze(folder, webknossos_edits(path, bodies, tissue.grid, identity), facts=facts)
