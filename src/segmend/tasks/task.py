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
    CHANNELS,
    EM_CHANNELS,
    IMAGE_SIZE,
    PLANES,
    ROW_SCHEMA,
    SCHEMA_VERSION,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_BACKGROUND,
    VIEWS,
    SchemaVersion,
    TaskName,
    channel,
    em_channel,
    em_column,
    split_mask_column,
)

GEOMETRY = "geometry"

FLAGS = {"v1": ("has_em", "has_single_mask", "has_dual_mask"), "v2": ("has_em",)}
"""Columns of a sidecar that tell what rows hold, by version of the schema."""

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
class Look:
    """What of a row is shown at once: all that its task allows, or a part of it.

    Attributes:
        views: Geometry views, in the order of `VIEWS`.
        planes: EM planes, in the order of `PLANES`.
    """

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
        input_columns: Columns the inputs come from: ``geometry`` and EM columns, by their names
            in v2 (`picture_columns` gives those of v1).
        label_columns: Columns the target comes from, by their names in v2.
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
        """Positions of the rows this task is asked of and that hold what it needs.

        Args:
            sidecar: A table from `Benchmark.sidecar` with ``task_routing`` and `FLAGS`.

        Returns:
            The values of its column ``position``, in order, where ``task_routing`` names the task
            and no picture or answer is missing; `left_out` counts the others.
        """
        chosen = self._routed(sidecar)
        for present in self._needs(sidecar).values():
            chosen = chosen[present[chosen]]
        return sidecar.column("position").to_numpy()[chosen]

    def left_out(self, sidecar: pa.Table) -> dict[str, int]:
        """How many rows are routed to the task but lack something, by reason.

        Args:
            sidecar: As for `rows`.
        """
        chosen, reasons = self._routed(sidecar), {}
        for reason, present in self._needs(sidecar).items():
            lacking = int(np.count_nonzero(~present[chosen]))
            chosen = chosen[present[chosen]]
            if lacking:
                reasons[reason] = lacking
        return reasons

    def _routed(self, sidecar: pa.Table) -> NDArray[np.int64]:
        routing = sidecar.column("task_routing").combine_chunks()
        named = pc.equal(pc.list_flatten(routing), pa.scalar(self.name))
        return np.unique(pc.list_parent_indices(routing).filter(named).to_numpy()).astype(np.int64)

    def _needs(self, sidecar: pa.Table) -> dict[str, NDArray[np.bool_]]:
        """Whether rows hold what the task needs, by the reason that names its absence."""
        reasons = {"has_em": "no EM slices"} if self.planes else {}
        if "has_dual_mask" in sidecar.column_names:
            if not self.dual:
                reasons["has_single_mask"] = "no render of the single segment (geometry_single)"
            if self.dual or self.target_kind == "split_mask":
                reasons["has_dual_mask"] = "no render of both segments (geometry)"
        return {
            reason: sidecar.column(flag).to_numpy(zero_copy_only=False).astype(np.bool_)
            for flag, reason in reasons.items()
        }

    @property
    def look(self) -> Look:
        """All that a model may see of a row."""
        return Look(self.views, self.planes)

    def check_look(self, look: Look) -> None:
        """Check that a part of a row is one that the task shows.

        Raises:
            LeakError: if it is not.
        """
        views, planes = set(look.views) - set(self.views), set(look.planes) - set(self.planes)
        if views or planes:
            raise LeakError(
                f"task '{self.name}' does not show {', '.join(sorted(views | planes))}",
                fix=f"It shows {', '.join((*self.views, *self.planes))}",
            )

    def picture_columns(
        self, look: Look | None = None, version: SchemaVersion = SCHEMA_VERSION
    ) -> tuple[str, ...]:
        """Columns of a row from which a look is drawn.

        Rows of v1 hold two renders; a task on one segment is shown ``geometry_single`` there,
        because ``geometry`` shows where A ends and B begins.
        """
        shown = look or self.look
        single = version == "v1" and not self.dual
        geometry = ("geometry_single" if single else GEOMETRY,) if shown.views else ()
        return (*geometry, *(em_column(plane, version) for plane in shown.planes))

    def answer_columns(
        self, look: Look | None = None, version: SchemaVersion = SCHEMA_VERSION
    ) -> tuple[str, ...]:
        """Columns of a row from which the target is made; a split mask has one for each view.

        Rows of v1 have no split masks: they follow from masks A and B of the dual render.
        """
        if self.target_kind == "binary":
            return self.label_columns
        if version == "v1":
            return (GEOMETRY,)
        return tuple(split_mask_column(view) for view in (look or self.look).views)

    def inputs(
        self,
        row: Mapping[str, Any],
        look: Look | None = None,
        version: SchemaVersion = SCHEMA_VERSION,
    ) -> Inputs:
        """What a model may see of a row.

        Args:
            row: Decoded columns, at least `picture_columns`
                (`segmend.shards.rows.decode_row`).
            look: Part of the row to show; None for all.
            version: Schema of the row.

        Returns:
            Fresh arrays; nothing in them refers to the row.

        Raises:
            NoSamplesError: if a needed image is null.
            LeakError: if the task does not show what is asked for.
        """
        shown = look or self.look
        size = (IMAGE_SIZE, IMAGE_SIZE)
        geometry = np.empty((len(shown.views), len(CHANNELS), *size), np.float16)
        em = np.empty((len(shown.planes), *size, len(EM_CHANNELS)), np.uint8)
        self.draw(row, geometry, np.moveaxis(em, -1, 1), look=shown, version=version)
        return Inputs(geometry=geometry, em=em, views=shown.views, planes=shown.planes)

    def draw(
        self,
        row: Mapping[str, Any],
        geometry: NDArray[np.float16],
        em: NDArray[np.uint8],
        *,
        look: Look,
        version: SchemaVersion = SCHEMA_VERSION,
    ) -> None:
        """What a model may see of a row, put into arrays; as `inputs`.

        Args:
            row: As for `inputs`.
            geometry: (views, channels, rows, columns), filled.
            em: (planes, channels, rows, columns), filled.
            look: Part of the row to show.
            version: Schema of the row.

        Raises:
            NoSamplesError: if a needed image is null.
            LeakError: if the task does not show what is asked for.
        """
        self.check_look(look)
        columns = self.picture_columns(look, version)
        for column in columns:
            if row[column] is None:
                raise NoSamplesError(f"task '{self.name}' needs '{column}'", found="it is null")
        for image, view in zip(geometry, look.views, strict=True):
            image[:] = row[columns[0]][VIEWS.index(view)]
        for image, plane in zip(em, look.planes, strict=True):
            image[:] = np.moveaxis(row[em_column(plane, version)], -1, 0)
        self.show(geometry, em)

    def show(self, geometry: NDArray[np.float16], em: NDArray[np.uint8]) -> None:
        """Reduce stored pictures to what the task shows, in place.

        A task on one segment must not see where A ends and B begins: its masks are united in A.

        Args:
            geometry: (views, channels, rows, columns).
            em: (planes, channels, rows, columns).
        """
        if not self.dual:
            _unite(geometry, channel("mask_a"), channel("mask_b"))
            _unite(em, em_channel("mask_a"), em_channel("mask_b"))

    def target(
        self,
        row: Mapping[str, Any],
        look: Look | None = None,
        version: SchemaVersion = SCHEMA_VERSION,
    ) -> Target:
        """The target of a row.

        Args:
            row: Decoded columns, at least `answer_columns`.
            look: Part of the row that is shown; None for all.
            version: Schema of the row. Labels of v1 are booleans.

        Returns:
            Binary tasks: 0.0 or 1.0. Split masks: uint8 (views, rows, columns) with 0 = A,
            128 = B, 255 = background, which training and scores ignore; A and B have no order.

        Raises:
            NoSamplesError: if the row has no target.
            SchemaError: if a label is neither 0 nor 1.
        """
        values = [row[column] for column in self.answer_columns(look, version)]
        if any(value is None for value in values):
            raise NoSamplesError(f"a row has no target for task '{self.name}'")
        if self.target_kind == "split_mask":
            views = (look or self.look).views
            if version == "v1":
                return split_sides(values[0][[VIEWS.index(view) for view in views]])
            return np.stack(values)
        if values[0] not in (0.0, 1.0):
            raise SchemaError(f"{self.label_columns[0]} must be 0 or 1", found=repr(values[0]))
        return float(values[0])


def split_sides(geometry: NDArray[np.float16]) -> NDArray[np.uint8]:
    """Split masks of a v1 row from its dual render, as its own training code makes them.

    Where masks A and B overlap the render does not tell which is nearer: background (reference,
    section 1.7).

    Args:
        geometry: (views, channels, rows, columns).
    """
    a, b = geometry[:, channel("mask_a")] > 0, geometry[:, channel("mask_b")] > 0
    sides = np.full(a.shape, SPLIT_MASK_BACKGROUND, np.uint8)
    sides[a & ~b] = SPLIT_MASK_A
    sides[b & ~a] = SPLIT_MASK_B
    return sides


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


def _unite(images: NDArray[Any], a: int, b: int) -> None:
    """Put the union of masks A and B into A and empty B, in place."""
    np.maximum(images[:, a], images[:, b], out=images[:, a])
    images[:, b] = 0
