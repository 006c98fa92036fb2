"""What a model may see and must predict.

The leak rules of the card are structure here: a task is the only way from a row to a model's
inputs, it can name input columns only, and what it hands out holds arrays and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from segmend.core.errors import LeakError, NoSamplesError, SchemaError
from segmend.core.sample import (
    PLANES,
    ROW_SCHEMA,
    VIEWS,
    TaskName,
    channel,
    em_channel,
    em_column,
    split_mask_column,
)

GEOMETRY = "geometry"

Target = float | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a model sees of one row: pictures, and nothing that says where they come from.

    Attributes:
        geometry: float16, (views, channels, rows, columns), channels as `CHANNELS`.
        em: uint8, (planes, rows, columns, 3), last axis as `EM_CHANNELS`.
        views: Names of the geometry views, in order.
        planes: Names of the EM planes, in order.
    """

    geometry: NDArray[np.float16]
    em: NDArray[np.uint8]
    views: tuple[str, ...]
    planes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """One question asked of rows.

    Attributes:
        name: Name in the column ``task_routing``.
        version: Changes whenever inputs, target or routing change; results carry it.
        dual: Whether the model is shown two segments A and B. If not, masks A and B of geometry
            and EM are united in A before anything else sees them, and B is empty.
        target_kind: ``binary``: a label of 0 or 1; ``split_mask``: the side of each pixel.
        input_columns: Columns the inputs come from: ``geometry`` and EM columns.
        label_columns: Columns the target comes from.
        doc: One sentence for people.
        views: Geometry views shown.

    Raises:
        LeakError: if an input column is a label or metadata, or a single-segment task names
            ``em_best_before``, whose plane was chosen by looking at A and B.
        SchemaError: if a column does not exist or cannot serve.
    """

    name: TaskName
    version: str
    dual: bool
    target_kind: Literal["binary", "split_mask"]
    input_columns: tuple[str, ...]
    label_columns: tuple[str, ...]
    doc: str
    views: tuple[str, ...] = VIEWS

    def __post_init__(self) -> None:
        ROW_SCHEMA.check_inputs(self.input_columns)
        best = em_column("best")
        if not self.dual and best in self.input_columns:
            raise LeakError(
                f"task '{self.name}' cannot see '{best}'",
                found="its plane was chosen by looking at both sides of the answer",
                fix="Leave it out of the inputs of single-segment tasks",
            )
        _check_names(self)

    @property
    def planes(self) -> tuple[str, ...]:
        """EM planes shown, in the order of `PLANES`."""
        return tuple(p for p in PLANES if em_column(p) in self.input_columns)

    def rows(self, sidecar: pa.Table) -> NDArray[np.int64]:
        """Positions of the rows this task is asked of.

        Args:
            sidecar: A table from `Benchmark.sidecar`.

        Returns:
            The values of its column ``position`` where ``task_routing`` names the task, in order.
        """
        routing = sidecar.column("task_routing").combine_chunks()
        named = pc.equal(pc.list_flatten(routing), pa.scalar(self.name))
        chosen = np.unique(pc.list_parent_indices(routing).filter(named).to_numpy())
        return sidecar.column("position").to_numpy()[chosen]

    def inputs(self, row: Mapping[str, Any]) -> Inputs:
        """What a model may see of a row.

        Args:
            row: Decoded columns, at least `input_columns` (`segmend.shards.rows.decode_row`).

        Returns:
            Fresh arrays; nothing in them refers to the row.

        Raises:
            NoSamplesError: if a needed image is null.
        """
        for column in self.input_columns:
            if row[column] is None:
                raise NoSamplesError(f"task '{self.name}' needs '{column}'", found="it is null")
        views = [VIEWS.index(view) for view in self.views]
        geometry = row[GEOMETRY][views]  # a copy, because indexed by a list
        em = np.stack([row[em_column(p)] for p in self.planes]) if self.planes else _no_em(geometry)
        if not self.dual:
            _unite(geometry, channel("mask_a"), channel("mask_b"), axis=1)
            _unite(em, em_channel("mask_a"), em_channel("mask_b"), axis=3)
        return Inputs(geometry=geometry, em=em, views=self.views, planes=self.planes)

    def target(self, row: Mapping[str, Any]) -> Target:
        """The target of a row.

        Args:
            row: Decoded columns, at least `label_columns`.

        Returns:
            Binary tasks: 0.0 or 1.0. Split masks: uint8 (views, rows, columns) with 0 = A,
            128 = B, 255 = background, which training and scores ignore; A and B have no order.

        Raises:
            NoSamplesError: if the row has no target.
            SchemaError: if a label is neither 0 nor 1.
        """
        values = [row[column] for column in self.label_columns]
        if any(value is None for value in values):
            raise NoSamplesError(f"a row has no target for task '{self.name}'")
        if self.target_kind == "split_mask":
            return np.stack(values)
        if values[0] not in (0.0, 1.0):
            raise SchemaError(f"{self.label_columns[0]} must be 0 or 1", found=repr(values[0]))
        return float(values[0])


def _check_names(task: Task) -> None:
    if GEOMETRY not in task.input_columns or len(set(task.input_columns)) < len(task.input_columns):
        raise SchemaError(
            f"task '{task.name}' must name '{GEOMETRY}' and each column once",
            found=", ".join(task.input_columns),
        )
    if task.name not in get_args(TaskName):
        raise SchemaError(f"no row is routed to a task '{task.name}'")
    if not task.views or not set(task.views) <= set(VIEWS):
        raise SchemaError(f"task '{task.name}' names unknown views", found=str(task.views))
    masks = tuple(split_mask_column(view) for view in task.views)
    labels = masks if task.target_kind == "split_mask" else (f"{task.name}_label",)
    if task.label_columns != labels or any(ROW_SCHEMA[c].role != "label" for c in labels):
        raise SchemaError(
            f"task '{task.name}' predicts the wrong columns",
            found=str(task.label_columns),
            fix=f"A {task.target_kind} target comes from {labels}",
        )


def _no_em(geometry: NDArray[np.float16]) -> NDArray[np.uint8]:
    return np.zeros((0, *geometry.shape[2:], 3), np.uint8)


def _unite(images: NDArray[Any], a: int, b: int, *, axis: int) -> None:
    """Put the union of masks A and B into A and empty B, in place."""
    view = np.moveaxis(images, axis, 0)
    np.maximum(view[a], view[b], out=view[a])
    view[b] = 0
