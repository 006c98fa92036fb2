from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.errors import LeakError, NoSamplesError, SchemaError, UnknownNameError
from segmend.core.sample import EM_COLUMNS, SAMPLE_TYPES, channel, em_channel
from segmend.shards.rows import decode_row
from segmend.tasks.false_merge_identification import FALSE_MERGE_IDENTIFICATION
from segmend.tasks.false_split_correction import FALSE_SPLIT_CORRECTION
from segmend.tasks.registry import TASKS
from segmend.tasks.split_mask_generation import SPLIT_MASK_GENERATION
from segmend.testing.rows import random_row
from segmend.testing.tasks import TaskContract, assert_equal_inputs


class TestFalseSplitCorrection(TaskContract):
    task = FALSE_SPLIT_CORRECTION


class TestFalseMergeIdentification(TaskContract):
    task = FALSE_MERGE_IDENTIFICATION


class TestSplitMaskGeneration(TaskContract):
    task = SPLIT_MASK_GENERATION


SPLIT_EDIT = decode_row(
    random_row("split_edit", 5),
    [*FALSE_MERGE_IDENTIFICATION.input_columns, *SPLIT_MASK_GENERATION.label_columns],
)
MERGE_EDIT = decode_row(random_row("merge_edit", 5), FALSE_SPLIT_CORRECTION.input_columns)
SINGLE = (FALSE_MERGE_IDENTIFICATION, SPLIT_MASK_GENERATION)


def test_the_registry_holds_the_three_tasks_of_the_card() -> None:
    assert set(TASKS) == {
        "false_split_correction",
        "false_merge_identification",
        "split_mask_generation",
    }
    with pytest.raises(UnknownNameError, match="Did you mean 'false_split_correction'"):
        TASKS["false_split_corection"]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_division_of_the_em_mask_reaches_a_single_segment_task(seed: int) -> None:
    """Whoever draws A and B, as long as their union is the same, the model sees the same."""
    rng = np.random.default_rng(seed)
    other = {}
    for column, image in SPLIT_EDIT.items():
        if column not in EM_COLUMNS:
            other[column] = image
            continue
        image = image.copy()
        united = np.maximum(image[..., em_channel("mask_a")], image[..., em_channel("mask_b")])
        cut = rng.random(united.shape) < rng.random()
        image[..., em_channel("mask_a")] = united * cut
        image[..., em_channel("mask_b")] = united * ~cut
        other[column] = image
    for task in SINGLE:
        assert_equal_inputs(task.inputs(other), task.inputs(SPLIT_EDIT))


def test_the_united_mask_is_the_union() -> None:
    inputs = FALSE_MERGE_IDENTIFICATION.inputs(SPLIT_EDIT)
    for plane, image in zip(inputs.planes, inputs.em, strict=True):
        stored = SPLIT_EDIT[f"em_{plane}_before"]
        a, b = em_channel("mask_a"), em_channel("mask_b")
        assert stored[..., a].any()
        assert stored[..., b].any()
        np.testing.assert_array_equal(
            image[..., a] > 0, (stored[..., a] > 0) | (stored[..., b] > 0)
        )
        np.testing.assert_array_equal(image[..., em_channel("em")], stored[..., em_channel("em")])


def test_a_dual_task_sees_a_and_b_as_stored() -> None:
    inputs = FALSE_SPLIT_CORRECTION.inputs(MERGE_EDIT)
    np.testing.assert_array_equal(inputs.geometry, MERGE_EDIT["geometry"])
    assert inputs.planes == ("xy", "xz", "yz", "best")
    for plane, image in zip(inputs.planes, inputs.em, strict=True):
        np.testing.assert_array_equal(image, MERGE_EDIT[f"em_{plane}_before"])
    assert inputs.geometry[:, channel("mask_b")].any()


@pytest.mark.parametrize("task", SINGLE)
def test_the_best_plane_is_out_of_reach_of_single_segment_tasks(task) -> None:
    assert "em_best_before" not in task.input_columns
    assert "best" not in task.planes
    with pytest.raises(LeakError, match="em_best_before"):
        replace(task, input_columns=(*task.input_columns, "em_best_before"))


def test_a_task_without_em_is_allowed() -> None:
    task = replace(FALSE_SPLIT_CORRECTION, input_columns=("geometry",))
    inputs = task.inputs({"geometry": MERGE_EDIT["geometry"]})
    assert inputs.em.shape == (0, 224, 224, 3)
    assert inputs.planes == ()


def test_a_task_with_one_view_sees_one_view() -> None:
    task = replace(FALSE_SPLIT_CORRECTION, views=("top",))
    geometry = task.inputs(MERGE_EDIT).geometry
    np.testing.assert_array_equal(geometry, MERGE_EDIT["geometry"][2:])
    masks = replace(SPLIT_MASK_GENERATION, views=("side",), label_columns=("split_mask_side",))
    np.testing.assert_array_equal(masks.target(SPLIT_EDIT)[0], SPLIT_EDIT["split_mask_side"])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"input_columns": ("em_xy_before",)}, "must name 'geometry'"),
        ({"input_columns": ("geometry", "geometry")}, "each column once"),
        ({"input_columns": ("geometry", "em_zz")}, "no field 'em_zz'"),
        ({"label_columns": ("same_neuron",)}, "predicts the wrong columns"),
        ({"label_columns": ("false_merge_identification_label",)}, "predicts the wrong columns"),
        ({"views": ("back",)}, "unknown views"),
        ({"name": "other"}, "no row is routed"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(change: dict, what: str) -> None:
    with pytest.raises(SchemaError, match=what):
        replace(FALSE_SPLIT_CORRECTION, **change)


def test_rows_are_those_routed_to_the_task() -> None:
    kinds = [*SAMPLE_TYPES, "merge_edit"]
    rows = [random_row(kind, 0, split_masks=False) for kind in kinds]
    sidecar = pa.table(
        {
            "task_routing": [row["task_routing"] for row in rows],
            "position": pa.array(range(100, 106), pa.int64()),
        }
    )
    chosen = {name: [kinds[i - 100] for i in task.rows(sidecar)] for name, task in TASKS.items()}
    assert chosen == {
        "false_split_correction": [
            "merge_edit",
            "adjacent_control",
            "synapse_control",
            "merge_edit",
        ],
        "false_merge_identification": ["split_edit", "junction_control"],
        "split_mask_generation": [],  # no row has its masks
    }


def test_a_row_without_a_needed_picture_is_named() -> None:
    with pytest.raises(NoSamplesError, match="needs 'em_xz_before'"):
        FALSE_SPLIT_CORRECTION.inputs(MERGE_EDIT | {"em_xz_before": None})


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_a_row_of_another_task_has_no_target(task) -> None:
    with pytest.raises(NoSamplesError, match=task.name):
        task.target(dict.fromkeys(task.label_columns))


@pytest.mark.parametrize("label", [2.0, -1.0, 0.5, float("nan")])
def test_other_labels_are_refused(label: float) -> None:
    with pytest.raises(SchemaError, match="must be 0 or 1"):
        FALSE_SPLIT_CORRECTION.target({"false_split_correction_label": label})
