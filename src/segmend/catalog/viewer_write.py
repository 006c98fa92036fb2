"""A state of Neuroglancer for a data set: its layers, a position or a box, and segments."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from segmend.catalog.record import Layer
from segmend.core.box import Box, Point
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import as_id, id_strings
from segmend.core.registry import unknown_name

if TYPE_CHECKING:
    from segmend.catalog.dataset import Dataset

_SOURCES = {"precomputed": "precomputed://", "n5": "n5://", "zarr": "zarr://"}
"""How a viewer is told the format of a URL."""

BOX = "box"
"""Name of the annotation layer that shows a box."""


def viewer_state(
    dataset: Dataset,
    *,
    at: Point | None = None,
    box: Box | None = None,
    segments: Iterable[Any] = (),
    layer: str = "",
) -> dict[str, Any]:
    """A state that mainline Neuroglancer and Spelunker show alike.

    Nothing is read from the network if the record holds the voxel size of the image and a default
    box, or the caller gives a position.

    Args:
        dataset: The data set; its layers must lie at URLs.
        at: Centre of the view, nm ``(z, y, x)``; by default that of the box, else that of the
            record's default box, else that of the image.
        box: A box to draw.
        segments: Ids to select, integers or decimal strings.
        layer: Label layer that they belong to and that is shown; by default the neurons.

    Returns:
        A JSON object; ids in it are decimal strings.

    Raises:
        BadInputError: if the image or the layer of the ids lies in a file, which no viewer reaches,
            or an id is none.
        UnknownNameError: if there is no such label layer.
    """
    shown = _label_layer(dataset, layer)
    ids = id_strings(dict.fromkeys(as_id(i) for i in segments))
    _check_reachable(dataset, ["image", shown] if ids or layer else ["image"])
    size = dataset.layers["image"].voxel_size_nm or dataset.image.grid.voxel_size
    grid = VoxelGrid(size, (0, 0, 0), (0, 0, 0))
    layers = []
    for name, each in dataset.layers.items():
        if _reachable(each):
            written = _viewer_layer(name, each, ids if name == shown else [])
            layers.append(written if name in ("image", shown) else written | {"visible": False})
    if box is not None:
        layers.append(_box_layer(box, grid))
    centre = at or _centre(dataset, box)
    return {
        "dimensions": _dimensions(size),
        "position": _xyz(grid, centre),
        "layers": layers,
        "selectedLayer": {"layer": shown if ids else "image", "visible": True},
        "layout": "4panel",
    }


def _label_layer(dataset: Dataset, asked: str) -> str:
    labelled = {name: layer.labels for name, layer in dataset.layers.items() if layer.labels}
    if asked:
        if asked not in labelled:
            raise unknown_name(f"label layer of '{dataset.name}'", asked, labelled)
        return asked
    neurons = [name for name, spec in labelled.items() if spec.as_class == "neuron"]
    return next(iter([*neurons, *labelled]), "")


def _check_reachable(dataset: Dataset, names: list[str]) -> None:
    for name in names:
        if not name:
            raise BadInputError(f"'{dataset.name}' has no label layer to select segments in")
        if not _reachable(dataset.layers[name]):
            raise BadInputError(
                f"no viewer can show layer '{name}' of '{dataset.name}'",
                found="it lies in a file, and viewers read from URLs",
                fix="Copy a box to a precomputed folder (segmend fetch --to FOLDER) and serve that",
            )


def _reachable(layer: Layer) -> bool:
    return bool(layer.urls) and layer.driver in _SOURCES and not layer.urls[0].startswith("file://")


def _viewer_layer(name: str, layer: Layer, ids: list[str]) -> dict[str, Any]:
    written: dict[str, Any] = {
        "type": "segmentation" if layer.labels else "image",
        "source": f"{_SOURCES[layer.driver]}{layer.urls[0]}",
        "name": name,
    }
    return written | {"segments": ids} if ids else written


def _box_layer(box: Box, grid: VoxelGrid) -> dict[str, Any]:
    drawn = {
        "type": "axis_aligned_bounding_box",
        "id": BOX,
        "pointA": _xyz(grid, box.start),
        "pointB": _xyz(grid, box.stop),
    }
    transform = {"outputDimensions": _dimensions(grid.voxel_size)}
    return {
        "type": "annotation",
        "source": {"url": "local://annotations", "transform": transform},
        "annotations": [drawn],
        "name": BOX,
    }


def _dimensions(size: Point) -> dict[str, Any]:
    """Metres, from the decimal number and not from a product of floats: 8 nm is 8e-9, no less."""
    metres = [float(Decimal(str(nm)).scaleb(-9)) for nm in reversed(size)]
    return {axis: [length, "m"] for axis, length in zip("xyz", metres, strict=True)}


def _centre(dataset: Dataset, box: Box | None) -> Point:
    if box is None and dataset.record.default_box_nm is not None:
        box = Box(*dataset.record.default_box_nm)
    return (box or dataset.image.box).center


def _xyz(grid: VoxelGrid, point: Point) -> list[float]:
    found: list[float] = grid.continuous(np.array(point, np.float64))[::-1].tolist()
    return found
