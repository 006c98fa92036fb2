"""Stand-ins of the data sets that are read from where they lie: precomputed folders and an N5.

Every layer has the published scales, encoding, chunks and offset (`layouts`), holds synthetic
tissue, and lies below a folder named like its bucket, so that ``gs://BUCKET/PATH`` becomes
``URL/BUCKET/PATH``. Encoders are others' (`compressed_segmentation`, `simplejpeg`) or plain bytes,
never segmend's own: what is read back was not written by the reader's sister.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import compressed_segmentation  # type: ignore[import-not-found]
import msgspec
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from segmend.catalog.record import Layer, Record
from segmend.catalog.tissue import cached_tissue
from segmend.core.box import Box, Point, Triple, VoxelBox
from segmend.core.grid import VoxelGrid
from segmend.synthetic.write import KEYS
from segmend.testing.standins.layouts import LAYOUTS, Layout, Published
from segmend.volumes.export.plan import pieces

SEED = 5
REGION_VOXELS: Triple = (20, 24, 28)
"""Size of a layer of regions at its finest scale: it goes on beyond the image."""

BLOCK = (8, 8, 8)
JPEG_QUALITY = 90

Stored = tuple[NDArray[Any], VoxelGrid]


def write(record: Record, published: Path, url: str) -> Record:
    """Write every layer of every version of a data set.

    Args:
        record: The shipped record.
        published: The folder to write below.
        url: Where that folder will be found.

    Returns:
        The record of the stand-in: other URLs, shapes and default box.
    """

    def derived(name: str, layer: Layer) -> Layer:
        for place in layer.urls:
            _write_layer(record.name, name, published / _path(place))
        _, grid = layer_voxels(record.name, name, layer.voxel_size_nm)
        return msgspec.structs.replace(
            layer,
            urls=tuple(f"{url}/{_path(place)}" for place in layer.urls),
            shape=grid.shape if layer.shape else None,
        )

    layers = {name: derived(name, layer) for name, layer in record.layers.items()}
    versions = {
        version: msgspec.structs.replace(
            part, layers={n: derived(n, layer) for n, layer in part.layers.items()}
        )
        for version, part in record.versions.items()
    }
    box = reference_box(record.name)
    return msgspec.structs.replace(
        record, layers=layers, versions=versions, default_box_nm=(box.start, box.stop)
    )


def reference_box(name: str) -> Box:
    """A box that image and neurons of a stand-in both hold."""
    published = LAYOUTS[name]
    grid = _tissue_grid(published)
    inset = max(published.layers["neurons"].inset)
    return grid.to_box(VoxelBox((inset,) * 3, (inset + 16, inset + 24, inset + 32)))


def layer_voxels(name: str, layer: str, voxel_size: Point | None = None) -> Stored:
    """What a layer of a stand-in holds.

    Args:
        name: The data set.
        layer: The layer.
        voxel_size: The scale, nm ``(z, y, x)``; None: the finest.

    Returns:
        Voxels ``(z, y, x)`` before any lossy encoding, and where they lie.
    """
    published = LAYOUTS[name]
    layout = published.layers[layer]
    if layout.holds == "regions":
        finest = _regions(layout)
    else:
        array = _tissue(published.shape, published.voxel_size)[layout.holds]
        inner = VoxelBox(layout.inset, tuple(np.subtract(array.shape, layout.inset)))
        finest = array[inner.slices], _tissue_grid(published).crop(inner)
    return _at_scale(finest, voxel_size or layout.voxel_sizes[0])


@cache
def _tissue(shape: Triple, voxel_size: Point) -> dict[str, NDArray[Any]]:
    import h5py

    spec = {"seed": SEED, "shape": shape, "voxel_size": voxel_size}
    with h5py.File(cached_tissue(spec)) as file:
        tissue = {name: file[key][...] for name, key in KEYS.items()}
    tissue["image"] = tissue.pop("em")
    tissue["classes"] = tissue["classes"].astype(np.uint32)
    return tissue


def _tissue_grid(published: Published) -> VoxelGrid:
    corner = np.multiply(published.offset, published.voxel_size)
    return VoxelGrid(published.voxel_size, corner.tolist(), published.shape)


def _regions(layout: Layout) -> Stored:
    """Balls in a row along the diagonal, the first over the image; much of the layer is empty."""
    grid = VoxelGrid(layout.voxel_sizes[0], (0, 0, 0), REGION_VOXELS)
    voxels = np.moveaxis(np.indices(REGION_VOXELS), 0, -1)
    found = np.zeros(REGION_VOXELS, np.uint64)
    for order, region in enumerate(layout.names or {1: ""}):
        centre = 2 + 4 * order
        found[np.linalg.norm(voxels - (centre, centre, centre + 1), axis=-1) < 2.5] = region
    return found, grid


def _at_scale(finest: Stored, voxel_size: Point) -> Stored:
    """The voxel under the centre of each voxel of a scale, whose corners are multiples of it."""
    array, grid = finest
    whole = VoxelGrid(voxel_size, (0, 0, 0), (0, 0, 0))
    voxels = whole.to_voxels(grid.box)
    scale = whole.crop(voxels)
    axes = []
    for axis, count in enumerate(scale.shape):
        index = np.zeros((count, 3), np.int64)
        index[:, axis] = np.arange(count)
        under = np.floor(grid.continuous(scale.centers(index))[:, axis]).astype(np.int64)
        axes.append(np.clip(under, 0, array.shape[axis] - 1))
    return array[np.ix_(*axes)], scale


def _path(url: str) -> str:
    """The bucket or host, and the path in it."""
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path}"


def _write_layer(name: str, layer: str, folder: Path) -> None:
    layout = LAYOUTS[name].layers[layer]
    scales = [layer_voxels(name, layer, size) for size in layout.voxel_sizes]
    folder.mkdir(parents=True, exist_ok=True)
    if layout.encoding == "n5":
        _write_n5(scales, layout, folder)
        return
    info = {
        "@type": "neuroglancer_multiscale_volume",
        "type": "image" if layout.holds == "image" else "segmentation",
        "data_type": str(scales[0][0].dtype),
        "num_channels": 1,
        "scales": [_scale(grid, layout) for _, grid in scales],
    }
    if layout.names:
        info["segment_properties"] = "segment_properties"
        _write_json(folder / "segment_properties" / "info", _properties(layout.names))
    _write_json(folder / "info", info)
    for number, (array, grid) in enumerate(scales):
        if number not in layout.empty:
            _write_chunks(array, grid, layout, folder)


def _scale(grid: VoxelGrid, layout: Layout) -> dict[str, Any]:
    scale: dict[str, Any] = {
        "key": _key(grid),
        "size": grid.shape[::-1],
        "resolution": [int(size) for size in grid.voxel_size[::-1]],
        "voxel_offset": _voxel_offset(grid)[::-1],
        "chunk_sizes": [layout.chunk[::-1]],
        "encoding": layout.encoding,
    }
    if layout.encoding == "compressed_segmentation":
        scale["compressed_segmentation_block_size"] = BLOCK
    return scale


def _key(grid: VoxelGrid) -> str:
    return "_".join(f"{size:g}" for size in grid.voxel_size[::-1])


def _voxel_offset(grid: VoxelGrid) -> Triple:
    z, y, x = (a // n for a, n in zip(grid.offset_pm, grid.voxel_size_pm, strict=True))
    return (z, y, x)


def _properties(names: Any) -> dict[str, Any]:
    ids, values = [str(region) for region in names], list(names.values())
    label = {"id": "source", "type": "label", "values": values}
    inline = {"ids": ids, "properties": [label]}
    return {"@type": "neuroglancer_segment_properties", "inline": inline}


def _write_chunks(array: NDArray[Any], grid: VoxelGrid, layout: Layout, folder: Path) -> None:
    encode = _ENCODERS[layout.encoding]
    (folder / _key(grid)).mkdir(exist_ok=True)
    for chunk in pieces(VoxelBox((0, 0, 0), array.shape), layout.chunk):
        voxels = array[chunk.slices]
        if layout.holds == "regions" and not voxels.any():
            continue  # an empty chunk of labels is not stored
        placed = chunk.shift(_voxel_offset(grid))
        spans = zip(placed.start[::-1], placed.stop[::-1], strict=True)
        key = "_".join(f"{a}-{b}" for a, b in spans)
        (folder / _key(grid) / key).write_bytes(encode(voxels))


def _raw(voxels: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(voxels).tobytes()


def _jpeg(voxels: NDArray[Any]) -> bytes:
    """Sections below one another, as the format says."""
    tall = np.ascontiguousarray(voxels.reshape(-1, voxels.shape[2], 1))
    encoded: bytes = simplejpeg.encode_jpeg(tall, JPEG_QUALITY, "GRAY")
    return encoded


def _compressed(voxels: NDArray[Any]) -> bytes:
    xyz = np.asfortranarray(voxels.transpose(2, 1, 0)[..., None])
    encoded: bytes = compressed_segmentation.compress(xyz, block_size=BLOCK, order="F")
    return encoded


_ENCODERS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    "raw": _raw,
    "jpeg": _jpeg,
    "compressed_segmentation": _compressed,
}


def _write_n5(scales: list[Stored], layout: Layout, folder: Path) -> None:
    """Groups ``s0``, ``s1``, ... of blocks without compression, and no word on the voxel size.

    The format: https://github.com/saalfeldlab/n5#file-system-specification
    """
    _write_json(folder / "attributes.json", {"n5": "2.0.0"})
    for number, (array, grid) in enumerate(scales):
        factors = [
            round(a / b) for a, b in zip(grid.voxel_size, layout.voxel_sizes[0], strict=True)
        ]
        place = folder / f"s{number}"
        attributes = {
            "dimensions": array.shape[::-1],
            "blockSize": layout.chunk[::-1],
            "dataType": str(array.dtype),
            "compression": {"type": "raw"},
            "downsamplingFactors": factors[::-1],
        }
        _write_json(place / "attributes.json", attributes)
        for block in pieces(VoxelBox((0, 0, 0), array.shape), layout.chunk):
            x, y, z = (a // n for a, n in zip(block.start[::-1], layout.chunk[::-1], strict=True))
            head = np.array([0, 3], ">u2").tobytes() + np.array(block.shape[::-1], ">u4").tobytes()
            file = place / str(x) / str(y) / str(z)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(head + _raw(array[block.slices]))


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
