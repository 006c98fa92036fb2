"""Columns of tables as Arrow columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from segmend.annotations.columns import Categories, Lists, Places
from segmend.core.grid import VoxelGrid


def category_column(column: Categories) -> Any:
    """Names of categories, dictionary-encoded; all known names are in the dictionary."""
    place = np.zeros(256, np.int16)
    place[list(column.names)] = np.arange(len(column.names))
    rows: Any = pa.array(place[column.codes])
    return pa.DictionaryArray.from_arrays(rows, pa.array(list(column.names.values())))


def list_column(lists: Lists) -> Any:
    """Lists, as large lists of their own dtype."""
    starts: Any = pa.array(lists.starts)
    return pa.LargeListArray.from_arrays(starts, pa.array(lists.values))


def point_column(places: Places, grid: VoxelGrid) -> Any:
    """Points in nm, ``(z, y, x)``; null where there is none."""
    flat: Any = pa.array(places.nm(grid).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, 3, mask=pa.array(~places.known))
