"""Probes: what a shortcut alone scores, so that every table shows it.

Each looks at one number of a row and learns which number and which direction on the training rows.
On a sound benchmark the artefact probe is at chance; the content probe is the floor to beat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, NoSamplesError
from segmend.loaders.examples import Examples, Reading, examples
from segmend.metrics.classification import auroc
from segmend.models.model import (
    ALONE,
    Answers,
    Arrays,
    LogRow,
    Report,
    Session,
    TrainSettings,
)
from segmend.shards.checks import parsed_metadata
from segmend.shards.reader import Benchmark
from segmend.tasks.statistics import (
    PROBES,
    ProbeKind,
    Values,
    seen_statistics,
    stored_statistics,
)
from segmend.tasks.task import Task

_STEPS, _RIDGE = 25, 1e-3
"""Newton's method on two numbers converges in a few steps; the ridge keeps them finite."""


class Probe:
    """A logistic curve on the statistic whose AUROC on the training rows is farthest from 0.5.

    A statistic that a row does not have takes its median over the training rows.

    Attributes:
        kind: Which probes of `PROBES` it chooses from.
    """

    kind: ProbeKind

    def __init__(self) -> None:
        self._name = ""
        self._curve = np.zeros(4)  # slope, offset, median, scale

    def fit(
        self,
        benchmark: Benchmark,
        tasks: Sequence[Task],
        settings: TrainSettings,  # noqa: ARG002 - nothing is drawn
        session: Session = ALONE,
    ) -> Sequence[LogRow]:
        """Choose the statistic and fit the curve, both classes counting the same."""
        (task,) = tasks
        rows = examples(benchmark, task, "train", Reading(targets=False, packed=session.packed))
        labels = rows.labels
        if len(np.unique(labels)) < 2:
            raise NoSamplesError(
                f"the training split of '{task.name}' has one class only",
                found=f"{len(labels)} rows of label {labels[0]:g}",
                fix="Build a benchmark with edits and controls",
            )
        table = _measured(rows, self.kind, session.report)
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
        self, benchmark: Benchmark, task: Task, split: str, session: Session = ALONE
    ) -> Answers:
        """Probability of label 1 for every row."""
        if not self._name:
            raise BadInputError("this probe was never trained", fix="Train it first")
        rows = examples(benchmark, task, split, Reading(targets=False, packed=session.packed))
        table = _measured(rows, self.kind, session.report)
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


class ArtefactProbe(Probe):
    """What should tell nothing."""

    kind = "artefact"


class ContentProbe(Probe):
    """What the tissue shows."""

    kind = "content"


class MetadataProbe(Probe):
    """What lies beside the pictures and no other model may see."""

    kind = "metadata"


def _measured(rows: Examples, kind: ProbeKind, report: Report) -> list[Values]:
    """Statistics of one kind for every row, in order; metadata need no picture."""
    stored = _stored(rows)
    if kind == "metadata":
        report("measuring", len(rows), len(rows))
        return [_of_kind(values, kind) for values in stored]
    measured = []
    for done, (example, beside) in enumerate(zip(rows, stored, strict=True), start=1):
        values = beside | seen_statistics(example.inputs, dual=rows.task.dual)
        measured.append(_of_kind(values, kind))
        report("measuring", done, len(rows))
    return measured


def _stored(rows: Examples) -> list[Values]:
    found: dict[int, Values] = {}
    for positions, table in rows.benchmark.read_groups(rows.positions, ("metadata",)):
        texts = table.column("metadata").to_pylist()
        for position, text in zip(positions.tolist(), texts, strict=True):
            with rows.benchmark.naming(position):
                found[position] = stored_statistics(parsed_metadata(str(text)), {})
    return [found[position] for position in rows.positions.tolist()]


def _of_kind(values: Values, kind: ProbeKind) -> Values:
    return {name: value for name, value in values.items() if PROBES[name].kind == kind}


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
