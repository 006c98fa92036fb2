"""What a state of Neuroglancer says, whichever dialect it is written in.

Three dialects are read. *Mainline* (google/neuroglancer): ``dimensions`` with a length and a unit
per axis, ``position`` in voxels of them, whole numbers at the corners of voxels. *Spelunker*
(CAVE): the same under another site. *Legacy* (the older seung-lab fork): ``navigation.pose`` with
``voxelSize`` in nm and ``voxelCoordinates``, or ``spatialCoordinates`` in nm. All give ``(x, y,
z)``; here it is nm ``(z, y, x)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from segmend.catalog.viewer_links import pasted_state
from segmend.core.box import Point
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import as_id

Dialect = Literal["legacy", "mainline", "spelunker"]

EXACT = 2**53
"""Numbers up to here survive JavaScript, which reads every JSON number as a float64."""

_PREFIXES = {
    "": 0, "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "c": -2,
    "m": -3, "u": -6, "µ": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
}  # fmt: skip
"""Powers of ten of the prefixes that a unit may bear (neuroglancer, ``src/util/si_units.ts``)."""


@dataclass(frozen=True, slots=True)
class ViewerLayer:
    """One layer of a viewer.

    Attributes:
        name: Its name.
        kind: ``image``, ``segmentation``, ``annotation``, ... as the state says.
        sources: Where its data lie, each as `segmend.open_volume` takes it.
        segments: Ids of the segments that are shown.
        hidden: Ids that are selected and not shown.
    """

    name: str
    kind: str
    sources: tuple[str, ...] = ()
    segments: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ViewerState:
    """What a viewer shows.

    Attributes:
        dialect: How the state was written.
        layers: Layers, first the lowest.
        voxel_size_nm: Unit of the viewer's coordinates, nm ``(z, y, x)``; None: not said.
        position_nm: Centre of the view, nm ``(z, y, x)``; None: not said.
    """

    dialect: Dialect
    layers: tuple[ViewerLayer, ...]
    voxel_size_nm: Point | None = None
    position_nm: Point | None = None

    @property
    def segments(self) -> tuple[int, ...]:
        """Ids that any layer shows."""
        return tuple(dict.fromkeys(i for layer in self.layers for i in layer.segments))


def read_viewer_state(source: str | Path) -> ViewerState:
    """Read a link, JSON text, or a file that holds either.

    Args:
        source: What somebody pasted, or the path of a file.

    Raises:
        BadInputError: if there is no state in it, the link only refers to one, an id may have
            passed through a float, or a position is given without the size of its voxels.
    """
    pasted = pasted_state(source)
    state = pasted.state
    layers = tuple(_layer(name, layer) for name, layer in _named_layers(state.get("layers", [])))
    if _is_legacy(state):
        size, position = _legacy_place(state)
        return ViewerState("legacy", layers, size, position)
    dialect: Dialect = "spelunker" if "spelunker" in pasted.site else "mainline"
    size, position = _place(state)
    return ViewerState(dialect, layers, size, position)


def _is_legacy(state: Mapping[str, Any]) -> bool:
    return "dimensions" not in state and ("navigation" in state or "perspectiveZoom" in state)


def _place(state: Mapping[str, Any]) -> tuple[Point | None, Point | None]:
    dimensions, position = state.get("dimensions"), state.get("position")
    if dimensions is None:
        if position is not None:
            _refuse("a position and no dimensions", position)
        return None, None
    if not isinstance(dimensions, dict):
        _refuse("dimensions that are no object", dimensions)
    names = list(dimensions)
    size = _size([_metres_to_nm(axis, dimensions.get(axis)) for axis in "zyx"])
    if position is None:
        return size, None
    numbers = _numbers(position, len(names), "a position")
    zyx = [numbers[names.index(axis)] for axis in "zyx"]
    return size, _nm(zyx, size)


def _legacy_place(state: Mapping[str, Any]) -> tuple[Point | None, Point | None]:
    pose = _inner(_inner(state, "navigation"), "pose")
    position = _inner(pose, "position")
    size = None
    if "voxelSize" in position:
        size = _size(_numbers(position["voxelSize"], 3, "a voxel size")[::-1])
    if "spatialCoordinates" in position:
        z, y, x = _numbers(position["spatialCoordinates"], 3, "spatial coordinates")[::-1]
        return size, (z, y, x)
    if "voxelCoordinates" not in position:
        return size, None
    if size is None:
        _refuse("voxel coordinates and no voxel size", position["voxelCoordinates"])
    return size, _nm(_numbers(position["voxelCoordinates"], 3, "voxel coordinates")[::-1], size)


def _inner(state: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = state.get(key, {})
    if not isinstance(found, dict):
        _refuse(f"'{key}' that is no object", found)
    return found


def _metres_to_nm(axis: str, stated: Any) -> float:
    """Voxel size of an axis from ``[8e-9, "m"]``, exact as a decimal number."""
    if not (isinstance(stated, list) and len(stated) == 2 and isinstance(stated[1], str)):
        _refuse(f"no length for axis {axis}", stated)
    (number,), unit = _numbers(stated[:1], 1, f"a length for axis {axis}"), stated[1]
    if not unit.endswith("m") or unit[:-1] not in _PREFIXES:
        _refuse(f"axis {axis} in a unit that is no length", unit)
    return float(Decimal(str(number)).scaleb(_PREFIXES[unit[:-1]] + 9))


def _size(zyx: Sequence[float]) -> Point:
    return VoxelGrid(zyx, (0, 0, 0), (0, 0, 0)).voxel_size


def _nm(zyx: Sequence[float], size: Point) -> Point:
    grid = VoxelGrid(size, (0, 0, 0), (0, 0, 0))
    z, y, x = grid.points(np.array(zyx, np.float64)).tolist()
    return (z, y, x)


def _numbers(values: Any, count: int, what: str) -> list[float]:
    right = isinstance(values, list) and len(values) == count
    if not right or not all(type(v) in (int, float) and math.isfinite(v) for v in values):
        _refuse(f"{what} that is no list of {count} numbers", values)
    return [float(v) for v in values]


def _named_layers(layers: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Layers of a list, which bear their names, or of an object by name."""
    if isinstance(layers, dict):
        named = list(layers.items())
    elif isinstance(layers, list):
        named = [(_inner({"layer": layer}, "layer").get("name", ""), layer) for layer in layers]
    else:
        _refuse("layers that are no list", layers)
    # Old states give the source alone.
    return [(str(n), v if isinstance(v, dict) else {"source": v}) for n, v in named]


