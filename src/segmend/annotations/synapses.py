"""L4dense2019's synapses: ``synapses.hdf5``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segmend.annotations.arrow import category_column, list_column, point_column
from segmend.annotations.columns import Categories, Lists, Places
from segmend.annotations.matlab import open_matlab
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids

ROOT = "synapses"
LISTS = ("preSegIds", "postSegIds")
PLACES = ("prePosition", "synPosition", "postPosition")
IDS = ("preAxonId", "preSplitAxonId", "postDendriteId", "postSpineHeadId")


@dataclass(frozen=True, slots=True)
class Synapses:
    """Synapses; the one with id ``i`` is row ``i - 1`` of every column.

    Attributes:
        types: ``PrimarySpine``, ``SecondarySpine``, ``Shaft``, ``Soma``.
        pre_segments: Presynaptic supervoxels of each.
        post_segments: Postsynaptic supervoxels of each.
        pre_places: On the presynaptic side.
        places: On the border of the two.
        post_places: On the postsynaptic side.
        axon_ids: Rows of ``axons.hdf5`` plus one, uint64; 0 where the axon is not reconstructed.
        split_axon_ids: The same for axons that were cut at branch points.
        dendrite_ids: Rows of ``dendrites.hdf5`` plus one; 0 for none.
        spine_head_ids: Spine heads; 0 where there is none.
        asi_area_um2: Area of the axon-spine interface, float64 square micrometres; NaN where it was
            not measured.
    """

    types: Categories
    pre_segments: Lists
    post_segments: Lists
    pre_places: Places
    places: Places
    post_places: Places
    axon_ids: Ids
    split_axon_ids: Ids
    dendrite_ids: Ids
    spine_head_ids: Ids
    asi_area_um2: NDArray[np.float64]

    def to_table(self, grid: VoxelGrid) -> pa.Table:
        """The synapses as an Arrow table; ``.to_pandas()`` works where pandas is installed.

        Args:
            grid: The grid that the voxels count on (`segmend.annotations.neurites.L4DENSE_GRID`).

        Returns:
            One row per synapse: ``synapse_id`` from 1; ``type``; lists of segment ids; points in nm
            ``(z, y, x)``; ids, 0 for none; ``asi_area_um2``. What is not known is null.
        """
        return pa.table(
            {
                "synapse_id": pa.array(np.arange(1, len(self) + 1, dtype=np.uint64)),
                "type": category_column(self.types),
                "pre_segment_ids": list_column(self.pre_segments),
                "post_segment_ids": list_column(self.post_segments),
                "pre_point_nm": point_column(self.pre_places, grid),
                "point_nm": point_column(self.places, grid),
                "post_point_nm": point_column(self.post_places, grid),
                "axon_id": pa.array(self.axon_ids),
                "split_axon_id": pa.array(self.split_axon_ids),
                "dendrite_id": pa.array(self.dendrite_ids),
                "spine_head_id": pa.array(self.spine_head_ids),
                "asi_area_um2": pa.array(self.asi_area_um2, mask=np.isnan(self.asi_area_um2)),
            }
        )

    def __len__(self) -> int:
        return len(self.types)


def read_synapses(
    path: str | Path,
    *,
    axons: int | None = None,
    dendrites: int | None = None,
    spine_heads: int | None = None,
) -> Synapses:
    """Read ``synapses.hdf5``.

    Args:
        path: The file.
        axons: How many axons there are: a larger axon id is an error. None: not checked.
        dendrites: How many dendrites there are.
        spine_heads: How many spine heads there are.

    Raises:
        ReadFailedError: if the file is missing or damaged.
        SchemaError: if a group is missing, a code has no name, columns differ in length, or an id
            is out of range.
    """
    file = open_matlab(path)
    types = file.categories(f"{ROOT}/type")
    pre, post = (file.lists_of_segments(f"{ROOT}/{name}") for name in LISTS)
    before, at, after = (file.places(f"{ROOT}/{name}") for name in PLACES)
    limits = ((axons, "axons"), (None, ""), (dendrites, "dendrites"), (spine_heads, "spine heads"))
    ids = [
        file.ids(f"{ROOT}/{name}", most=most, of=of)
        for name, (most, of) in zip(IDS, limits, strict=True)
    ]
    area = file.numbers(f"{ROOT}/asiArea", "f").astype(np.float64)
    if np.any(area <= 0) or np.any(np.isinf(area)):
        row = int(np.argmax((area <= 0) | np.isinf(area)))
        raise file.error(f"{ROOT}/asiArea", f"entry {row + 1} is {area[row]}")
    columns: list[Any] = [types, pre, post, before, at, after, *ids, area]
    names = ("type", *LISTS, *PLACES, *IDS, "asiArea")
    file.check_lengths({f"{ROOT}/{n}": len(c) for n, c in zip(names, columns, strict=True)})
    return Synapses(types, pre, post, before, at, after, ids[0], ids[1], ids[2], ids[3], area)
