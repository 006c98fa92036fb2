"""What the verbs ``train-segmentation`` and ``predict-segmentation`` do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.catalog.dataset import Dataset
from segmend.catalog.labels import VOCABULARY, LabelSpec
from segmend.core.box import Box, Triple
from segmend.core.errors import BadInputError, GridMismatchError
from segmend.patches.augment import DEFAULT
from segmend.patches.sources import Source
from segmend.segmentation.affinities import offsets_for
from segmend.segmentation.blocks import BLOCK, decode_blocks, margin_for
from segmend.segmentation.decode import decode
from segmend.segmentation.inference import Report, predict, quiet
from segmend.segmentation.lessons import held_back, lessons, targets_of
from segmend.segmentation.network import NetworkShape
from segmend.segmentation.run import (
    RunFolder,
    as_function,
    device_of_choice,
    load_network,
    read_config,
    shape_of,
)
from segmend.segmentation.tiles import tiling_for
from segmend.segmentation.train import State, TrainSettings, class_weights_of, train
from segmend.store.atomic import output_errors
from segmend.volumes.drivers.memory import MemoryDriver
from segmend.volumes.export.layers import BoxLayer, export_layers
from segmend.volumes.volume import Volume

SEGMENTATION, CLASSES = "volumes/labels/segmentation", "volumes/labels/classes"
"""Keys of a prediction's file."""


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What ``train-segmentation`` was asked for.

    Attributes:
        labels: Layer whose ids are learnt as affinities; empty: none.
        classes: Whether the common classes are learnt.
        box: To learn from; None: all of the image.
        validation: To choose the best weights by; None: the last ones are kept.
        crop: Voxels of a patch ``(z, y, x)``.
        zero_is: What id 0 is: ``unknown`` or ``boundary``.
        width: Channels of the finest level.
        resume: Go on with what the folder holds.
    """

    labels: str
    classes: bool
    box: Box | None
    validation: Box | None
    crop: Triple
    zero_is: str
    width: int
    resume: bool


def train_segmentation(
    dataset: Dataset,
    out: Path,
    request: TrainRequest,
    settings: TrainSettings,
    *,
    report: Report = quiet,
) -> State:
    """Train a network and leave a finished run in a folder.

    Raises:
        BadInputError: if boxes overlap or do not fit, or there is nothing to learn.
    """
    grid = dataset.image.grid
    box, validation = request.box or grid.box, request.validation
    if validation is not None and box.intersect(validation) is not None:
        raise BadInputError(
            "the boxes to learn from and to validate on overlap",
            found=f"{box} and {validation}",
            fix="A score on what was learnt says nothing; choose boxes apart",
        )
    source = _source(dataset, request, box)
    shape = NetworkShape.for_voxels(
        grid.voxel_size,
        offsets=offsets_for(grid.voxel_size) if request.labels else (),
        classes=VOCABULARY if request.classes else (),
        width=request.width,
    )
    size = _multiple(request.crop, shape.stride)
    targets = targets_of(source, shape.offsets, zero_is=request.zero_is)
    learnt = lessons(
        source, size, targets, length=settings.steps * settings.crops, seed=settings.seed
    )
    if validation is not None:
        apart = _source(dataset, request, validation)
        fitting = [min(s, n) for s, n in zip(size, apart.voxels.shape, strict=True)]
        small = _multiple(fitting, shape.stride, up=False)
        learnt = replace(learnt, held_back=held_back(apart, small, targets))
    told = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint(),
        "labels": request.labels,
        "box_nm": _corners(box),
        "validation_box_nm": None if validation is None else _corners(validation),
        "crop": list(size),
        "zero_is": request.zero_is,
        "voxel_size_nm": list(grid.voxel_size),
        "augment": [repr(change) for change in DEFAULT],
    }
    folder = RunFolder(out)
    state = folder.begin(shape, settings, told, resume=request.resume)
    train(
        state,
        learnt,
        settings,
        class_weights=class_weights_of(learnt, len(shape.classes)),
        device=device_of_choice(),
        save=folder.save,
        report=report,
    )
    folder.finish(state)
    return state


def _source(dataset: Dataset, request: TrainRequest, box: Box) -> Source:
    dataset.check_box(box)
    return Source(
        dataset.name,
        dataset.image,
        dataset.labels[request.labels] if request.labels else None,
        dataset.spec(request.labels) if request.labels else LabelSpec("instance"),
        dataset.classes if request.classes else None,
        dataset.record.licence.name,
        box,
    )


def _multiple(sizes: Sequence[int], stride: Triple, *, up: bool = True) -> Triple:
    z, y, x = (max(1, -(-n // s) if up else n // s) * s for n, s in zip(sizes, stride, strict=True))
    return z, y, x


def _corners(box: Box) -> list[list[float]]:
    return [list(box.start), list(box.stop)]


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What ``predict-segmentation`` was asked for.

    Attributes:
        box: To predict; None: all of the image.
        tile: Largest tile, voxels ``(z, y, x)``.
        halo: Context around a tile's window, voxels ``(z, y, x)``.
        decoder: How affinities become segments.
        threshold: Affinity from which on an edge joins.
        min_voxels: Smaller segments go to a neighbour.
        block: Voxels decoded at a time ``(z, y, x)``, margins aside.
    """

    box: Box | None
    tile: Triple
    halo: Triple
    decoder: str
    threshold: float
    min_voxels: int
    block: Triple = BLOCK


