"""What a model is: it learns a task on a benchmark, then predicts on any benchmark.

`MODELS` knows every model by name without importing one, so that looking at the list needs neither
torch nor scikit-learn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, require
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


def quiet(stage: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train; a model ignores what does not concern it.

    Attributes:
        seed: Key of every random draw.
        epochs: Passes over the training rows.
        batch_size: Rows per step.
        epoch_rows: Rows per epoch at the least: a smaller training split repeats within an epoch.
        learning_rate: Peak learning rate.
    """

    seed: int = 0
    epochs: int = 14
    batch_size: int = 16
    epoch_rows: int = 200
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.epoch_rows) < 1 or not self.learning_rate > 0:
            raise BadInputError(
                "training needs at least one epoch, one row per batch and a positive learning rate",
                found=str(self),
            )


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
    """A model of one task; `fit` or `restore` comes first, then `predict`."""

    def fit(
        self, benchmark: Benchmark, task: Task, settings: TrainSettings, *, report: Report = quiet
    ) -> Sequence[LogRow]:
        """Learn from the training split, choose by the validation split, return the log.

        Raises:
            NoSamplesError: if there is nothing to learn from.
        """
        ...

    def predict(
        self, benchmark: Benchmark, task: Task, split: str, *, report: Report = quiet
    ) -> Answers:
        """Answer every row of a split.

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
    """

    name: str
    doc: str
    targets: tuple[str, ...]
    location: str
    needs: tuple[str, ...] = ()

    def supports(self, task: Task) -> bool:
        """Whether the model can learn a task."""
        return task.target_kind in self.targets

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

for _entry in (
    ModelEntry(
        "chance",
        "says what is known without looking: the prevalence, or a random cut through the middle",
        ("binary", "split_mask"),
        "segmend.models.chance:Chance",
    ),
    ModelEntry(
        "geometry",
        "gradient boosting on interpretable measurements of the silhouettes and surfaces",
        ("binary",),
        "segmend.models.geometry:GeometryBoosting",
        ("sklearn",),
    ),
    ModelEntry(
        "cnn",
        "a small network on geometry and EM, for laptops",
        ("binary", "split_mask"),
        "segmend.models.cnn:Cnn",
        ("torch",),
    ),
):
    MODELS.add(_entry.name, _entry)