def _layer(name: str, layer: Mapping[str, Any]) -> ViewerLayer:
    shown, hidden = _selected(layer.get("segments", []), name)
    more, also = _selected(layer.get("hiddenSegments", []), name)
    kind = str(layer.get("type", ""))
    return ViewerLayer(
        name,
        "segmentation" if kind == "segmentation_with_graph" else kind,
        tuple(_source(s) for s in _sources(layer.get("source", []))),
        tuple(dict.fromkeys(shown)),
        tuple(dict.fromkeys([*hidden, *more, *also])),
    )


def _selected(ids: Any, layer: str) -> tuple[list[int], list[int]]:
    """Shown ids and hidden ones, which bear a ``!``."""
    if not isinstance(ids, list):
        _refuse(f"segments of layer '{layer}' that are no list", ids)
    shown: list[int] = []
    hidden: list[int] = []
    for given in ids:
        if isinstance(given, (int, float)) and abs(given) > EXACT:
            raise BadInputError(
                f"segment {given} of layer '{layer}' is written as a number, not as a string",
                found="above 2**53 a viewer has already rounded it to another id",
                fix="Put the id into quotes where the state is made",
            )
        off = isinstance(given, str) and given.startswith("!")
        (hidden if off else shown).append(as_id(given[1:] if off else given))
    return shown, hidden


def _sources(source: Any) -> Iterable[str]:
    for one in source if isinstance(source, list) else [source]:
        url = one.get("url") if isinstance(one, dict) else one
        if isinstance(url, dict):
            url = url.get("url")
        if isinstance(url, str):
            yield url


def _source(url: str) -> str:
    """``URL|neuroglancer-precomputed:`` as ``precomputed://URL``."""
    place, separator, kind = url.partition("|")
    kind = kind.rstrip(":/").removeprefix("neuroglancer-")
    return f"{kind}://{place.rstrip('/')}" if separator and kind.isalnum() else url


def _refuse(what: str, found: Any) -> NoReturn:
    raise BadInputError(f"the viewer's state has {what}", found=f"{found!r}"[:200])
