"""What every task keeps: the contract that each task's test subclasses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segmend.core.errors import LeakError
from segmend.core.sample import (
    CHANNELS,
    IMAGE_SIZE,
    ROW_SCHEMA,
    SAMPLE_TYPES,
    SPLIT_MASK_A,
    SPLIT_MASK_B,
    SPLIT_MASK_BACKGROUND,
    channel,
    em_channel,
)
from segmend.shards.rows import Row, decode_row
from segmend.tasks.task import GEOMETRY, Inputs, Task
from segmend.testing.rows import random_row


class TaskContract:
    """Subclass it, set `task`, and pytest checks that the task cannot leak.

    Attributes:
        task: The task under test.
    """

    task: Task

    @pytest.fixture
    def rows(self) -> list[Row]:
        """One row, as stored, of every sample type that is routed to the task."""
        kinds = [
            kind.name
            for kind in SAMPLE_TYPES.values()
            if self.task.name in kind.tasks(has_after_mask=True)
        ]
        return [random_row(kind, 0) for kind in kinds]

    def _inputs(self, row: Row) -> Inputs:
        return self.task.inputs(decode_row(row, self.task.input_columns))

    def test_some_sample_type_is_routed_to_it(self, rows: list[Row]) -> None:
        """A task that no row serves is a mistake."""
        assert rows
        assert all(self.task.name in row["task_routing"] for row in rows)

    def test_inputs_have_the_declared_shape(self, rows: list[Row]) -> None:
        """Views and planes as declared, stored dtypes."""
        size = (IMAGE_SIZE, IMAGE_SIZE)
        for row in rows:
            inputs = self._inputs(row)
            assert inputs.geometry.shape == (len(self.task.views), len(CHANNELS), *size)
            assert inputs.geometry.dtype == np.float16
            assert inputs.em.shape == (len(self.task.planes), *size, 3)
            assert inputs.em.dtype == np.uint8

    def test_inputs_depend_on_input_columns_alone(self, rows: list[Row]) -> None:
        """Whatever labels, metadata and other pictures say, inputs stay the same."""
        other = random_row("split_edit", 99)
        for row in rows:
            changed = {c: row[c] if c in self.task.input_columns else other[c] for c in row}
            inputs = self.task.inputs(decode_row(changed, ROW_SCHEMA.names))
            assert_equal_inputs(inputs, self._inputs(row))

    def test_inputs_do_not_share_memory_with_the_row(self, rows: list[Row]) -> None:
        """Augmenting inputs in place must not change the row they came from."""
        decoded = decode_row(rows[0], self.task.input_columns)
        before = {name: np.array(value) for name, value in decoded.items()}
        inputs = self.task.inputs(decoded)
        inputs.geometry[:] = 7
        inputs.em[:] = 7
        for name, value in before.items():
            np.testing.assert_array_equal(decoded[name], value)

    def test_only_a_dual_task_can_tell_a_from_b(self, rows: list[Row]) -> None:
        """Dividing A and B anew changes what a dual model sees and nothing for the others."""
        for row in rows:
            decoded = decode_row(row, self.task.input_columns)
            inputs, other = self.task.inputs(decoded), self.task.inputs(_redivided(decoded))
            if self.task.dual:
                assert inputs.geometry.tobytes() != other.geometry.tobytes()
                continue
            assert not inputs.geometry[:, channel("mask_b")].any()
            assert not inputs.em[..., em_channel("mask_b")].any()
            assert_equal_inputs(other, inputs)

    @pytest.mark.parametrize("column", ROW_SCHEMA.with_role("label") + ROW_SCHEMA.with_role("meta"))
    def test_an_answer_cannot_be_named_as_input(self, column: str) -> None:
        """A label or metadata column among the inputs is refused at construction."""
        with pytest.raises(LeakError, match=column):
            replace(self.task, input_columns=(*self.task.input_columns, column))

    def test_targets_are_valid(self, rows: list[Row]) -> None:
        """Binary tasks have both classes; split masks hold A, B and background, nothing else."""
        targets = [self.task.target(decode_row(row, self.task.label_columns)) for row in rows]
        if self.task.target_kind == "binary":
            assert set(targets) == {0.0, 1.0}
            return
        for target in targets:
            assert isinstance(target, np.ndarray)
            assert target.shape == (len(self.task.views), IMAGE_SIZE, IMAGE_SIZE)
            assert set(np.unique(target)) == {SPLIT_MASK_A, SPLIT_MASK_B, SPLIT_MASK_BACKGROUND}


def assert_equal_inputs(first: Inputs, second: Inputs) -> None:
    """Fail unless two inputs are the same to the bit."""
    assert (first.views, first.planes) == (second.views, second.planes)
    assert first.geometry.tobytes() == second.geometry.tobytes()
    assert first.em.tobytes() == second.em.tobytes()


def _redivided(decoded: dict[str, Any]) -> dict[str, Any]:
    """The row with every pixel of A or B given to the other, or to both, by its position."""
    changed = {}
    for name, value in decoded.items():
        if name == GEOMETRY:
            changed[name] = _redivide(value, channel("mask_a"), channel("mask_b"), axis=1)
        else:
            changed[name] = _redivide(value, em_channel("mask_a"), em_channel("mask_b"), axis=2)
    return changed


def _redivide(image: NDArray[Any], a: int, b: int, *, axis: int) -> NDArray[Any]:
    image = np.array(image)
    planes = np.moveaxis(image, axis, 0)
    either = np.maximum(planes[a], planes[b])
    third = np.arange(either.size).reshape(either.shape) % 3
    planes[a] = either * (third != 0)
    planes[b] = either * (third != 1)
    return image
