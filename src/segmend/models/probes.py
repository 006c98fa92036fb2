"""Probes: what a shortcut alone scores, so that every table shows it.

Each looks at one number of a row and learns which number and which direction on the training rows.
On a sound benchmark the artefact probe is at chance; the content probe is the floor to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, NoSamplesError
from segmend.loaders.examples import Examples, examples
from segmend.metrics.classification import auroc
from segmend.models.model import (
    ALONE,
    Answers,
    Arrays,
    LogRow,
    Report,
    Session,
    TrainSettings,
    quiet,
)
from segmend.models.statistics import (
    Row,
    artefact_statistics,
    content_statistics,
    metadata_statistics,
)
from segmend.shards.reader import Benchmark
from segmend.tasks.task import Inputs, Task

_STEPS, _RIDGE = 25, 1e-3
"""Newton's method on two numbers converges in a few steps; the ridge keeps them finite."""


class Probe:
    """A logistic curve on the statistic whose AUROC on the training rows is farthest from 0.5.

    A statistic that a row does not have takes its median over the training rows.
    """

    def __init__(self) -> None:
        self._name = ""
        self._curve = np.zeros(4)  # slope, offset, median, scale

    def table(self, rows: Examples, report: Report) -> list[Row]:
        """The statistics of all rows, in order."""
        raise NotImplementedError

    def fit(
        self,
        benchmark: Benchmark,
        task: Task,
        settings: TrainSettings,  # noqa: ARG002 - nothing is drawn
        session: Session = ALONE,
    ) -> Sequence[LogRow]:
        """Choose the statistic and fit the curve, both classes counting the same."""
        rows = examples(benchmark, task, "train", targets=False)
        labels = rows.labels
        if len(np.unique(labels)) < 2:
            raise NoSamplesError(
                f"the training split of '{task.name}' has one class only",
                found=f"{len(labels)} rows of label {labels[0]:g}",
                fix="Build a benchmark with edits and controls",
            )
        table = self.table(rows, session.report)
        columns = {name: np.array([row[name] for row in table]) for name in table[0]}
        usable = {n: _filled(v, float(np.nanmedian(v))) for n, v in columns.items() if _varies(v)}
        if not usable:
            self._name, self._curve = next(iter(columns)), np.array([0.0, 0.0, 0.0, 1.0])
            return ()
        found = {name: auroc(labels, values) for name, values in usable.items()}
        self._name = max(found, key=lambda name: abs(found[name] - 0.5))
        median, scale = np.median(usable[self._name]), usable[self._name].std()
        slope, offset = _logistic((usable[self._name] - median) / scale, labels)
        self._curve = np.array([slope, offset, median, scale])
        return [{name: float(found[name]) for name in sorted(found)}]

    def predict(
        self, benchmark: Benchmark, task: Task, split: str, *, report: Report = quiet
    ) -> Answers:
        """Probability of label 1 for every row."""
        if not self._name:
            raise BadInputError("this probe was never trained", fix="Train it first")
        rows = examples(benchmark, task, split, targets=False)
        table = self.table(rows, report)
        if self._name not in table[0]:
            raise BadInputError(
                f"rows of '{task.name}' have no statistic '{self._name}'",
                fix="Train it on this task",
            )
        slope, offset, median, scale = self._curve
        values = _filled(np.array([row[self._name] for row in table]), median)
        odds = slope * (values - median) / scale + offset
        return Answers(rows.hashes, scores=np.exp(-np.logaddexp(0, -odds)))

    def arrays(self) -> Arrays:
        """The curve."""
        return {"curve": self._curve}

    def config(self) -> dict[str, Any]:
        """The statistic it looks at."""
        return {"statistic": self._name}

    def restore(self, arrays: Arrays, config: Mapping[str, Any]) -> None:
        """Become a saved probe."""
        curve = arrays.get("curve", np.zeros(0))
        if curve.shape != (4,) or not np.isfinite(curve).all() or not curve[3] > 0:
            raise BadInputError(
                "these weights are those of another model", found=f"{sorted(arrays)}"
            )
        self._name, self._curve = str(config["statistic"]), curve


class _ShownProbe(Probe):
    """A probe of what a model is shown."""

    measure: Callable[..., Row]

    def table(self, rows: Examples, report: Report) -> list[Row]:
        """The statistics of all rows, in order."""
        measured = []
        for done, example in enumerate(rows, start=1):
            measured.append(type(self).measure(example.inputs, dual=rows.task.dual))
            report("measuring", done, len(rows))
        return measured


class ArtefactProbe(_ShownProbe):
    """What should tell nothing."""

    @staticmethod
    def measure(inputs: Inputs, *, dual: bool) -> Row:
        """See `artefact_statistics`."""
        return artefact_statistics(inputs, dual=dual)


class ContentProbe(_ShownProbe):
    """What the tissue shows."""

    @staticmethod
    def measure(inputs: Inputs, *, dual: bool) -> Row:
        """See `content_statistics`."""
        return content_statistics(inputs, dual=dual)


class MetadataProbe(Probe):
    """What lies beside the pictures and no other model may see."""

    def table(self, rows: Examples, report: Report) -> list[Row]:
        """The statistics of all rows, in order."""
        found = metadata_statistics(rows.benchmark, rows.positions)
        report("measuring", len(rows), len(rows))
        return found


def _varies(values: NDArray[np.float64]) -> bool:
    kept = values[~np.isnan(values)]
    return bool(kept.size) and float(np.ptp(kept)) > 0


def _filled(values: NDArray[np.float64], stand_in: float) -> NDArray[np.float64]:
    return np.where(np.isnan(values), stand_in, values)


def _logistic(values: NDArray[np.float64], labels: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and offset of the likeliest logistic curve, both classes weighing the same."""
    design = np.stack([values, np.ones_like(values)], axis=1)
    share = labels.mean()
    weights = np.where(labels > 0, 0.5 / share, 0.5 / (1 - share)) / len(labels)
    found = np.zeros(2)
    for _ in range(_STEPS):
        said = 1 / (1 + np.exp(-np.clip(design @ found, -30, 30)))
        slope = design.T @ (weights * (said - labels)) + _RIDGE * found
        bend = (design * (weights * said * (1 - said))[:, None]).T @ design + _RIDGE * np.eye(2)
        found = found - np.linalg.solve(bend, slope)
    return float(found[0]), float(found[1])
