"""The rows that are scored, with their neurons: from the sidecar, after the model has spoken."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segmend.core.errors import NoSamplesError
from segmend.evaluate.predictions import KEY
from segmend.shards.reader import Benchmark
from segmend.tasks.task import Task


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Rows of one task and split, in the order of the benchmark.

    Attributes:
        hashes: Primary key of each.
        positions: Position of each in the benchmark, int64.
        groups: Species and sample type of each.
        clusters: Number of the neuron of each, int64; rows without one have one of their own.
        unclustered: Rows without a neuron.
        labels: Label of each, float64; empty for mask tasks.
    """

    hashes: tuple[str, ...]
    positions: NDArray[np.int64]
    groups: tuple[tuple[str, str], ...]
    clusters: NDArray[np.int64]
    unclustered: int
    labels: NDArray[np.float64]


def scored_rows(benchmark: Benchmark, task: Task, split: str) -> ScoredRows:
    """The rows of a split that a task is asked of.

    Raises:
        NoSamplesError: if there are none, or a binary task has no positive among them.
    """
    sidecar = benchmark.sidecar(split)
    positions = task.rows(sidecar)
    rows = sidecar.take(np.flatnonzero(np.isin(sidecar["position"], positions)))
    if not rows.num_rows:
        raise NoSamplesError(
            f"there are no rows for task '{task.name}' in split '{split}' to score",
            found=f"{benchmark.source.url} has splits {', '.join(benchmark.splits)}",
        )
    places = list(zip(_values(rows, "dataset"), _values(rows, "volume"), strict=True))
    neurons = _values(rows, "cluster_id")
    clusters, unclustered = neuron_numbers(neurons, places), neurons.count(None)
    binary = task.target_kind == "binary"
    labels = np.array(_values(rows, task.label_columns[0]) if binary else [], np.float64)
    if binary and not labels.any():
        raise NoSamplesError(
            f"there is no positive row for task '{task.name}' in split '{split}'",
            found=f"{len(labels)} rows, all of label 0",
            fix="Score on a split that holds both classes; the benchmark's card counts them",
        )
    return ScoredRows(
        hashes=tuple(_values(rows, KEY)),
        positions=positions,
        groups=tuple(zip(_values(rows, "species"), _values(rows, "sample_type"), strict=True)),
        clusters=clusters,
        unclustered=unclustered,
        labels=labels,
    )


def neuron_numbers(neurons: Sequence[Any], places: Sequence[Hashable]) -> NDArray[np.int64]:
    """Number of the neuron of each row; rows without one have one of their own.

    Args:
        neurons: Id of the neuron of each row, or None.
        places: Data set and volume of each row: neurons are numbered within a volume, the same
            number elsewhere is another neuron.
    """
    keys = [
        i if neuron is None else (place, neuron)
        for i, (place, neuron) in enumerate(zip(places, neurons, strict=True))
    ]
    return numbered(keys)


def numbered(values: Sequence[Hashable]) -> NDArray[np.int64]:
    """Equal values get equal numbers, counted from 0 in the order of their first."""
    number = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return np.array([number[value] for value in values], np.int64)


def _values(rows: pa.Table, column: str) -> Sequence[Any]:
    return rows[column].to_pylist()