def predict_segmentation(
    run: Path, image: Volume, out: Path, request: PredictRequest, *, report: Report = quiet
) -> dict[str, Any]:
    """Segment a box and write its layers into an HDF5 file.

    Returns:
        What was written, by key.

    Raises:
        GridMismatchError: if the image has other voxels than the run was trained on.
    """
    config, network = read_config(run), load_network(run)
    shape = shape_of(config)
    trained = tuple(config["told"]["voxel_size_nm"])
    if image.grid.voxel_size != trained:
        raise GridMismatchError(
            f"{run} was trained on voxels of {trained} nm (z, y, x)",
            found=f"those of {image.source} are {image.grid.voxel_size}",
            fix="Choose another scale, or train on these voxels",
        )
    voxels = image.grid.voxels if request.box is None else image.grid.to_voxels(request.box)
    tiling = tiling_for(voxels.shape, tile=request.tile, halo=request.halo, stride=shape.stride)
    answer = as_function(network, device=device_of_choice())
    grid = image.grid.crop(voxels)
    # Affinities and ids of a box larger than memory lie in files beside what is written.
    with output_errors(out), TemporaryDirectory(prefix=".segmend-", dir=out.parent) as scratch:
        answers = _mapped(scratch, "answers", (shape.outputs, *voxels.shape), np.uint8)
        predict(answer, image, voxels, tiling, out=answers, report=report)
        layers: dict[str, NDArray[Any]] = {}
        split = len(shape.offsets)
        if split:
            layers[SEGMENTATION] = _mapped(scratch, "ids", voxels.shape, np.uint64)
            decode_blocks(
                answers[:split],
                partial(
                    decode,
                    offsets=shape.offsets,
                    decoder=request.decoder,
                    threshold=request.threshold,
                    min_voxels=request.min_voxels,
                ),
                layers[SEGMENTATION],
                margin=margin_for(shape.offsets),
                block=request.block,
                report=report,
            )
        if shape.classes:
            layers[CLASSES] = _mapped(scratch, "classes", voxels.shape, np.uint8)
            for z in range(voxels.shape[0]):
                layers[CLASSES][z] = answers[split:, z].argmax(axis=0)
        return export_layers(
            {
                key: BoxLayer(
                    Volume(MemoryDriver(array, grid, f"{run}: {key}")), grid.voxels, "labels"
                )
                for key, array in layers.items()
            },
            out,
            report=report,
        )


def _mapped(folder: str, name: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    return np.lib.format.open_memmap(
        Path(folder) / f"{name}.npy", mode="w+", dtype=dtype, shape=shape
    )
