"""What the verb ``evaluate-segmentation`` does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.annotations.cremi import read_partners
from segmend.annotations.swc import read_swc
from segmend.apps.segmenting import CLASSES, SEGMENTATION
from segmend.catalog.dataset import Dataset
from segmend.catalog.labels import IGNORED, VOCABULARY, segment_ids
from segmend.core.box import Box, VoxelBox
from segmend.core.errors import BadInputError, GridMismatchError
from segmend.core.ids import as_ids
from segmend.metrics.segmentation.clefts import CleftVoxels, cleft_scores, cleft_voxels, merged
from segmend.metrics.segmentation.partners import partner_scores
from segmend.metrics.segmentation.run_length import LabelledSkeleton, expected_run_length
from segmend.segmentation.baselines import BASELINES, CLASS_BASELINES
from segmend.segmentation.inference import read_mirrored
from segmend.segmentation.partners import ids_at, partner_pairs
from segmend.segmentation.scores import BLOCK, Reader, class_scores, score_box
from segmend.volumes.export.plan import pieces
from segmend.volumes.open import open_volume
from segmend.volumes.volume import Volume

CREMI_NOTHING = (2**64 - 1, 2**64 - 2)
"""No cleft, and not labelled, in CREMI's layers of clefts (reference/datasets.md, D)."""


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """What ``evaluate-segmentation`` was asked for.

    Attributes:
        labels: Layer of the true neurons: what segments are scored against, or with ``partners``
            what tells these apart. Empty: neither.
        box: To score; None: all of the segmentation.
        border_nm: CREMI's border.
        beside: Further layers of the data set that are scored beside.
        baselines: Whether what needs no model is scored beside.
        clefts: Layer of true synaptic clefts; empty: they are not scored.
        clefts_key: Array of the file that holds what was found: classes, or ids as CREMI's.
        partners: CREMI file of true synaptic partners; None: they are not scored.
        skeletons: SWC files of true neurons, nm; none: no run length.
    """

    labels: str
    box: Box | None
    border_nm: float
    beside: tuple[str, ...]
    baselines: bool
    clefts: str = ""
    clefts_key: str = CLASSES
    partners: Path | None = None
    skeletons: tuple[Path, ...] = ()


def evaluate_segmentation(
    found: Path, dataset: Dataset, request: EvaluateRequest
) -> dict[str, Any]:
    """Score a file of `segmend.apps.segmenting.predict_segmentation`, or any volume of ids.

    Returns:
        Rows by name under ``segments`` or ``partners``, ``clefts`` and ``skeletons``, as far as
        they are asked for, or under ``classes`` if none is.

    Raises:
        BadInputError: for partners without a layer of true neurons.
    """
    scores: dict[str, Any] = {}
    if request.labels and request.partners is None:  # a file of partners need hold no segments
        scores["segments"] = _segment_rows(found, dataset, request)
    if request.clefts:
        scores["clefts"] = {found.name: _cleft_row(found, dataset, request)}
    if request.partners is not None:
        scores["partners"] = {found.name: _partner_row(found, dataset, request)}
    if request.skeletons:
        scores["skeletons"] = {found.name: _run_length_row(found, request.skeletons)}
    return scores or {"classes": _class_rows(found, dataset, request)}


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
    answers = {"": mine}
    if request.baselines:
        image = read_mirrored(dataset.image, dataset.image.grid.to_voxels(box))
        answers |= {f"{name}: ": say(image) for name, say in CLASS_BASELINES.items()}
    return {
        f"{prefix}{name}": row
        for prefix, answer in answers.items()
        for name, row in class_scores(answer, theirs, VOCABULARY, unknown=IGNORED).items()
        if not math.isnan(row["f1"])
    }


def _cleft_row(found: Path, dataset: Dataset, request: EvaluateRequest) -> dict[str, float]:
    """Clefts of a prediction's classes, or of a layer as CREMI's, against true ones."""
    layer = dataset.labels[request.clefts]
    said = open_volume(found, key=request.clefts_key)
    box = request.box or said.box
    blocks = (
        _clefts_of(request, said, dataset, layer.grid.to_box(block))
        for block in pieces(layer.grid.to_voxels(box, "exact"), BLOCK)
    )
    scores = cleft_scores(merged(blocks), voxel_size=layer.grid.voxel_size)
    return {"cremi_score": scores.cremi, "f_score": scores.f_score} | asdict(scores)


def _clefts_of(request: EvaluateRequest, said: Volume, dataset: Dataset, box: Box) -> CleftVoxels:
    """Clefts of one block, in voxels of the layer that knows the true ones."""
    layer, spec = dataset.labels[request.clefts], dataset.spec(request.clefts)
    mine, theirs = (v.read_voxels(v.grid.to_voxels(box, "exact")).data for v in (said, layer))
    if request.clefts_key == CLASSES:
        clefts = mine == VOCABULARY.index("cleft")
    else:
        clefts = ~np.isin(as_ids(mine), np.array((0, *CREMI_NOTHING), np.uint64))
    return cleft_voxels(
        clefts,
        segment_ids(theirs, spec, source=layer.source) != 0,
        start=layer.grid.to_voxels(box).start,
        known=~np.isin(as_ids(theirs), np.array(spec.invalid, np.uint64)),
    )


def _partner_row(found: Path, dataset: Dataset, request: EvaluateRequest) -> dict[str, float]:
    """Partners of a CREMI file against those of another, by the true neurons at their ends."""
    if not request.labels or request.partners is None:
        raise BadInputError(
            "partners are told apart by the true neurons at their ends",
            fix="Name the layer of true neurons: --labels",
        )
    neurons = dataset.labels[request.labels]
    said, true = (partner_pairs(read_partners(p), neurons) for p in (found, request.partners))
    scores = partner_scores(said, true)
    return {
        "f_score": scores.f_score,
        "true_positives": scores.true_positives,
        "false_positives": scores.false_positives,
        "false_negatives": scores.false_negatives,
    }


def _run_length_row(found: Path, skeletons: Sequence[Path]) -> dict[str, float]:
    """Expected run length on skeletons, one neuron per file."""
    said, labelled = _segments_at(found), []
    for file in skeletons:
        swc = read_swc(file)
        nodes = swc.positions_nm(1)
        child = np.flatnonzero(swc.parents >= 0)
        edges = np.stack([child, swc.parents[child]], axis=1)
        labelled.append(LabelledSkeleton(nodes, edges, ids_at(nodes, said)))
    scores = expected_run_length(labelled)
    return {"nerl": scores.normalised} | asdict(scores)
