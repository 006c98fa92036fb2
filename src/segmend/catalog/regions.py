"""Regions of a data set by name: the box of each, found by reading the layer that paints them.

Nobody publishes the boxes, so the layer is read once, block by block, and what was found is kept in
the cache of this machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numba import njit

from segmend.catalog.segment_names import read_segment_names
from segmend.core.box import Box, Triple, VoxelBox
from segmend.core.errors import BadInputError, SchemaError, SegmentNotFoundError
from segmend.core.registry import unknown_name
from segmend.core.settings import settings
from segmend.store.atomic import atomic_file, output_errors
from segmend.store.cache import CachedStore
from segmend.volumes.chunked import ChunkedDriver
from segmend.volumes.export.plan import pieces, version_of_source
from segmend.volumes.volume import Volume

if TYPE_CHECKING:
    from segmend.catalog.dataset import Dataset

MAX_VOXELS = 2**35
"""Voxels of the finest scale that is read through for its regions, where the record names no scale.
Those of the Male CNS at 256 nm have 2**34.8."""

BLOCK: Triple = (256, 256, 256)
"""Voxels read at a time: 128 MiB of ids."""

Boxes = dict[int, VoxelBox]
Report = Callable[[str, int, int], None]


def region_names(dataset: Dataset) -> dict[str, dict[int, str]]:
    """Names of the regions by layer and segment id. No voxel is read.

    Raises:
        BadInputError: if no layer of regions is recorded.
        SchemaError: if a layer names no regions.
    """
    return {layer: names for layer, (_, names) in _layers(dataset).items()}


def region_box(
    dataset: Dataset, name: str, *, report: Report = lambda _stage, _done, _total: None
) -> Box:
    """The smallest box of whole voxels of the layer's scale that holds a region.

    The first call for a layer reads all of it (Male CNS: 3e10 voxels, a matter of minutes).

    Args:
        dataset: The data set.
        name: Name of the region, as its owners write it.
        report: Told the stage, how many blocks are done, and how many there are.

    Raises:
        BadInputError: if no layer of regions is recorded.
        UnknownNameError: for a name that no layer has.
        SegmentNotFoundError: if the region has a name and no voxel.
        ReadFailedError: if the layer cannot be read.
    """
    layers = _layers(dataset)
    for volume, names in layers.values():
        ids = [number for number, given in names.items() if given == name]
        if ids:
            boxes = _boxes(volume, names, report)
            found = [volume.grid.to_box(boxes[number]) for number in ids if number in boxes]
            if not found:
                raise SegmentNotFoundError(f"region '{name}' has no voxel in {volume.source}")
            return _around(found)
    known = {given: None for _, names in layers.values() for given in names.values()}
    raise unknown_name(f"region of '{dataset.name}'", name, known)


def _layers(dataset: Dataset) -> dict[str, tuple[Volume, dict[int, str]]]:
    if not dataset.record.regions:
        raise BadInputError(
            f"no regions of '{dataset.name}' are recorded",
            fix="Give a box in nm, or in voxels",
        )
    found = {}
    for layer in dataset.record.regions:
        volume = dataset.labels[layer]
        names = _names(volume)
        if not names:
            raise SchemaError(
                f"layer '{layer}' of '{dataset.name}' names no regions",
                found=f"{volume.source} has no segment_properties with labels",
                fix="Give a box in nm, or in voxels",
            )
        if dataset.layers[layer].voxel_size_nm is None:
            volume = _readable(volume)
        found[layer] = volume, names
    return found


def _names(volume: Volume) -> dict[int, str]:
    driver = volume.driver
    if not isinstance(driver, ChunkedDriver):
        return {}
    store = driver.store
    # Kept objects are told apart by the volume's info alone, and names may change without it.
    return read_segment_names(store.origin if isinstance(store, CachedStore) else store)


def _readable(volume: Volume) -> Volume:
    """The finest scale that is not too large to read through."""
    for size in volume.voxel_sizes:
        scale = volume.at(size)
        if scale.grid.voxels.size <= MAX_VOXELS:
            return scale
    raise BadInputError(
        f"{volume.source} is too large to be read through for its regions",
        found=f"its coarsest scale has {scale.grid.voxels.size:.1e} voxels",
        fix="Give a box in nm, or in voxels",
    )


def _boxes(volume: Volume, names: Mapping[int, str], report: Report) -> Boxes:
    """From the cache, else by reading the layer; a source without a version is read every time."""
    version = version_of_source(volume)
    if version is None:
        return _scan(volume, names, report)
    asked = [volume.source, version, volume.grid.voxel_size, sorted(map(str, names))]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()
    file = settings().cache_dir / "regions" / f"{digest[:20]}.json"
    kept = _kept(file)
    if kept is None:
        kept = _scan(volume, names, report)
        with output_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(file) as temporary:
                text = {str(i): [box.start, box.stop] for i, box in kept.items()}
                temporary.write_text(json.dumps(text))
    return kept


def _kept(file: Path) -> Boxes | None:
    """What an earlier call found; None if there is no such file, or a damaged one."""
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, tuple[Triple, Triple]])
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return {int(number): VoxelBox(start, stop) for number, (start, stop) in found.items()}


def _scan(volume: Volume, names: Mapping[int, str], report: Report) -> Boxes:
    ids = np.array(sorted(names), np.uint64)
    low = np.full((ids.size, 3), np.iinfo(np.int64).max)
    high = np.zeros((ids.size, 3), np.int64)
    blocks = list(pieces(volume.grid.voxels, BLOCK))
    for done, block in enumerate(blocks, start=1):
        labels = volume.read_voxels(block).data
        _extend(labels, ids, np.array(block.start), low, high)
        report("reading regions", done, len(blocks))
    return {
        int(number): VoxelBox(tuple(low[i].tolist()), tuple(high[i].tolist()))
        for i, number in enumerate(ids)
        if high[i].any()
    }


@njit(cache=True, nogil=True)
def _extend(labels, ids, start, low, high):  # type: ignore[no-untyped-def]
    """Grow the boxes of ``ids`` (ascending) by the voxels of a block; other ids are passed over."""
    value, index = np.uint64(0), np.int64(-1)
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                here = np.uint64(labels[z, y, x])
                if here != value:
                    value = here
                    index = np.searchsorted(ids, value)
                    if index == ids.size or ids[index] != value:
                        index = np.int64(-1)
                if value == 0 or index < 0:
                    continue
                at = (start[0] + z, start[1] + y, start[2] + x)
                for axis in range(3):
                    low[index, axis] = min(low[index, axis], at[axis])
                    high[index, axis] = max(high[index, axis], at[axis] + 1)


def _around(boxes: list[Box]) -> Box:
    start = np.min([box.start_pm for box in boxes], axis=0).tolist()
    stop = np.max([box.stop_pm for box in boxes], axis=0).tolist()
    return Box.from_picometres(tuple(start), tuple(stop))
