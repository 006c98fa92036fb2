"""What a model is: it learns a task on a benchmark, then predicts on any benchmark.

`MODELS` knows every model by name without importing one, so that looking at the list needs neither
torch nor scikit-learn.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, require
from segmend.core.random import keyed_unit
from segmend.core.registry import Registry
from segmend.core.sample import IMAGE_SIZE, VIEWS
from segmend.shards.reader import Benchmark
from segmend.tasks.task import Task

Arrays = dict[str, NDArray[Any]]
"""Weights by name: all that a model knows besides its settings."""

LogRow = Mapping[str, float]
"""What happened in one step of training; one row of ``log.csv``."""

Report = Callable[[str, int, int], None]
"""Called with (stage, done, total) as work proceeds."""


Note = Callable[[LogRow], None]
"""Called with every row of the log when it is made."""


def quiet(stage: str, done: int, total: int) -> None:
    """Report nothing."""


def _forgotten(row: LogRow) -> None:
    """Note nothing."""


@dataclass(frozen=True, slots=True)
class Session:
    """What surrounds a training or an answer; but for ``start`` without influence on either.

    Attributes:
        report: Told about progress.
        note: Told every row of the log when it is made.
        checkpoint: Folder in which a network keeps its place after each epoch, and goes on from;
            None keeps none. Models that train in seconds keep none either.
        start: Weights to start from instead of random ones, for networks.
        packed: Packed cache to read the rows from, with the same bits; None reads the shards.
    """

    report: Report = quiet
    note: Note = _forgotten
    checkpoint: Path | None = None
    start: Arrays | None = None
    packed: Path | None = None


ALONE = Session()
"""Nobody looks on and nothing is kept."""


INPUTS = ("both", "pictures", "geometry", "em")
"""What a network may be shown: geometry and EM, both without what is measured on the geometry, or
one of them; less than all tells what each adds."""

BALANCE = ("label", "species")
"""What training rows can be balanced by."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network of another library to build on.

    Attributes:
        name: Its name in timm.
        imagenet: Whether to begin with that library's weights.
    """

    name: str
    imagenet: bool = False


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train; a model ignores what does not concern it.

    Attributes:
        seed: Key of every random draw.
        epochs: Passes over the training rows.
        batch_size: Rows per step.
        epoch_rows: Rows per epoch at the least: a smaller training split repeats within an epoch.
        learning_rate: Peak learning rate.
        ema: Decay per step of the moving average of the weights that is kept; 0 for none.
        balance: What comes equally often in training: ``label``, ``species`` or every combination.
        inputs: What a network is shown, one of `INPUTS`.
        train_rows: Train on so many rows only; a larger number holds the rows of a smaller one.
        weights: Share of the rows of a batch by task, as (task, weight) pairs, where several are
            learnt together; a task not named weighs 1. Empty for as many as each task has.
        backbone: Network to build on, for the published design; None for its own.
    """

    seed: int = 0
    epochs: int = 14
    batch_size: int = 16
    epoch_rows: int = 200
    learning_rate: float = 1e-3
    ema: float = 0.0
    balance: tuple[str, ...] = ("label", "species")
    inputs: str = "both"
    train_rows: int | None = None
    weights: tuple[tuple[str, float], ...] = ()
    backbone: Backbone | None = None

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.epoch_rows) < 1 or not self.learning_rate > 0:
            raise BadInputError(
                "training needs at least one epoch, one row per batch and a positive learning rate",
                found=str(self),
            )
        if not 0 <= self.ema < 1:
            raise BadInputError(f"the decay of an average lies in [0, 1), got {self.ema}")
        if self.inputs not in INPUTS or not set(self.balance) <= set(BALANCE):
            raise BadInputError(
                f"inputs '{self.inputs}' and balance {self.balance} cannot be used",
                fix=f"Inputs: {', '.join(INPUTS)}; balance: {', '.join(BALANCE)}",
            )
        if self.train_rows is not None and self.train_rows < 2:
            raise BadInputError(f"training needs two rows or more, got {self.train_rows}")
        if not all(0 < weight < math.inf for _, weight in self.weights):
            raise BadInputError(f"weights of tasks are positive numbers, got {self.weights}")

    def chosen(self, hashes: Sequence[str]) -> NDArray[np.int64] | None:
        """Numbers of the rows to train on, ascending; None for all.

        The first in an order by key, so that a larger number holds the rows of a smaller one.
        """
        if self.train_rows is None:
            return None
        keys = [keyed_unit("training rows", self.seed, key) for key in hashes]
        return np.sort(np.argsort(keys, kind="stable")[: self.train_rows])


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model says about the rows of one split.

    Attributes:
        task: Name of the task.
        task_version: Its version.
        model: Name of the model.
        run: Name of the run that made it.
        benchmark: sha256 of the ``shards.csv`` of the benchmark predicted on.
        split: Split predicted on.
        hashes: ``combined_sample_hash`` of every row.
        scores: Probability of label 1, float64 (rows,); None for mask tasks.
        packed_masks: Side B of every view, bits packed along the columns, uint8
            (rows, 3, 224, 28); None for binary tasks.
    """

    task: str
    task_version: str
    model: str
    run: str
    benchmark: str
    split: str
    hashes: tuple[str, ...]
    scores: NDArray[np.float64] | None = None
    packed_masks: NDArray[np.uint8] | None = None

    def mask(self, row: int) -> NDArray[np.bool_]:
        """True where side B is predicted, (3, 224, 224)."""
        if self.packed_masks is None:
            raise BadInputError(f"predictions for '{self.task}' hold no masks")
        return np.unpackbits(self.packed_masks[row], axis=-1, count=IMAGE_SIZE).astype(bool)


def pack_masks(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Masks (3, 224, 224) of many rows in the form that `Predictions` keeps."""
    if not masks:
        return np.zeros((0, len(VIEWS), IMAGE_SIZE, IMAGE_SIZE // 8), dtype=np.uint8)
    return np.stack([np.packbits(mask, axis=-1) for mask in masks])


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says, in the order of the rows it was shown.

    Attributes:
        hashes: ``combined_sample_hash`` of every row.
        scores: Probability of label 1 (rows,), for binary tasks.
        masks: Side B, packed by `pack_masks`, for mask tasks.
    """

    hashes: tuple[str, ...]
    scores: NDArray[np.float64] | None = None
    masks: NDArray[np.uint8] | None = None


class Model(Protocol):
    """A model of a task, or of several; `fit` or `restore` comes first, then `predict`."""

    def fit(
        self,
        benchmark: Benchmark,
        tasks: Sequence[Task],
        settings: TrainSettings,
        session: Session = ALONE,
    ) -> Sequence[LogRow]:
        """Learn from the training split, choose by the validation split, return the log.

        Args:
            benchmark: Where to learn.
            tasks: What to learn; one, unless `ModelEntry.joint`.
            settings: How.
            session: What surrounds it.

        Raises:
            NoSamplesError: if there is nothing to learn from.
        """
        ...

    def predict(
        self, benchmark: Benchmark, task: Task, split: str, session: Session = ALONE
    ) -> Answers:
        """Answer every row of a split.

        Args:
            benchmark: Where to predict.
            task: The question.
            split: Which rows.
            session: Whom to tell about progress, and where to read the rows from.

        Raises:
            NoSamplesError: if the split has no rows for the task.
        """
        ...

    def arrays(self) -> Arrays:
        """Everything learnt, as plain arrays."""
        ...

    def config(self) -> dict[str, Any]:
        """Everything else that `restore` needs, as JSON values."""
        ...

    def restore(self, arrays: Arrays, config: Mapping[str, Any]) -> None:
        """Become the model that was saved.

        Raises:
            BadInputError: if the arrays or settings are those of another model.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model by name, not yet imported.

    Attributes:
        name: Name on the command line.
        doc: One sentence.
        targets: Kinds of target it can predict (`Task.target_kind`).
        location: ``module:class``.
        needs: Packages of the extra ``torch`` that it imports.
        settings: How it is trained where nothing else is said.
        joint: Whether it can learn several tasks at once.
    """

    name: str
    doc: str
    targets: tuple[str, ...]
    location: str
    needs: tuple[str, ...] = ()
    settings: TrainSettings = field(default_factory=TrainSettings)
    joint: bool = False

    def supports(self, *tasks: Task) -> bool:
        """Whether the model can learn a task, or several at once."""
        able = all(task.target_kind in self.targets for task in tasks)
        return able and (self.joint or len(tasks) == 1)

    def create(self) -> Model:
        """An untrained model.

        Raises:
            MissingDependencyError: if a package it needs is not installed.
        """
        for package in self.needs:
            require(package, extra="torch")
        # Threads of OpenMP that wait in a busy loop starve each other where cores are shared:
        # training took 138 ms a row on two busy cores, 4 ms with this. Read when torch is loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        module, name = self.location.split(":")
        model: Model = getattr(import_module(module), name)()
        return model


MODELS: Registry[ModelEntry] = Registry("model")
"""Every model, chance first in spirit: what a score must beat."""

_BOTH = ("binary", "split_mask")

for _entry in (
    ModelEntry(
        "chance",
        "says what is known without looking: the prevalence, or a random cut through the middle",
        _BOTH,
        "segmend.models.chance:Chance",
    ),
    ModelEntry(
        "artefact",
        "the best single statistic that should tell nothing: order, emptiness, field of view",
        ("binary",),
        "segmend.models.probes:ArtefactProbe",
    ),
    ModelEntry(
        "content",
        "the best single statistic of what is shown: areas, contact, depth, grey values",
        ("binary",),
        "segmend.models.probes:ContentProbe",
    ),
    ModelEntry(
        "metadata",
        "the best single number beside the pictures: place, extent, size; never an input of models",
        ("binary",),
        "segmend.models.probes:MetadataProbe",
    ),
    ModelEntry(
        "geometry",
        "gradient boosting on interpretable measurements of the silhouettes and surfaces",
        ("binary",),
        "segmend.models.geometry:GeometryBoosting",
        ("sklearn",),
    ),
    ModelEntry(
        "neck",
        "masks without learning: the surface is cut where it holds together least",
        ("split_mask",),
        "segmend.models.neck:Neck",
        ("scipy",),
    ),
    ModelEntry(
        "cnn",
        "a small network on geometry and EM, for laptops",
        _BOTH,
        "segmend.models.cnn:Cnn",
        ("torch",),
        joint=True,
    ),
    ModelEntry(
        "vit-tiny",
        "the published design, every view alone, small enough for a CPU",
        _BOTH,
        "segmend.models.vit:VitTiny",
        ("torch",),
        TrainSettings(learning_rate=5e-4, ema=0.99),
        joint=True,
    ),
    ModelEntry(
        "vit-base",
        "the published design as published, ViT-B/16 on full resolution, for a GPU",
        _BOTH,
        "segmend.models.vit:VitBase",
        ("torch",),
        TrainSettings(learning_rate=1e-4, batch_size=256, ema=0.999),
        joint=True,
    ),
    ModelEntry(
        "fusion",
        "ours: all pictures of a site attend to each other, in both orders, beside measurements",
        _BOTH,
        "segmend.models.fusion:Fusion",
        ("torch",),
        joint=True,
    ),
):
    MODELS.add(_entry.name, _entry)


def rank_here() -> int:
    """Number of this process among those that ``torchrun`` started; 0 without it."""
    return int(os.environ.get("RANK", "0"))
