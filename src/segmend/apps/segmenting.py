"""What the verbs ``train-segmentation``, ``predict-segmentation``, ``evaluate-segmentation`` do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.catalog.dataset import Dataset
from segmend.catalog.labels import IGNORED, VOCABULARY, LabelSpec, segment_ids
from segmend.core.box import Box, Triple, VoxelBox
from segmend.core.errors import BadInputError, GridMismatchError
from segmend.core.ids import as_ids
from segmend.patches.augment import DEFAULT
from segmend.patches.sources import Source
from segmend.segmentation.affinities import offsets_for
from segmend.segmentation.baselines import BASELINES
from segmend.segmentation.decode import decode
from segmend.segmentation.inference import Report, predict, quiet, read_mirrored
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
from segmend.segmentation.scores import Reader, class_scores, score_box
from segmend.segmentation.tiles import tiling_for
from segmend.segmentation.train import State, TrainSettings, class_weights_of, train
from segmend.volumes.drivers.memory import MemoryDriver
from segmend.volumes.export.layers import BoxLayer, export_layers
from segmend.volumes.open import open_volume
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
    """

    box: Box | None
    tile: Triple
    halo: Triple
    decoder: str
    threshold: float
    min_voxels: int


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
    answers = predict(
        as_function(network, device=device_of_choice()),
        image,
        voxels,
        tiling,
        channels=shape.outputs,
        report=report,
    )
    layers: dict[str, NDArray[Any]] = {}
    split = len(shape.offsets)
    if split:
        layers[SEGMENTATION] = decode(
            answers[:split],
            shape.offsets,
            decoder=request.decoder,
            threshold=request.threshold,
            min_voxels=request.min_voxels,
        )
    if shape.classes:
        layers[CLASSES] = answers[split:].argmax(axis=0).astype(np.uint8)
    grid = image.grid.crop(voxels)
    return export_layers(
        {
            key: BoxLayer(Volume(MemoryDriver(array, grid, f"{run}: {key}")), grid.voxels, "labels")
            for key, array in layers.items()
        },
        out,
        report=report,
    )


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """What ``evaluate-segmentation`` was asked for.

    Attributes:
        labels: Layer of the ground truth; empty: only classes are scored.
        box: To score; None: all of the segmentation.
        border_nm: CREMI's border.
        beside: Further layers of the data set that are scored beside.
        baselines: Whether what needs no model is scored beside.
    """

    labels: str
    box: Box | None
    border_nm: float
    beside: tuple[str, ...]
    baselines: bool


def evaluate_segmentation(
    found: Path, dataset: Dataset, request: EvaluateRequest
) -> dict[str, Any]:
    """Score a file of `predict_segmentation`, or any volume of ids.

    Returns:
        Rows by name under ``segments``, and classes by name under ``classes`` if both sides have
        them.
    """
    scores: dict[str, Any] = {}
    if request.labels:
        scores["segments"] = _segment_rows(found, dataset, request)
    else:
        scores["classes"] = _class_rows(found, dataset, request)
    return scores


def _segment_rows(
    found: Path, dataset: Dataset, request: EvaluateRequest
) -> dict[str, Mapping[str, float]]:
    said = _segments_at(found)
    truth = dataset.labels[request.labels]
    box = request.box or said.box
    voxels = truth.grid.to_voxels(box, "exact" if request.box is None else "outer")
    readers: dict[str, Reader] = {found.name: _ids_of(said, truth)}
    for name in request.beside:
        readers[name] = _layer_of(dataset, name, truth)
    if request.baselines:
        image = read_mirrored(dataset.image, dataset.image.grid.to_voxels(box))
        for name, baseline in BASELINES.items():
            readers[name] = _array_of(baseline(image), voxels)
    true_ids = _layer_of(dataset, request.labels, truth)
    return {
        name: score_box(reader, true_ids, truth.grid, voxels, border_nm=request.border_nm).numbers()
        for name, reader in readers.items()
    }


def _segments_at(found: Path) -> Volume:
    keys = {".h5": SEGMENTATION, ".hdf": SEGMENTATION}
    return open_volume(found, key=keys.get(found.suffix))


def _ids_of(volume: Volume, truth: Volume) -> Reader:
    """Ids of a volume by the voxels of another."""
    if volume.grid.voxel_size != truth.grid.voxel_size:
        raise GridMismatchError(
            f"{volume.source} and the ground truth have other voxels",
            found=f"{volume.grid.voxel_size} and {truth.grid.voxel_size} nm (z, y, x)",
        )
    return lambda voxels: as_ids(
        volume.read_voxels(volume.grid.to_voxels(truth.grid.to_box(voxels), "exact")).data
    )


def _layer_of(dataset: Dataset, name: str, truth: Volume) -> Reader:
    volume, spec = dataset.labels[name], dataset.spec(name)
    stored = _ids_of(volume, truth)
    return lambda voxels: segment_ids(stored(voxels), spec, source=volume.source)


def _array_of(ids: NDArray[np.uint64], box: VoxelBox) -> Reader:
    back = (-box.start[0], -box.start[1], -box.start[2])
    return lambda voxels: ids[voxels.shift(back).slices]


def _class_rows(
    found: Path, dataset: Dataset, request: EvaluateRequest
) -> dict[str, dict[str, float]]:
    said = open_volume(found, key=CLASSES)
    truth = dataset.classes
    box = request.box or said.box
    mine, theirs = (v.read_voxels(v.grid.to_voxels(box, "exact")).data for v in (said, truth))
    scores = class_scores(mine, theirs, VOCABULARY, unknown=IGNORED)
    return {name: row for name, row in scores.items() if not math.isnan(row["f1"])}
